/** The page: list and form beside the map, the lead times below it, and the chosen place. */

import "./style.css";

import { ProblemError, type Forecast } from "./api";
import { Comparison } from "./comparison";
import { attribute } from "./datasets";
import { byId, fillOptions, h, showSide } from "./dom";
import { Drawing, type Moment } from "./drawing";
import { showError } from "./errors";
import { setUpKeys } from "./keys";
import { formatThreshold, showLegend } from "./legend";
import { ForecastList } from "./list";
import { WeatherMap } from "./map";
import { PlacePanel } from "./place";
import { QualityPanel } from "./quality";
import { SchedulesPanel } from "./schedules";
import { Session } from "./session";
import { Stamps } from "./stamps";
import { current, restore, update, whenChanged, type State } from "./state";
import { SubmitForm } from "./submit";
import { texts } from "./texts";
import { setUpTheme } from "./theme";
import { Timeline } from "./timeline";
import { formatTime, toMetres, UNIT_NAMES, UNITS, type Unit } from "./units";

class Page {
  private readonly maps = { a: new WeatherMap(byId("map")), b: new WeatherMap(byId("map-b")) };
  private readonly timeline = new Timeline((index) => this.chooseLead(index));
  private readonly place = new PlacePanel();
  private readonly list = new ForecastList((forecasts) => {
    const isShown = ({ data, status }: Forecast): boolean => data === "available" && status !== "failed" && status !== "dismissed";
    const first = forecasts.find(isShown) ?? forecasts.find(({ data }) => data === "available") ?? forecasts[0];
    if (!current().forecast && first !== undefined) update({ forecast: first.id, hours: 0 });
  });
  private readonly form = new SubmitForm((forecast) => {
    update({ forecast: forecast.id, hours: 0 });
    void this.list.refresh();
  }, (datasets, models) => {
    this.schedules.offer(datasets, models.map(({ id }) => id));
    this.attribute();
  });
  private readonly schedules = new SchedulesPanel(() => this.list.redraw());
  private readonly stamps = new Stamps(() => void this.stamps.show(this.session, this.timeline.index));
  private readonly quality = new QualityPanel(() => this.session);
  private readonly comparison = new Comparison(() => this.session, () => this.showComparison());
  private readonly drawing = new Drawing(
    this.maps, this.comparison, () => this.chosen(), (index) => this.timeline.go(index), (error, session) => this.fail(error, session),
  );
  private session: Session | null = null;
  private ready = 0;
  /** Whether the newest lead time is shown as it comes. */
  private follows = true;
  /** Whether the forecast was open when the page first read it. */
  private isLive = false;
  private hasFailed = false;

  start(): void {
    setUpTheme(() => {
      this.maps.a.drawLines();
      this.maps.b.drawLines();
      void this.showPlace();
      this.quality.redraw();
    });
    setUpKeys(() => {
      this.list.forget();
      this.load();
    });
    this.setUpControls();
    whenChanged((state, before) => this.follow(state, before));
    this.showControls(current());
    addEventListener("resize", debounce(() => void this.showPlace(), 300));
    this.load();
  }

  private load(): void {
    void this.list.refresh();
    void this.form.load();
    void this.schedules.refresh();
    void this.openForecast();
    void this.comparison.open();
  }

  private follow(state: State, before: State): void {
    this.showControls(state);
    const isOther = (...names: (keyof State)[]): boolean => names.some((name) => state[name] !== before[name]);
    if (isOther("forecast")) void this.openForecast();
    if (isOther("other")) void this.comparison.open();
    if (isOther("other", "layout")) this.showComparison();
    if (isOther("hours", "field", "member", "threshold")) void this.draw();
    if (isOther("place", "units", "threshold")) void this.showPlace();
    else if (isOther("hours")) this.place.showLead(this.timeline.index);
  }

