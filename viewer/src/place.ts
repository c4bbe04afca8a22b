/** The chosen place: plume, probability, wind rose, table and CSV, as the service answers for it. */

import { ProblemError, readJson, request } from "./api";
import { byId, h } from "./dom";
import { showError } from "./errors";
import { drawChance, drawPlume, markTime, type Series } from "./plots";
import { drawRose, roseClasses } from "./rose";
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
  valid_time: string[];
}

/** What the service answers of a forecast at the place. */
interface Reading {
  members: Answer;
  statistics: Statistics;
}

export class PlacePanel {
  private readonly panel = byId("place");
  private readonly error = this.panel.querySelector<HTMLElement>(".error")!;
  private readonly note = byId("place-note");
  private readings: Reading[] = [];
  private sessions: Session[] = [];
  private series: Series[] = [];
  /** Valid time on the map, in seconds since 1970. */
  private shown: number | null = null;
  private turn = 0;

  constructor() {
    byId("close").addEventListener("click", () => {
      update({ place: null });
      byId("map").focus();
    });
    byId("csv").addEventListener("click", () => void this.saveCsv(this.sessions[0]));
    byId("csv-b").addEventListener("click", () => void this.saveCsv(this.sessions[1]));
  }

  /** Show the chosen place of a forecast, and of the one that it is compared with; hide the panel without a place. */
  async show(session: Session | null, other: Session | null): Promise<void> {
    const { place } = current();
    const turn = ++this.turn;
    this.panel.hidden = place === null || session === null;
    document.body.classList.toggle("with-place", !this.panel.hidden);
    if (place === null || session === null) return;
    this.panel.querySelector("h2")!.textContent = texts.place(formatPlace(place));
    this.sessions = other === null ? [session] : [session, other];
    byId("csv").textContent = other === null ? texts.csv : texts.comparison.csv("A");
    byId("csv-b").hidden = other === null;
    if (byId("plume").childElementCount === 0) showError(this.note, texts.loading);
    try {
      const second = other === null ? null : read(other).catch((error: unknown) => explain(error));
      const first = await read(session);
      const found = await second;
      if (turn !== this.turn) return;
      this.readings = found === null || found instanceof Error ? [first] : [first, found];
      this.panel.classList.remove("without-data");
      showError(this.error, null);
      showError(this.note, found instanceof Error ? texts.comparison.noneAtPlace(found.message) : null);
      this.draw();
    } catch (error) {
      if (turn === this.turn) this.clear(explain(error));
    }
  }

  /**
   * Show a lead time: its wind rose, its values, and a mark in the plots.
   *
   * In a comparison, the rose of the other forecast at the same valid time is beside that of the first.
   */
  showLead(index: number): void {
    const box = byId("rose");
    box.replaceChildren();
    const time = this.readings[0]?.statistics.valid_time[index];
    this.shown = time === undefined ? null : parseTime(time) / 1000;
    markTime(this.shown ?? NaN, [byId("plume"), byId("chance")]);
    this.showValues(this.shown);
    this.readings.forEach(({ members }, i) => {
      const at = time === undefined ? -1 : members.valid_time.indexOf(time);
      if (at < 0) return;
      const { values } = members.positions[0];
      const speeds = values[SPEED][at].map((value) => (value === null ? null : toMetres(value, current().units)));
      const label = texts.rose(texts.lead(members.lead_hours[at]));
      const name = this.readings.length === 1 ? "" : "AB"[i];
      box.append(h("figure", {}, drawRose(speeds, values[DIRECTION][at], label), h("figcaption", {}, name ? `${name} · ${label}` : label)));
    });
    byId("rose-key").replaceChildren(...(box.childElementCount === 0 ? [] : describeClasses()));
  }

  /** Say the values at a valid time, in seconds since 1970: that of the map, or the one under a pointer. */
  private showValues(seconds: number | null): void {
    const unit = UNIT_NAMES[current().units];
    const values = seconds === null ? [] : this.series.flatMap((series, i) => {
      const at = series.seconds.indexOf(seconds);
      if (at < 0) return [];
      const [low, median, high] = [0.1, 0.5, 0.9].map((q) => round(series.quantiles[q][at]));
      return [(this.series.length === 1 ? "" : `${"AB"[i]}: `) + texts.valuesAt(median, low, high, unit, percent(series.probability[at]))];
    });
    byId("plume-values").replaceChildren(...(seconds === null || values.length === 0 ? []
      : [h("strong", {}, formatTime(seconds * 1000)), ...values.map((text) => h("span", {}, text))]));
  }

  private clear(error: Error): void {
    this.readings = [];
    this.panel.classList.add("without-data");
    showError(this.note, null);
    showError(this.error, error);
    this.series = [];
    for (const id of ["plume", "plume-key", "plume-values", "chance", "rose", "rose-key", "table"]) byId(id).replaceChildren();
  }

