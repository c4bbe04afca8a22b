/** The chosen place: plume, probability, wind rose, table and CSV, as the service answers for it. */

import { ProblemError, readJson, request } from "./api";
import { byId, h } from "./dom";
import { showError } from "./errors";
import { drawPlume, drawChance, type Series } from "./plots";
import { drawRose } from "./rose";
import type { Session } from "./session";
import { current, update } from "./state";
import { texts } from "./texts";
import { formatPlace, formatTime, fromMetres, parseTime, toMetres, UNIT_NAMES } from "./units";

const SPEED = "wind_speed_10m";
const DIRECTION = "wind_direction_10m";

interface Answer {
  lead_hours: number[];
  valid_time: string[];
  members: number[];
  positions: { values: Record<string, (number | null)[][]> }[];
}
interface Statistics {
  positions: { values: Record<string, Record<string, (number | null)[]>> }[];
}

export class PlacePanel {
  private readonly panel = byId("place");
  private readonly error = this.panel.querySelector<HTMLElement>(".error")!;
  private readonly note = byId("place-note");
  private answer: Answer | null = null;
  private turn = 0;

  constructor() {
    byId("close").addEventListener("click", () => {
      update({ place: null });
      byId("map").focus();
    });
    byId("csv").addEventListener("click", () => void this.saveCsv());
  }

  /** Show the chosen place of a forecast; hide the panel without one. */
  async show(session: Session | null): Promise<void> {
    const { place, units, threshold } = current();
    const turn = ++this.turn;
    this.panel.hidden = place === null || session === null;
    document.body.classList.toggle("with-place", !this.panel.hidden);
    if (place === null || session === null) return;
    this.panel.querySelector("h2")!.textContent = texts.place(formatPlace(place));
    if (session.ready < 2 || session.forecast.data !== "available") {
      this.clear(session.forecast.data === "available" ? new Error(texts.noPoint) : new Error(texts.dataGone(session.forecast.data)));
      return;
    }
    if (byId("plume").childElementCount === 0) showError(this.note, texts.loading);
    try {
      const path = this.path(session);
      const wanted = session.forecast.request.output.members ? readJson<Answer>(`${path}&parameter-name=${SPEED},${DIRECTION}`) : null;
      const above = fromMetres(threshold, units);
      const statistics = await readJson<Statistics & Answer>(
        `${path}&values=statistics&parameter-name=${SPEED}&exceedance=${encodeURIComponent(`${SPEED}>${above.toPrecision(6)}`)}`);
      const members = await wanted;
      if (turn !== this.turn) return;
      this.answer = members;
      showError(this.error, null);
      showError(this.note, null);
      this.draw(members ?? statistics, members, statistics);
    } catch (error) {
      if (turn === this.turn) this.clear(error);
    }
  }

  /** Draw the wind rose of a lead time. */
  showRose(index: number): void {
    const box = byId("rose");
    if (this.answer === null || index >= this.answer.lead_hours.length) {
      box.replaceChildren();
      return;
    }
    const { values } = this.answer.positions[0];
    const speeds = values[SPEED][index].map((value) => (value === null ? null : toMetres(value, current().units)));
    const label = texts.rose(texts.lead(this.answer.lead_hours[index]));
    box.replaceChildren(drawRose(speeds, values[DIRECTION][index], label), h("p", {}, label));
  }

  private clear(error: unknown): void {
    this.answer = null;
    showError(this.note, null);
    showError(this.error, error instanceof ProblemError && error.problem.type.endsWith("not-finished") ? new Error(texts.noPoint) : error);
    for (const id of ["plume", "plume-key", "chance", "rose", "table"]) byId(id).replaceChildren();
  }

  private path(session: Session): string {
    const [longitude, latitude] = current().place!;
    const point = encodeURIComponent(`POINT(${longitude.toFixed(4)} ${latitude.toFixed(4)})`);
    return `forecast/${session.forecast.id}/position?coords=${point}&units=${current().units}`;
  }

  private draw(times: Answer, members: Answer | null, statistics: Statistics): void {
    const { place, units, threshold } = current();
    const found = statistics.positions[0].values[SPEED];
    const probability = Object.entries(found).find(([name]) => name.startsWith("p"))?.[1] ?? [];
    const rows = members?.positions[0].values[SPEED] ?? [];
    const series: Series = {
      seconds: times.valid_time.map((time) => parseTime(time) / 1000),
      members: (members?.members ?? []).map((_, i) => rows.map((row) => row[i])),
      quantiles: Object.fromEntries([0.1, 0.25, 0.5, 0.75, 0.9].map((q) => [q, found[`q${q}`] ?? []])),
      probability,
    };
    const limit = `${Number(fromMetres(threshold, units).toFixed(1))} ${UNIT_NAMES[units]}`;
    drawPlume(byId("plume"), series, fromMetres(threshold, units), UNIT_NAMES[units], texts.plumeLabel(series.members.length, formatPlace(place!)));
    drawChance(byId("chance"), series, texts.above(limit));
    byId("plume-key").replaceChildren(
      key("band", texts.range(10, 90)), key("inner", texts.range(25, 75)), key("median", texts.median),
      ...(members === null ? [] : [key("line", texts.legend.member(0).replace(/.*, /, "").replace(" 0", "s"))]), key("limit", limit),
    );
    this.drawTable(series, found["mean"], texts.above(limit), UNIT_NAMES[units]);
  }

  private drawTable(series: Series, mean: (number | null)[], above: string, unit: string): void {
    const { columns } = texts;
    const head = [columns.time, `${columns.mean}, ${unit}`, columns.low, columns.median, columns.high, above];
    const round = (value: number | null | undefined): string => (value == null ? "–" : value.toFixed(1));
    const body = series.seconds.map((second, i) => h("tr", {},
      h("th", { scope: "row" }, formatTime(second * 1000).replace(" UTC", "")),
      ...[mean[i], series.quantiles[0.1][i], series.quantiles[0.5][i], series.quantiles[0.9][i]].map((value) => h("td", {}, round(value))),
      h("td", {}, series.probability[i] == null ? "–" : `${Math.round(100 * series.probability[i]!)} %`)));
    byId("table").replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...body)));
  }

  private async saveCsv(): Promise<void> {
    const { forecast, place } = current();
    if (place === null) return;
    try {
      const point = encodeURIComponent(`POINT(${place[0].toFixed(4)} ${place[1].toFixed(4)})`);
      const response = await request(`forecast/${forecast}/position?coords=${point}&units=${current().units}&f=csv`, { headers: { Accept: "text/csv" } });
      const url = URL.createObjectURL(await response.blob());
      h("a", { href: url, download: `${forecast}_${place[1].toFixed(2)}_${place[0].toFixed(2)}.csv` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    } catch (error) {
      showError(this.error, error);
    }
  }
}

function key(kind: string, text: string): HTMLElement {
  return h("span", { class: `key ${kind}` }, text);
}
