/** The page: list and form beside the map, the lead times below it, and the chosen place. */

import "./style.css";

import { gradient, SCALES } from "./colors";
import { byId, fillOptions } from "./dom";
import { showError } from "./errors";
import { setUpKeys } from "./keys";
import { ForecastList } from "./list";
import { WeatherMap } from "./map";
import { PlacePanel } from "./place";
import { QualityPanel } from "./quality";
import { Session } from "./session";
import { Stamps } from "./stamps";
import { current, restore, update, whenChanged, type State } from "./state";
import { AbsentError } from "./stores";
import { SubmitForm } from "./submit";
import { texts } from "./texts";
import { setUpTheme } from "./theme";
import { Timeline } from "./timeline";
import { formatTime, fromMetres, parseTime, toMetres, UNIT_NAMES, UNITS, type Unit } from "./units";

const RETRY_MILLISECONDS = 1000;
const TICKS = 5;

class Page {
  private readonly map = new WeatherMap(byId("map"));
  private readonly timeline = new Timeline((index) => this.chooseLead(index));
  private readonly place = new PlacePanel();
  private readonly list = new ForecastList((forecasts) => {
    if (!current().forecast && forecasts[0] !== undefined) update({ forecast: forecasts[0].id, hours: 0 });
  });
  private readonly form = new SubmitForm((forecast) => {
    update({ forecast: forecast.id, hours: 0 });
    void this.list.refresh();
  });
  private readonly stamps = new Stamps(() => void this.stamps.show(this.session, this.timeline.index));
  private readonly quality = new QualityPanel(() => this.session);
  private session: Session | null = null;
  private ready = 0;
  /** Whether the newest lead time is shown as it comes. */
  private follows = true;
  /** Whether the forecast was open when the page first read it. */
  private isLive = false;
  private drawing = false;
  private isStale = false;

  start(): void {
    setUpTheme(() => {
      this.map.drawLines();
      void this.place.show(this.session);
    });
    setUpKeys(() => this.load());
    this.setUpControls();
    whenChanged((state, before) => this.follow(state, before));
    this.showControls(current());
    addEventListener("resize", debounce(() => void this.place.show(this.session), 300));
    this.load();
  }

  private load(): void {
    void this.list.refresh();
    void this.form.load();
    void this.openForecast();
  }

  private follow(state: State, before: State): void {
    this.showControls(state);
    if (state.forecast !== before.forecast) void this.openForecast();
    const isOther = (names: (keyof State)[]): boolean => names.some((name) => state[name] !== before[name]);
    if (isOther(["hours", "field", "member", "threshold"])) void this.draw();
    if (isOther(["place", "units", "threshold"])) void this.showPlace();
    else if (state.hours !== before.hours) this.place.showRose(this.timeline.index);
  }

  private async openForecast(): Promise<void> {
    const id = current().forecast;
    this.session?.close();
    this.session = null;
    this.ready = 0;
    this.follows = current().hours === 0;
    this.map.show(null, current().field);
    this.message("");
    document.body.classList.remove("with-side");
    if (!id) {
      byId("heading").textContent = texts.chooseForecast;
      return;
    }
    try {
      const session = await Session.open(id, (changed) => this.handle(changed));
      if (id === current().forecast) this.session = session;
      else session.close();
    } catch (error) {
      byId("heading").textContent = texts.noForecastHere;
      this.message((error as Error).message, true);
    }
  }

