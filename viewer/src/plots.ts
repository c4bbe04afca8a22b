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
const NO_CURSOR: uPlot.Cursor = { show: false };
const COMMON: Pick<uPlot.Options, "legend" | "tzDate"> = {
  legend: { show: false }, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
};
const PLAIN: Pick<uPlot.Series, "points"> = { points: { show: false } };
/** Lines of so few values also have a point at each one. */
const MAX_POINTS = 16;
/** Hours between the marks of an axis of lead times. */
const LEAD_STEPS = [6, 12, 24, 48, 72, 120, 240];
const QUANTILES = [0.1, 0.9, 0.25, 0.75, 0.5];

/** What is drawn of one forecast, in the colours of the style whose names have this ending. */
interface Layer {
  series: Series;
  suffix: "" | "-b";
}

/** Valid time, in seconds since 1970, that plots of time series mark: the one that the map shows. */
let marked = NaN;

/** Mark a valid time in plots that are there already, and in those that come. */
export function markTime(seconds: number, boxes: HTMLElement[]): void {
  marked = seconds;
  for (const box of boxes) plots.get(box)?.redraw(false);
}

function drawMark(plot: uPlot, color: string): void {
  const { left, top, width, height } = plot.bbox;
  const x = plot.valToPos(marked, "x", true);
  if (!(x >= left && x <= left + width)) return;
  plot.ctx.save();
  plot.ctx.setLineDash([]);
  plot.ctx.strokeStyle = color;
  plot.ctx.lineWidth = devicePixelRatio;
  plot.ctx.beginPath();
  plot.ctx.moveTo(x, top);
  plot.ctx.lineTo(x, top + height);
  plot.ctx.stroke();
  plot.ctx.restore();
}

/**
 * Draw plumes, of one forecast or of two: a line for each member, bands between quantiles, the median, and the threshold.
 *
 * `point` is called with the valid time under a pointer, and with null when it leaves.
 */
export function drawPlume(
  box: HTMLElement, all: Series[], threshold: number, unit: string, label: string, point: (seconds: number | null) => void,
): void {
  const color = colorsOf(box);
  const layers = all.map((series, i): Layer => ({ series, suffix: i === 0 ? "" : "-b" }));
  const top = Math.max(...all.flatMap(({ members, quantiles }) => [...members.flat(), ...quantiles[0.9]]).map((value) => value ?? 0), 1);
  const options: uPlot.Options = {
    ...sizeOf(box, 230),
    ...COMMON,
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    hooks: {
      draw: [(plot) => drawMark(plot, color("--muted"))],
      setCursor: [(plot) => point(plot.cursor.idx == null ? null : plot.data[0][plot.cursor.idx])],
    },
    series: [{}, ...layers.flatMap((layer) => linesOf(layer, color, all.length)), { ...PLAIN, stroke: color("--limit"), width: 1.2, dash: [5, 4] }],
    bands: bandsOf(layers, color),
    scales: { x: { time: true }, y: { range: [0, 1.08 * top] } },
    axes: axes(color, unit),
  };
  const [seconds, ...lines] = join(all.map(({ seconds, members, quantiles }) => [seconds, ...members, ...QUANTILES.map((q) => quantiles[q])]));
  const limit = Array.from(seconds, () => (threshold < 1.08 * top ? threshold : null));
  place(box, options, [seconds, ...lines, limit] as uPlot.AlignedData, label);
  box.dataset["members"] = String(all[0].members.length);
  box.dataset["otherMembers"] = String(all[1]?.members.length ?? 0);
}

function linesOf({ series, suffix }: Layer, color: (name: string) => string, numPlumes: number): uPlot.Series[] {
  const count = series.members.length;
  const width = Math.max(0.35, Math.min(1, 12 / Math.max(count, 1))) / numPlumes;
  const median = color(`--median${suffix}`);
  return [
    ...series.members.map(() => ({ ...PLAIN, stroke: color(`--member${suffix}`), width })),
    ...QUANTILES.map((q) => ({ ...PLAIN, width: q === 0.5 ? 2.5 : 0, stroke: q === 0.5 ? median : "transparent" })),
  ];
}

function bandsOf(layers: Layer[], color: (name: string) => string): uPlot.Band[] {
  let start = 1;
  return layers.flatMap(({ series, suffix }) => {
    const first = start + series.members.length;
    start = first + QUANTILES.length;
    return [
      { series: [first + 1, first] as uPlot.Band.Bounds, fill: color(`--band${suffix}`) },
      { series: [first + 3, first + 2] as uPlot.Band.Bounds, fill: color(`--band-inner${suffix}`) },
    ];
  });
}

/** Join tables, each a column of times and others, on all of their times; a line continues where its table has no row. */
function join(tables: unknown[][]): uPlot.AlignedData {
  return tables.length === 1 ? (tables[0] as uPlot.AlignedData) : uPlot.join(tables as uPlot.AlignedData[]);
}

/** Draw probabilities, of one forecast or of two. */
export function drawChance(box: HTMLElement, all: Series[], label: string): void {
  const color = colorsOf(box);
  const isOne = all.length === 1;
  const line = (name: string): uPlot.Series => ({ ...PLAIN, stroke: color(name), width: 1.5 });
  const options: uPlot.Options = {
    ...sizeOf(box, 150),
    ...COMMON,
    cursor: NO_CURSOR,
    hooks: { draw: [(plot) => drawMark(plot, color("--muted"))] },
    series: [{}, ...(isOne ? [{ ...line("--limit"), fill: color("--limit-fill") }] : [line("--median"), line("--median-b")])],
    scales: { x: { time: true }, y: { range: [0, 100] } },
    axes: axes(color, "%"),
    title: label,
  };
  place(box, options, join(all.map(({ seconds, probability }) => [seconds, probability.map((value) => (value === null ? null : 100 * value))])), label);
}

/** Draw lines over a common axis of numbers, which has a label; on logarithmic axes if `isLog`. */
export function drawLines(
  box: HTMLElement, x: number[], lines: { y: (number | null)[]; color: string }[], unit: string, title: string,
  { isLog, label }: { isLog: boolean; label: string },
): void {
  const color = colorsOf(box);
  const distribution = isLog ? { distr: 3 as const } : {};
  const top = Math.max(...lines.flatMap(({ y }) => y).map((value) => value ?? 0), 0);
  const points = { show: x.length <= MAX_POINTS, size: 5 };
  const [horizontal, vertical] = axes(color, unit, false);
  const options: uPlot.Options = {
    ...sizeOf(box, 185),
    ...COMMON,
    cursor: NO_CURSOR,
    title,
    series: [{}, ...lines.map((line) => ({ points: { ...points, fill: line.color }, stroke: line.color, width: 1.5, spanGaps: true }))],
    scales: { x: { time: false, ...distribution }, y: isLog ? distribution : { range: [0, 1.08 * top || 1] } },
    axes: [{ ...horizontal, label, labelSize: 14, size: 28, ...(isLog ? {} : { incrs: LEAD_STEPS }) }, vertical],
  };
  place(box, options, [x, ...lines.map((line) => line.y)] as uPlot.AlignedData, title);
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
