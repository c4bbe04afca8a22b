/** The legend of the map: what is drawn, its unit and its colours. */

import { DIFFERENCE_SCALES, gradient, SCALES, type Scale } from "./colors";
import { byId, h } from "./dom";
import type { State } from "./state";
import { texts } from "./texts";
import { fromMetres, UNIT_NAMES } from "./units";

const MAX_TICKS = 5;

/** Whether the map shows the difference of two forecasts. */
export function isDifference({ other, layout }: State): boolean {
  return other !== "" && layout === "difference";
}

/** Return the scale of the field that the state names. */
export function scaleOf(state: State): Scale {
  return (isDifference(state) ? DIFFERENCE_SCALES : SCALES)[state.field];
}

/** Return the threshold of the probability as text, in the units of the page. */
export function formatThreshold({ threshold, units }: State): string {
  return String(Number(fromMetres(threshold, units).toFixed(1)));
}

/** Show what the colours mean; those of the stamps are of all members. */
export function showLegend(state: State): void {
  const unit = UNIT_NAMES[state.units];
  const captions = {
    speed: texts.legend.speed, spread: texts.legend.spread, member: texts.legend.member(state.member),
    probability: texts.legend.probability(`${formatThreshold(state)} ${unit}`),
  };
  const areStamps = !byId("stamps").hidden;
  const isShare = state.field === "probability" && !areStamps;
  const scale = areStamps ? SCALES.member : scaleOf(state);
  const caption = areStamps ? texts.legend.members : isDifference(state) ? texts.legend.difference(captions[state.field]) : captions[state.field];
  const legend = byId("legend");
  legend.querySelector("figcaption")!.textContent = `${caption}, ${isShare ? "%" : unit}`;
  legend.querySelector<HTMLElement>(".bar")!.style.background = gradient(scale);
  legend.querySelector(".ticks")!.replaceChildren(...ticks(scale, (value) => (isShare ? 100 * value : fromMetres(value, state.units)), isShare));
}

/** Return marks at round values, and one at each end at which the scale is cut off. */
function ticks({ min, max }: Scale, convert: (value: number) => number, isShare: boolean): HTMLElement[] {
  const [low, high] = [convert(min), convert(max)];
  const step = roundStep((high - low) / MAX_TICKS);
  const marks: [number, string][] = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high * (1 + 1e-6); k++) marks.push([k * step, signed(k * step, low < 0)]);
  const isRoom = (value: number): boolean => marks.every(([other]) => Math.abs(other - value) > 0.16 * (high - low));
  const mark = (value: number, sign: string): void => {
    const found = marks.find(([other]) => Math.abs(other - value) < 1e-3 * step);
    if (found !== undefined) found[1] = `${sign} ${found[1]}`;
    else if (isRoom(value)) marks.push([value, `${sign} ${signed(Math.round(value), low < 0)}`]);
  };
  if (low < 0) mark(low, "≤");
  if (!isShare) mark(high, "≥");
  return marks.sort(([a], [b]) => a - b).map(([value, text]) => {
    const tick = h("span", {}, text);
    const share = (100 * (value - low)) / (high - low);
    tick.style.left = `${share}%`;
    tick.style.transform = `translateX(-${Math.round(share)}%)`;
    return tick;
  });
}

/** Return the smallest of 1, 2, 4 and 5 times a power of ten that is not smaller. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 4, 5, 10].find((factor) => factor * power >= least * 0.999)!;
}

function signed(value: number, isDifference: boolean): string {
  return (isDifference && value > 0 ? "+" : "") + String(Number(value.toFixed(1))).replace("-", "−");
}

/** Return a value of the field that the state names as text with its unit. */
export function formatValue(value: number, state: State): string {
  const isShare = state.field === "probability";
  const shown = isShare ? 100 * value : fromMetres(value, state.units);
  const sign = isDifference(state) && shown > 0 ? "+" : "";
  return `${sign}${shown.toFixed(isShare ? 0 : 1).replace("-", "−")} ${isShare ? "%" : UNIT_NAMES[state.units]}`;
}