  /** Show what has changed of the forecast. A forecast that runs shows its newest lead time, until one is chosen. */
  private handle(session: Session): void {
    if (session.forecast.id !== current().forecast) return;
    this.session = session;
    const { forecast, data } = session;
    byId("heading").textContent = `${formatTime(parseTime(forecast.init_time))} · ${texts.status[forecast.status]}`;
    if (forecast.status === "failed") this.message(`${texts.failed}: ${forecast.error?.detail ?? forecast.error?.title ?? ""}`, true);
    else if (session.error !== null) this.message(session.error.message, true);
    else if (forecast.data !== "available") this.message(texts.dataGone(forecast.data));
    else this.message(forecast.status === "accepted" ? texts.waiting : "");
    if (data === null) return;
    const grew = session.ready !== this.ready;
    const isFirst = this.ready === 0;
    this.ready = session.ready;
    this.timeline.configure(data.leadHours, session.ready, parseTime(forecast.init_time));
    fillOptions(byId("member"), data.members.map((member) => [String(member), texts.member(member)]), String(current().member));
    if (isFirst) this.isLive = session.isOpen;
    if (grew && this.follows && this.isLive) update({ hours: data.leadHours[session.ready - 1] });
    this.timeline.show(this.indexOf(current().hours));
    if (isFirst) void this.draw();
    if (grew) void this.showPlace();
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

  private async showPlace(): Promise<void> {
    await this.place.show(this.session);
    this.place.showRose(this.timeline.index);
  }

  /** Draw what the state says; a change while a frame is read is drawn after it. */
  private async draw(): Promise<void> {
    if (this.drawing) {
      this.isStale = true;
      return;
    }
    const data = this.session?.data;
    if (!data) return;
    this.drawing = true;
    const state = current();
    const index = this.indexOf(state.hours);
    this.timeline.show(index);
    void this.stamps.show(this.session, index);
    try {
      const frame = await data.frame(index, state);
      if (data === this.session?.data) this.map.show(frame, state.field);
      if (index + 1 < this.ready) void data.frame(index + 1, state).catch(() => undefined);
    } catch (error) {
      if (error instanceof AbsentError) setTimeout(() => void this.draw(), RETRY_MILLISECONDS);
      else this.message((error as Error).message, true);
    }
    this.drawing = false;
    if (this.isStale) {
      this.isStale = false;
      void this.draw();
    }
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
    const limit = String(Number(fromMetres(state.threshold, state.units).toFixed(1)));
    const threshold = byId<HTMLInputElement>("threshold");
    if (document.activeElement !== threshold) threshold.value = limit;
    const captions = {
      speed: texts.legend.speed, spread: texts.legend.spread, member: texts.legend.member(state.member),
      probability: texts.legend.probability(`${limit} ${unit}`),
    };
    const isShare = state.field === "probability";
    const { max } = SCALES[state.field];
    const ticks = Array.from({ length: TICKS + 1 }, (_, i) => (max * i) / TICKS)
      .map((value) => (isShare ? 100 * value : fromMetres(value, state.units)).toFixed(0));
    if (!isShare) ticks[TICKS] = `≥ ${ticks[TICKS]}`;
    const legend = byId("legend");
    legend.querySelector("figcaption")!.textContent = `${captions[state.field]}, ${isShare ? "%" : unit}`;
    legend.querySelector<HTMLElement>(".bar")!.style.background = gradient(SCALES[state.field]);
    legend.querySelector(".ticks")!.replaceChildren(...ticks.map((tick) => Object.assign(document.createElement("span"), { textContent: tick })));
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
    byId("zoom-in").addEventListener("click", () => this.map.zoom(1.4));
    byId("zoom-out").addEventListener("click", () => this.map.zoom(1 / 1.4));
    byId("map").setAttribute("aria-label", texts.mapLabel);
    const animation = byId("animation");
    const animate = (isOn: boolean): void => {
      animation.setAttribute("aria-pressed", String(isOn));
      this.map.setAnimation(isOn);
    };
    animation.addEventListener("click", () => animate(animation.getAttribute("aria-pressed") !== "true"));
    animate(!matchMedia("(prefers-reduced-motion: reduce)").matches);
    const menu = byId("menu");
    menu.addEventListener("click", () => menu.setAttribute("aria-expanded", String(document.body.classList.toggle("with-side"))));
    document.addEventListener("keydown", (event) => this.handleKey(event));
  }

  private handleKey(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select, textarea, dialog, summary, button")) return;
    if (event.key === "ArrowRight") this.timeline.go(this.timeline.index + 1);
    else if (event.key === "ArrowLeft") this.timeline.go(this.timeline.index - 1);
    else if (event.key === " ") this.timeline.toggle();
    else return;
    event.preventDefault();
  }
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