  private async openForecast(): Promise<void> {
    const id = current().forecast;
    this.session?.close();
    this.session = null;
    this.ready = 0;
    this.follows = current().hours === 0;
    this.drawing.clear();
    this.timeline.clear();
    void this.quality.show();
    this.message("");
    showSide(false);
    if (!id) {
      showHeading(texts.chooseForecast);
      return;
    }
    showHeading(texts.loading);
    try {
      const session = await Session.open(id, (changed) => this.handle(changed));
      if (id === current().forecast) this.session = session;
      else session.close();
    } catch (error) {
      showHeading(texts.noForecastHere);
      this.message((error as Error).message, true);
    }
  }

  /** Show what has changed of the forecast. A forecast that runs shows its newest lead time, until one is chosen. */
  private handle(session: Session): void {
    if (session.forecast.id !== current().forecast) return;
    this.hasFailed = false;
    byId("stage").classList.remove("failed");
    this.session = session;
    const { forecast, data } = session;
    this.comparison.show();
    showHeading(formatTime(session.initTime), texts.status[forecast.status]);
    if (forecast.status === "failed") this.message(`${texts.failed}: ${forecast.error?.detail ?? forecast.error?.title ?? ""}`, true);
    else if (session.error !== null) this.message(session.error.message, true);
    else if (forecast.data !== "available") this.message(texts.dataGone(forecast.data));
    else this.message(describeOpen(forecast));
    if (data === null) return;
    const grew = session.ready !== this.ready;
    const isFirst = this.ready === 0;
    this.ready = session.ready;
    this.timeline.configure(data.leadHours, session.ready, session.initTime);
    if (!data.members.includes(current().member)) update({ member: data.members[0] });
    fillOptions(byId("member"), data.members.map((member) => [String(member), texts.member(member)]), String(current().member));
    if (isFirst) this.isLive = session.isOpen;
    if (grew && this.follows && this.isLive) update({ hours: data.leadHours[session.ready - 1] });
    this.timeline.show(this.indexOf(current().hours));
    if (isFirst) this.showComparison();
    else if (grew) void this.showPlace();
    if (grew) void this.quality.show();
  }

  private indexOf(hours: number): number {
    const all = this.session?.data?.leadHours ?? new Float64Array(1);
    let index = 0;
    while (index + 1 < Math.min(this.ready, all.length) && all[index + 1] <= hours) index++;
    return index;
  }

  private chooseLead(index: number): void {
    this.follows = index === this.ready - 1;
    update({ hours: this.session?.data?.leadHours[index] ?? 0 });
  }

  private chosen(): Moment | null {
    return this.session?.data ? { session: this.session, index: this.indexOf(current().hours) } : null;
  }

  /** Show the comparison: which forecasts, their common lead times, both maps and both plumes. */
  private showComparison(): void {
    this.comparison.show();
    const other = current().other === "" ? null : this.comparison.range();
    this.timeline.mark(other);
    showLegend(current());
    this.attribute();
    this.list.mark();
    void this.draw();
    void this.showPlace();
  }

  /** Name the origin of the initial states of what is on the map. */
  private attribute(): void {
    const sessions = [this.session, current().other === "" ? null : this.comparison.session];
    const terms = attribute(sessions.map((session) => session?.forecast.request.initial_state["dataset"]));
    const box = byId("attribution");
    box.hidden = terms === "";
    box.textContent = box.title = terms === "" ? "" : texts.datasets.from(terms);
  }

  private async showPlace(): Promise<void> {
    await this.place.show(this.session, current().other === "" ? null : this.comparison.session);
    this.place.showLead(this.timeline.index);
  }

  private async draw(): Promise<void> {
    const moment = this.chosen();
    if (moment === null) return;
    this.timeline.show(moment.index);
    void this.stamps.show(this.session, moment.index);
    if ((await this.drawing.draw()) && this.hasFailed) this.handle(moment.session);
  }

  /** Say why a frame cannot be shown; data that has been deleted changes the record, which then says so. */
  private fail(error: Error, session: Session): void {
    if (session !== this.session) return;
    this.hasFailed = true;
    byId("stage").classList.add("failed");
    this.message(error.message, true);
    if (error instanceof ProblemError && error.problem.status === 410) void session.refresh().catch(() => undefined);
  }

