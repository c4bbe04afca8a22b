/** The list of forecasts, newest first, which is read again every few seconds while it can change. */

import { readJson, request, type Forecast } from "./api";
import { byId, h } from "./dom";
import { showError } from "./errors";
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
  private limit = PAGE;
  private timer = 0;
  private drawn = "";

  constructor(private readonly whenRead: (forecasts: Forecast[]) => void) {
    this.older.addEventListener("click", () => {
      this.limit += PAGE;
      void this.refresh();
    });
    whenChanged((state, before) => {
      if (state.forecast !== before.forecast) this.mark();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.refresh();
    });
  }

  /** Read the list now, and again later. */
  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    let seconds = REST_SECONDS;
    try {
      const page = await readJson<Page>(`forecast?limit=${Math.min(this.limit, 100)}`);
      showError(this.error, null);
      this.draw(page);
      this.whenRead(page.forecasts);
      if (page.forecasts.some(isOpen)) seconds = OPEN_SECONDS;
    } catch (error) {
      showError(this.error, error);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => void this.refresh(), seconds * 1000);
  }

  private draw({ forecasts, links }: Page): void {
    byId("list-note").textContent = forecasts.length === 0 ? texts.noForecasts : "";
    if (forecasts.length === 0) byId<HTMLDetailsElement>("new").open = true;
    this.older.hidden = !links.some((link) => link.rel === "next") || this.limit >= 100;
    const items = forecasts.map((forecast) => this.describe(forecast));
    const content = items.map((item) => item.outerHTML).join("");
    if (content === this.drawn) return;
    const focused = document.activeElement?.closest("li")?.dataset["id"];
    this.drawn = content;
    this.list.replaceChildren(...items);
    this.mark();
    if (focused) this.list.querySelector<HTMLElement>(`li[data-id="${focused}"] button`)?.focus();
  }

  private mark(): void {
    for (const item of this.list.children) {
      const isChosen = (item as HTMLElement).dataset["id"] === current().forecast;
      item.querySelector("button")!.setAttribute("aria-current", String(isChosen));
    }
  }

  private describe(forecast: Forecast): HTMLLIElement {
    const { lead_times: done, num_lead_times: all, eta_seconds: left } = forecast.progress_detail;
    const { members, model, lead_time } = forecast.request;
    const title = formatTime(parseTime(forecast.init_time));
    const state = [texts.status[forecast.status], texts.age(formatDuration((Date.now() - parseTime(forecast.created)) / 1000))];
    if (isOpen(forecast)) state.push(texts.progress(done, all));
    if (isOpen(forecast) && left !== null && left > 0) state.push(texts.eta(formatDuration(left)));
    const count = typeof members === "number" ? members : members.length;
    const hours = leadHours(lead_time);
    const length = hours % 24 === 0 ? `${hours / 24} d` : `${hours} h`;
    const choose = h("button", { class: "item", type: "button", onclick: () => update({ forecast: forecast.id, hours: 0 }) },
      h("strong", {}, title),
      h("span", {}, texts.item(count, length, model)),
      h("span", { class: `status ${forecast.status}` }, state.join(" · ")),
      forecast.error === null ? null : h("span", { class: "error" }, forecast.error.detail ?? forecast.error.title ?? ""),
      isOpen(forecast) ? h("progress", { max: all, value: done, "aria-label": texts.progress(done, all) }) : null,
    );
    const item = h("li", {}, choose);
    item.dataset["id"] = forecast.id;
    if (isOpen(forecast)) {
      item.append(h("button", {
        class: "tool", type: "button", "aria-label": texts.cancelForecast(title),
        onclick: () => void this.cancel(forecast.id),
      }, texts.cancel));
    }
    return item;
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
