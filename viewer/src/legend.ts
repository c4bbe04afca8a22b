/** The legend of the map: what is drawn, its unit and its colours. */

import { DIFFERENCE_SCALES, gradient, SCALES, type Scale } from "./colors";
import { byId, h } from "./dom";
import type { State } from "./state";
import { texts } from "./texts";
import { fromMetres, UNIT_NAMES } from "./units";

const TICKS = 5;
const DIFFERENCE_TICKS = 4;

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

export function showLegend(state: State): void {
  const unit = UNIT_NAMES[state.units];
  const captions = {
    speed: texts.legend.speed, spread: texts.legend.spread, member: texts.legend.member(state.member),
    probability: texts.legend.probability(`${formatThreshold(state)} ${unit}`),
  };
  const isShare = state.field === "probability";
  const scale = scaleOf(state);
  const caption = isDifference(state) ? texts.legend.difference(captions[state.field]) : captions[state.field];
  const legend = byId("legend");
  legend.querySelector("figcaption")!.textContent = `${caption}, ${isShare ? "%" : unit}`;
  legend.querySelector<HTMLElement>(".bar")!.style.background = gradient(scale);
  legend.querySelector(".ticks")!.replaceChildren(...ticks(scale, (value) => (isShare ? 100 * value : fromMetres(value, state.units))));
}

function ticks({ min, max }: Scale, convert: (value: number) => number): HTMLElement[] {
  const count = min < 0 ? DIFFERENCE_TICKS : TICKS;
  const texts = Array.from({ length: count + 1 }, (_, i) => convert(min + ((max - min) * i) / count))
    .map((value) => (min < 0 && value > 0 ? "+" : "") + value.toFixed(0).replace("-", "−"));
  if (min < 0) texts[0] = `≤ ${texts[0]}`;
  if (max !== 1) texts[count] = `≥ ${texts[count]}`;
  return texts.map((text) => h("span", {}, text));
}
