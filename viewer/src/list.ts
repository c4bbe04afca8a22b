/** The list of forecasts, newest first, which is read again every few seconds while it can change. */

import { readJson, request, type Forecast } from "./api";
import { byId, h, showSide } from "./dom";
import { showError } from "./errors";
import { scheduleName } from "./schedules";
import { current, update, whenChanged } from "./state";
import { texts } from "./texts";
import { formatDuration, formatTime, leadHours, parseTime } from "./units";

const PAGE = 20;
const OPEN_SECONDS = 2;
const REST_SECONDS = 15;

interface Page {
  forecasts: Forecast[];
  links: { rel: string; href: string }[];
}

export class ForecastList {
  private readonly list = byId<HTMLUListElement>("list");
  private readonly error = byId("list-error");
  private readonly older = byId<HTMLButtonElement>("older");
  /** All that was read, by id: what is newest is read again, what is older once. */
  private readonly known = new Map<string, Forecast>();
  /** Path of the page after the oldest one that was read. */
  private next: string | null = null;
  private hasOlder = false;
  private timer = 0;
  private drawn = "";

  constructor(private readonly whenRead: (forecasts: Forecast[]) => void) {
    this.older.addEventListener("click", () => void this.readOlder());
    whenChanged((state, before) => {
      if (state.forecast !== before.forecast || state.other !== before.other) this.mark();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.refresh();
    });
  }

  /** Forget all that was read, which another key may not see. */
  forget(): void {
    this.known.clear();
    this.next = null;
    this.hasOlder = false;
  }

  /** Read the newest forecasts now, and again later. */
  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    let seconds = REST_SECONDS;
    try {
      const page = await readJson<Page>(`forecast?limit=${PAGE}`);
      showError(this.error, null);
      if (!this.hasOlder) this.next = nextPage(page);
      this.keep(page.forecasts);
      this.whenRead(page.forecasts);
      if (page.forecasts.some(isOpen)) seconds = OPEN_SECONDS;
    } catch (error) {
      showError(this.error, error);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => void this.refresh(), seconds * 1000);
  }

  /** Describe the forecasts again: the names of their schedules are known by now. */
  redraw(): void {
    if (this.known.size > 0) this.keep([]);
  }

  private async readOlder(): Promise<void> {
    if (this.next === null) return;
    this.older.disabled = true;
    try {
      const page = await readJson<Page>(this.next);
      this.next = nextPage(page);
      this.hasOlder = true;
      this.keep(page.forecasts);
    } catch (error) {
      showError(this.error, error);
    }
    this.older.disabled = false;
  }

  private keep(forecasts: Forecast[]): void {
    for (const forecast of forecasts) this.known.set(forecast.id, forecast);
    const all = [...this.known.values()].sort((a, b) => parseTime(b.created) - parseTime(a.created));
    byId("list-note").textContent = all.length === 0 ? texts.noForecasts : "";
    if (all.length === 0) byId<HTMLDetailsElement>("new").open = true;
    this.older.hidden = this.next === null;
    const items = all.map((forecast) => this.describe(forecast));
    const content = items.map((item) => item.outerHTML).join("");
    if (content === this.drawn) return;
    const focused = document.activeElement?.closest("li")?.dataset["id"];
    const action = document.activeElement?.className ?? "";
    this.drawn = content;
    this.list.replaceChildren(...items);
    this.mark();
    if (!focused) return;
    const buttons = [...this.list.querySelectorAll<HTMLElement>(`li[data-id="${focused}"] button`)];
    (buttons.find((button) => button.className === action && !button.hidden) ?? buttons[0])?.focus();
  }

  /** Mark the forecast that is shown, and the one that it is compared with. */
  mark(): void {
    const { forecast, other } = current();
    for (const item of this.list.children as HTMLCollectionOf<HTMLElement>) {
      const id = item.dataset["id"];
      item.querySelector(".item")!.setAttribute("aria-current", String(id === forecast));
      item.classList.toggle("second", id === other);
      const compare = item.querySelector<HTMLButtonElement>(".compare")!;
      compare.hidden = id === forecast || !forecast;
      compare.setAttribute("aria-pressed", String(id === other));
      const text = id === other ? texts.comparison.compared : texts.comparison.compare;
      compare.textContent = text;
      compare.setAttribute("aria-label", texts.comparison.action(text, item.querySelector("strong")!.textContent!));
    }
  }

  private describe(forecast: Forecast): HTMLLIElement {
    const { lead_times: done, num_lead_times: all, eta_seconds: left } = forecast.progress_detail;
    const { members, model, lead_time } = forecast.request;
    const title = formatTime(parseTime(forecast.init_time));
    const state = [texts.status[forecast.status], texts.age(formatDuration((Date.now() - parseTime(forecast.created)) / 1000))];
    if (forecast.data !== "available") state.push(texts.data[forecast.data]);
    if (isOpen(forecast)) state.push(texts.progress(done, all));
    if (isOpen(forecast) && left !== null && left > 0) state.push(texts.eta(formatDuration(left)));
    const count = typeof members === "number" ? members : members.length;
    const labels = Object.entries(forecast.labels).map(([name, value]) =>
      texts.label(name, name === "schedule" ? (scheduleName(value) ?? value) : value));
    const item = h("button", { class: "item", type: "button", onclick: () => choose(forecast.id) },
      h("strong", {}, title),
      h("span", {}, texts.item(count, texts.length(leadHours(lead_time)), model)),
      h("span", { class: `status ${forecast.status}` }, state.join(" · ")),
      labels.length === 0 ? null : h("span", { class: "labels" }, ...labels.map((text) => h("span", { title: text }, text))),
      forecast.error === null ? null : h("span", { class: "error" }, forecast.error.detail ?? forecast.error.title ?? ""),
      isOpen(forecast) ? h("progress", { max: all, value: done, "aria-label": texts.progress(done, all) }) : null,
    );
    const actions = h("div", { class: "actions" }, h("button", {
      class: "link compare", type: "button", onclick: () => compare(forecast.id),
    }));
    if (isOpen(forecast)) {
      actions.append(h("button", {
        class: "link cancel", type: "button", "aria-label": texts.cancelForecast(title),
        onclick: () => void this.cancel(forecast.id),
      }, texts.cancel));
    }
    const entry = h("li", {}, item, actions);
    entry.dataset["id"] = forecast.id;
    return entry;
  }

  private async cancel(id: string): Promise<void> {
    try {
      await request(`forecast/${id}?keep_data=true`, { method: "DELETE" });
      await this.refresh();
    } catch (error) {
      showError(this.error, error);
    }
  }
}

function isOpen({ status }: Forecast): boolean {
  return status === "accepted" || status === "running";
}

/** Choose a forecast; the one that was compared with the last one is compared with it, unless it is the same. */
function choose(id: string): void {
  update({ forecast: id, hours: 0, ...(id === current().other ? { other: "" } : {}) });
  showSide(false);
}

function compare(id: string): void {
  update({ other: id === current().other ? "" : id });
  showSide(false);
}

/** Return the path of the page after this one; null after the last one. */
function nextPage({ links }: Page): string | null {
  const link = links.find(({ rel }) => rel === "next");
  return link === undefined ? null : `forecast${new URL(link.href, document.baseURI).search}`;
}
