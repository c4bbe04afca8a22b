/** The quality of a forecast: spread by lead time, spectra, and scores against analyses. */

import { readJson } from "./api";
import { byId, h } from "./dom";
import { showError } from "./errors";
import { drawLines } from "./plots";
import type { Session } from "./session";
import { texts } from "./texts";

const COLORS = ["#2a78b4", "#d9822b", "#3f9b5c", "#a55ac0"];
const MAX_SPECTRA = 4;

interface Quality {
  lead_times: Record<string, { variables: Record<string, { spread: number; power: number[] }> }>;
  verifications: { reference: string; scores: unknown }[];
}

export class QualityPanel {
  private readonly panel = byId<HTMLDetailsElement>("quality");
  private read = "";

  constructor(private readonly session: () => Session | null) {
    this.panel.addEventListener("toggle", () => void this.show());
  }

  /** Read and draw the quality of the forecast, if the panel is open and something has changed. */
  async show(): Promise<void> {
    const session = this.session();
    if (!this.panel.open || session === null) return;
    const version = `${session.forecast.id} ${session.ready}`;
    if (version === this.read) return;
    this.read = version;
    const note = byId("quality-note");
    showError(note, session.ready < 2 ? texts.quality.waiting : null);
    if (session.ready < 2) return;
    try {
      this.draw(await readJson<Quality>(`forecast/${session.forecast.id}/diagnostics`));
    } catch (error) {
      showError(note, error);
    }
  }

  private draw({ lead_times, verifications }: Quality): void {
    const hours = Object.keys(lead_times).map(Number).sort((a, b) => a - b);
    const names = Object.keys(lead_times[hours[0]]?.variables ?? {}).slice(0, COLORS.length);
    const { quality } = texts;
    drawLines(byId("spread-plot"), hours, names.map((name, i) => ({
      y: hours.map((hour) => lead_times[hour].variables[name]?.spread ?? null), color: COLORS[i],
    })), "m/s", quality.spread, false);
    byId("spread-key").replaceChildren(...names.map((name, i) => swatch(COLORS[i], name)));
    const step = Math.max((hours.length - 1) / (MAX_SPECTRA - 1), 1);
    const chosen = [...new Set(Array.from({ length: MAX_SPECTRA }, (_, i) => hours[Math.min(Math.round(i * step), hours.length - 1)]))];
    const spectra = chosen.map((hour) => lead_times[hour].variables[names[0]].power);
    drawLines(byId("spectrum-plot"), spectra[0].map((_, i) => i + 1), spectra.map((power, i) => ({
      y: power.map((value) => (value > 0 ? value : null)), color: COLORS[i],
    })), names[0], quality.spectrum, true);
    byId("spectrum-key").replaceChildren(...chosen.map((hour, i) => swatch(COLORS[i], texts.lead(hour))));
    byId("scores").textContent = verifications.length === 0
      ? quality.noScores : `${quality.scores}: ${verifications.map(({ reference }) => reference).join(", ")}`;
  }
}

function swatch(color: string, text: string): HTMLElement {
  const mark = h("i", {});
  mark.style.background = color;
  return h("span", {}, mark, text);
}