  private message(text: string, isError = false): void {
    const box = byId("message");
    showError(box, text || null);
    box.classList.toggle("error", isError);
  }

  private showControls(state: State): void {
    const unit = UNIT_NAMES[state.units];
    byId<HTMLSelectElement>("field").value = state.field;
    byId<HTMLSelectElement>("units").value = state.units;
    byId<HTMLSelectElement>("member").value = String(state.member);
    byId("member-box").hidden = state.field !== "member";
    byId("threshold-box").hidden = state.field !== "probability";
    byId("threshold-unit").textContent = unit;
    byId("projection").setAttribute("aria-pressed", String(state.projection === "globe"));
    const threshold = byId<HTMLInputElement>("threshold");
    if (document.activeElement !== threshold) threshold.value = formatThreshold(state);
    showLegend(state);
  }

  private setUpControls(): void {
    fillOptions(byId("units"), UNITS.map((unit) => [unit, UNIT_NAMES[unit]]));
    const select = (id: string, change: (value: string) => Partial<State>): void =>
      byId(id).addEventListener("change", (event) => update(change((event.target as HTMLInputElement).value)));
    select("field", (value) => ({ field: value as State["field"] }));
    select("units", (value) => ({ units: value as Unit }));
    select("member", (value) => ({ member: Number(value) }));
    select("threshold", (value) => (Number(value) >= 0 && value ? { threshold: toMetres(Number(value), current().units) } : {}));
    byId("projection").addEventListener("click", () => update({ projection: current().projection === "globe" ? "flat" : "globe" }));
    byId("zoom-in").addEventListener("click", () => this.maps.a.zoom(1.4));
    byId("zoom-out").addEventListener("click", () => this.maps.a.zoom(1 / 1.4));
    byId("map").setAttribute("aria-label", texts.mapLabel);
    byId("map-b").setAttribute("aria-label", texts.comparison.mapLabel);
    const animation = byId("animation");
    const animate = (isOn: boolean): void => {
      animation.setAttribute("aria-pressed", String(isOn));
      this.maps.a.setAnimation(isOn);
      this.maps.b.setAnimation(isOn);
    };
    animation.addEventListener("click", () => animate(animation.getAttribute("aria-pressed") !== "true"));
    animate(!matchMedia("(prefers-reduced-motion: reduce)").matches);
    byId("menu").addEventListener("click", () => showSide(!document.body.classList.contains("with-side")));
    document.addEventListener("keydown", (event) => this.handleKey(event));
  }

  /** Close what covers the map: the list on a phone, else the place. */
  private close(): void {
    if (document.body.classList.contains("with-side")) {
      showSide(false);
      byId("menu").focus();
    } else if (current().place !== null) {
      update({ place: null });
      byId("map").focus();
    }
  }

  private handleKey(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.key === "Escape" && !target.closest("dialog")) this.close();
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select, textarea, dialog, summary, button")) return;
    if (event.key === "ArrowRight") this.timeline.go(this.timeline.index + 1);
    else if (event.key === "ArrowLeft") this.timeline.go(this.timeline.index - 1);
    else if (event.key === " ") this.timeline.toggle();
    else return;
    event.preventDefault();
  }
}

/** Show the time and the state of a forecast. */
function showHeading(title: string, state = ""): void {
  const [time, zone = ""] = title.split(/(?= UTC$)/);
  byId("heading").replaceChildren(h("span", {}, time, h("span", { class: "zone" }, zone)), ...(state ? [h("span", {}, state)] : []));
}

/** Return what to know of a forecast that does not go on yet, or no more; nothing of others. */
function describeOpen({ status, progress_detail: { lead_times: done, num_lead_times: all } }: Forecast): string {
  return status === "accepted" ? texts.waiting : status === "dismissed" ? texts.cancelled(texts.progress(done, all)) : "";
}

function debounce(action: () => void, milliseconds: number): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

restore();
new Page().start();
