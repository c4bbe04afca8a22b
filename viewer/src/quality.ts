/** The quality of a forecast: spread by lead time, spectra, and scores against analyses. */

import { readJson } from "./api";
import { byId, fillOptions, h } from "./dom";
import { showError } from "./errors";
import { drawLines } from "./plots";
import type { Session } from "./session";
import { texts } from "./texts";

const COLORS = ["#2a78b4", "#d9822b", "#3f9b5c", "#a55ac0"];
const MAX_SPECTRA = 4;
const LEAD = { isLog: false, label: texts.quality.leadTime };

interface Score {
  lead_hours: number;
  crps_fair: number;
  rmse: number;
  spread: number;
  persistence_mae?: number;
  climatology_crps?: number;
}
interface Verification {
  reference: string;
  created: string;
  scores: { scores: Record<string, Score[]> };
}
interface Quality {
  lead_times: Record<string, { variables: Record<string, { spread: number; power: number[] }> }>;
  verifications: Verification[];
}

export class QualityPanel {
  private readonly panel = byId<HTMLDetailsElement>("quality");
  private readonly reference = byId<HTMLSelectElement>("reference");
  private readonly variable = byId<HTMLSelectElement>("score-variable");
  private quality: Quality | null = null;
  private version = "";

  constructor(private readonly session: () => Session | null) {
    this.panel.addEventListener("toggle", () => {
      this.version = "";
      void this.show();
    });
    this.reference.addEventListener("change", () => this.drawScores());
    this.variable.addEventListener("change", () => this.drawScores());
  }

  /** Read and draw the quality of the forecast, if the panel is open and lead times have been added. */
  async show(): Promise<void> {
    const session = this.session();
    if (session === null) byId("quality-plots").hidden = true;
    if (!this.panel.open || session === null) return;
    const version = `${session.forecast.id} ${session.ready}`;
    if (version === this.version) return;
    this.version = version;
    const note = byId("quality-note");
    const isReady = session.ready > 1;
    showError(note, isReady ? null : texts.quality.waiting);
    byId("quality-plots").hidden = !isReady;
    if (!isReady) return;
    try {
      this.quality = await readJson<Quality>(`forecast/${session.forecast.id}/diagnostics`);
      if (version === this.version) this.draw();
    } catch (error) {
      showError(note, error);
      byId("quality-plots").hidden = true;
    }
  }

  /** Draw again with the colours of the page, which have changed. */
  redraw(): void {
    if (this.panel.open && this.quality !== null && this.session() !== null) this.draw();
  }

  private draw(): void {
    const { lead_times, verifications } = this.quality!;
    const hours = Object.keys(lead_times).map(Number).sort((a, b) => a - b);
    const names = Object.keys(lead_times[hours[0]]?.variables ?? {}).slice(0, COLORS.length);
    const { quality } = texts;
    drawLines(byId("spread-plot"), hours, names.map((name, i) => ({
      y: hours.map((hour) => lead_times[hour].variables[name]?.spread ?? null), color: COLORS[i],
    })), "m/s", quality.spread, LEAD);
    byId("spread-key").replaceChildren(...names.map((name, i) => swatch(COLORS[i], nameOf(name))));
    const step = Math.max((hours.length - 1) / (MAX_SPECTRA - 1), 1);
    const chosen = [...new Set(Array.from({ length: MAX_SPECTRA }, (_, i) => hours[Math.min(Math.round(i * step), hours.length - 1)]))];
    const spectra = chosen.map((hour) => lead_times[hour].variables[names[0]].power);
    drawLines(byId("spectrum-plot"), spectra[0].map((_, i) => i + 1), spectra.map((power, i) => ({
      y: power.map((value) => (value > 0 ? value : null)), color: COLORS[i],
    })), "m²/s²", quality.spectrum(nameOf(names[0])), { isLog: true, label: quality.wavenumber });
    byId("spectrum-key").replaceChildren(...chosen.map((hour, i) => swatch(COLORS[i], texts.lead(hour))));
    const references = [...new Set(verifications.map(({ reference }) => reference))].reverse();
    fillOptions(this.reference, references.map((name) => [name, name]), references.includes(this.reference.value) ? this.reference.value : references[0]);
    byId("scores").hidden = references.length === 0;
    byId("no-scores").hidden = references.length > 0;
    if (references.length > 0) this.drawScores();
  }

  /** Draw the newest scores against the chosen truth. */
  private drawScores(): void {
    const { quality } = texts;
    const newest = this.quality!.verifications.filter(({ reference }) => reference === this.reference.value).at(-1)!;
    const names = Object.keys(newest.scores.scores);
    fillOptions(this.variable, names.map((name) => [name, nameOf(name)]), names.includes(this.variable.value) ? this.variable.value : names.at(-1));
    const scores = newest.scores.scores[this.variable.value];
    const draw = (id: string, title: string, lines: [string, keyof Score, string][]): void => {
      const known = lines.filter(([, name]) => scores.some((score) => score[name] !== undefined));
      drawLines(byId(`${id}-plot`), scores.map((score) => score.lead_hours), known.map(([, name, color]) => ({
        y: scores.map((score) => score[name] ?? null), color,
      })), "m/s", title, LEAD);
      byId(`${id}-key`).replaceChildren(...known.map(([text, , color]) => swatch(color, text)));
    };
    draw("crps", quality.crps, [[quality.forecast, "crps_fair", COLORS[0]], [quality.persistence, "persistence_mae", COLORS[1]], [quality.climatology, "climatology_crps", COLORS[3]]]);
    draw("rmse", quality.rmse, [[quality.error, "rmse", COLORS[0]], [quality.ensembleSpread, "spread", COLORS[1]]]);
  }
}

function nameOf(variable: string): string {
  return texts.variables[variable] ?? variable;
}

function swatch(color: string, text: string): HTMLElement {
  const mark = h("i", {});
  mark.style.background = color;
  return h("span", {}, mark, text);
}