  private draw(): void {
    const { place, units, threshold } = current();
    const all = (this.series = this.readings.map(seriesOf));
    const limit = `${Number(fromMetres(threshold, units).toFixed(1))} ${UNIT_NAMES[units]}`;
    const where = formatPlace(place!);
    const [a, b] = all.map(({ members }) => members.length);
    const label = b === undefined ? texts.plumeLabel(a, where) : texts.comparison.plumeLabel(a, b, where);
    drawPlume(byId("plume"), all, fromMetres(threshold, units), UNIT_NAMES[units], label, (seconds) => this.showValues(seconds ?? this.shown));
    drawChance(byId("chance"), all, texts.above(limit));
    byId("plume-key").replaceChildren(...(all.length === 1 ? describeLines() : describePlumes()), key("limit", texts.threshold(limit)));
    byId("table").replaceChildren(all.length === 1
      ? drawTable(all[0], meanOf(this.readings[0]), texts.above(limit), UNIT_NAMES[units])
      : drawTwoColumns(all, texts.above(limit), UNIT_NAMES[units]));
  }

  private async saveCsv(session: Session | undefined): Promise<void> {
    const { place } = current();
    if (place === null || session === undefined) return;
    const forecast = session.forecast.id;
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

function describeLines(): HTMLElement[] {
  return [key("band", texts.range(10, 90)), key("inner", texts.range(25, 75)), key("median", texts.median), key("line", texts.memberLines)];
}

function describePlumes(): HTMLElement[] {
  const range = `${texts.median}, ${texts.range(10, 90)}`;
  return [key("plume-a", `A: ${range}`), key("plume-b", `B: ${range}`)];
}

/** Return the key of the colours of a wind rose. */
function describeClasses(): HTMLElement[] {
  const { units } = current();
  const text = (value: number): string => String(Math.round(fromMetres(value, units)));
  const classes = roseClasses().map(({ from, to, color }) => {
    const mark = h("i", {});
    mark.style.background = color;
    return h("span", {}, mark, to === Infinity ? `≥ ${text(from)}` : `${text(from)}–${text(to)}`);
  });
  return [...classes, h("span", {}, UNIT_NAMES[units])];
}

async function read(session: Session): Promise<Reading> {
  const { data, request: wish } = session.forecast;
  if (data !== "available") throw new Error(texts.dataGone(data));
  if (!wish.output.members) throw new Error(texts.placeNeedsMembers);
  if (session.ready < 2) throw new Error(texts.noPoint);
  const { place, units, threshold } = current();
  const point = encodeURIComponent(`POINT(${place![0].toFixed(4)} ${place![1].toFixed(4)})`);
  const path = `forecast/${session.forecast.id}/position?coords=${point}&units=${units}`;
  const above = encodeURIComponent(`${SPEED}>${fromMetres(threshold, units).toPrecision(6)}`);
  const [members, statistics] = await Promise.all([
    readJson<Answer>(`${path}&parameter-name=${SPEED},${DIRECTION}`),
    readJson<Statistics>(`${path}&values=statistics&parameter-name=${SPEED}&exceedance=${above}`),
  ]);
  return { members, statistics };
}

function explain(error: unknown): Error {
  if (error instanceof ProblemError && error.problem.type.endsWith("not-finished")) return new Error(texts.noPoint);
  return error as Error;
}

function meanOf({ statistics }: Reading): (number | null)[] {
  return statistics.positions[0].values[SPEED]["mean"] as (number | null)[];
}

function seriesOf({ members, statistics }: Reading): Series {
  const found = statistics.positions[0].values[SPEED] as Record<string, (number | null)[]>;
  const rows = members.positions[0].values[SPEED];
  return {
    seconds: members.valid_time.map((time) => parseTime(time) / 1000),
    members: members.members.map((_, i) => rows.map((row) => row[i])),
    quantiles: Object.fromEntries([0.1, 0.25, 0.5, 0.75, 0.9].map((q) => [q, found[`q${q}`] ?? []])),
    probability: Object.entries(found).find(([name]) => name.startsWith("p"))?.[1] ?? [],
  };
}

const round = (value: number | null | undefined): string => (value == null ? "–" : value.toFixed(1));
const percent = (value: number | null | undefined): string => (value == null ? "–" : `${Math.round(100 * value)}\u00a0%`);

function drawTable(series: Series, mean: (number | null)[], above: string, unit: string): HTMLElement {
  const { columns } = texts;
  const { quantiles, probability } = series;
  return makeTable([columns.time, `${columns.mean}, ${unit}`, columns.low, columns.median, columns.high, above], series.seconds.map((second, i) => [
    second, round(mean[i]), round(quantiles[0.1][i]), round(quantiles[0.5][i]), round(quantiles[0.9][i]), percent(probability[i]),
  ]));
}

/** Return a table of the medians and probabilities of two forecasts at all of their valid times. */
function drawTwoColumns(all: Series[], above: string, unit: string): HTMLElement {
  const seconds = [...new Set(all.flatMap((series) => series.seconds))].sort((a, b) => a - b);
  const rows = seconds.map((second): [number, ...string[]] => {
    const at = all.map((series) => series.seconds.indexOf(second));
    return [second, ...all.map((series, i) => round(series.quantiles[0.5][at[i]])), ...all.map((series, i) => percent(series.probability[at[i]]))];
  });
  const { columns } = texts;
  return makeTable([columns.time, ...["A", "B"].map((name) => `${columns.median} ${name}, ${unit}`), ...["A", "B"].map((name) => `${above} ${name}`)], rows);
}

function makeTable(head: string[], rows: (readonly [number, ...string[]])[]): HTMLElement {
  const body = rows.map(([second, ...cells]) => h("tr", {},
    h("th", { scope: "row" }, formatTime(second * 1000).replace(" UTC", "")), ...cells.map((text) => h("td", {}, text))));
  return h("table", {}, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...body));
}
