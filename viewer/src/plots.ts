/** Plots of time series: the plume of an ensemble, and a probability. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  /** Valid times, in seconds since 1970. */
  seconds: number[];
  members: (number | null)[][];
  quantiles: Record<number, (number | null)[]>;
  probability: (number | null)[];
}

const plots = new WeakMap<HTMLElement, uPlot>();
const COMMON: Pick<uPlot.Options, "legend" | "cursor" | "tzDate"> = {
  legend: { show: false }, cursor: { show: false }, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
};
const QUANTILES = [0.1, 0.9, 0.25, 0.75, 0.5];

/** Draw the plume: a line for each member, bands between quantiles, the median, and the threshold. */
export function drawPlume(box: HTMLElement, series: Series, threshold: number, unit: string, label: string): void {
  const color = colorsOf(box);
  const count = series.members.length;
  const plain = { points: { show: false } };
  const line = { ...plain, stroke: color("--member"), width: Math.max(0.35, Math.min(1, 12 / Math.max(count, 1))) };
  const top = Math.max(...[...series.members.flat(), ...series.quantiles[0.9]].map((value) => value ?? 0), 1);
  const options: uPlot.Options = {
    ...sizeOf(box, 230),
    ...COMMON,
    series: [
      {},
      ...series.members.map(() => line),
      ...QUANTILES.map((q) => ({ ...plain, width: q === 0.5 ? 2.5 : 0, stroke: q === 0.5 ? color("--median") : "transparent" })),
      { ...plain, stroke: color("--limit"), width: 1.2, dash: [5, 4] },
    ],
    bands: [
      { series: [count + 2, count + 1], fill: color("--band") },
      { series: [count + 4, count + 3], fill: color("--band-inner") },
    ],
    scales: { x: { time: true }, y: { range: [0, 1.08 * top] } },
    axes: axes(color, unit),
  };
  const data = [
    series.seconds, ...series.members, ...QUANTILES.map((q) => series.quantiles[q]),
    series.seconds.map(() => (threshold < 1.08 * top ? threshold : null)),
  ];
  place(box, options, data as uPlot.AlignedData, label);
  box.dataset["members"] = String(count);
}

/** Draw a probability as steps. */
export function drawChance(box: HTMLElement, series: Series, label: string): void {
  const color = colorsOf(box);
  const options: uPlot.Options = {
    ...sizeOf(box, 150),
    ...COMMON,
    series: [{}, { points: { show: false }, stroke: color("--limit"), fill: color("--limit-fill"), width: 1.5 }],
    scales: { x: { time: true }, y: { range: [0, 100] } },
    axes: axes(color, "%"),
    title: label,
  };
  place(box, options, [series.seconds, series.probability.map((value) => (value === null ? null : 100 * value))] as uPlot.AlignedData, label);
}

/** Draw lines over a common axis of numbers, on logarithmic axes if `isLog`. */
export function drawLines(box: HTMLElement, x: number[], lines: { y: (number | null)[]; color: string }[], unit: string, label: string, isLog: boolean): void {
  const color = colorsOf(box);
  const distribution = isLog ? { distr: 3 as const } : {};
  const options: uPlot.Options = {
    ...sizeOf(box, 170),
    ...COMMON,
    title: label,
    series: [{}, ...lines.map((line) => ({ points: { show: false }, stroke: line.color, width: 1.5 }))],
    scales: { x: { time: false, ...distribution }, y: { ...distribution } },
    axes: axes(color, unit, false),
  };
  place(box, options, [x, ...lines.map((line) => line.y)] as uPlot.AlignedData, label);
}

function place(box: HTMLElement, options: uPlot.Options, data: uPlot.AlignedData, label: string): void {
  plots.get(box)?.destroy();
  plots.set(box, new uPlot(options, data, box));
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", label);
}

function colorsOf(box: HTMLElement): (name: string) => string {
  const style = getComputedStyle(box);
  return (name) => style.getPropertyValue(name).trim();
}

function sizeOf(box: HTMLElement, height: number): { width: number; height: number } {
  return { width: Math.max(box.clientWidth, 120), height };
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** Return the label of a time: the day at 0 UTC, else the hour. */
function labelTime(seconds: number): string {
  return seconds % 86400 === 0 ? DAY.format(seconds * 1000) : `${(seconds % 86400) / 3600} h`;
}

function axes(color: (name: string) => string, unit: string, isTime = true): uPlot.Axis[] {
  const axis = {
    stroke: color("--muted"), font: "11px system-ui, sans-serif", labelFont: "11px system-ui, sans-serif",
    grid: { stroke: color("--rule"), width: 1 }, ticks: { stroke: color("--rule"), width: 1 },
  };
  const values = isTime ? { values: (_: uPlot, splits: number[]) => splits.map(labelTime) } : {};
  return [{ ...axis, ...values, space: 52, size: 30 }, { ...axis, label: unit, labelSize: 16, size: 38 }];
}
