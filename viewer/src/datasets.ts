/** The data sets of the catalogue: what users should know of each, and whether it is reached. */

import { readJson } from "./api";
import { byId, h } from "./dom";
import { showError } from "./errors";
import { texts } from "./texts";
import { formatBytes, formatDuration, formatTime, parseTime } from "./units";

export interface Dataset {
  dataset: string;
  title: string;
  licence: string;
  attribution: string;
  step_hours: number;
  state_bytes: number | null;
  init_time: string | null;
  status: "reached" | "failing" | "unknown";
  failure: string | null;
  failing_since: string | null;
  late_hours: number | null;
  late: boolean;
}

let known: readonly Dataset[] = [];

/** Read the data sets, which `findDataset` finds from then on. */
export async function readDatasets(): Promise<readonly Dataset[]> {
  known = await readJson<Dataset[]>("datasets");
  return known;
}

export function findDataset(name: unknown): Dataset | undefined {
  return known.find(({ dataset }) => dataset === name);
}

/** Return licence and attribution of the data sets with these names, as text. */
export function attribute(names: unknown[]): string {
  const terms = [...new Set(names)].map(findDataset).flatMap((found) => (found === undefined ? [] : [formatTerms(found)]));
  return terms.filter((text) => text !== "").join("; ");
}

function formatTerms({ attribution, licence }: Dataset): string {
  return [attribution, licence].filter((text) => text !== "").join(", ");
}

/** A line of text; a warning says that a data set is late, a bad one that it is not reached. */
export interface Line {
  text: string;
  kind: "" | "warning" | "error";
}

/** Return the lines that say what a data set is, what it costs, how old it is, and why it is late or not reached. */
export function describeDataset(found: Dataset): Line[] {
  const { title, state_bytes, init_time, late_hours } = found;
  const size = state_bytes === null ? "" : texts.datasets.size(formatBytes(state_bytes));
  const newest = init_time === null ? texts.datasets.none : texts.datasets.newest(formatTime(parseTime(init_time)), late_hours === null ? "" : ageOf(init_time));
  const lines = [title, formatTerms(found), newest, size].filter((text) => text !== "").map((text): Line => ({ text, kind: "" }));
  return [...lines, ...describeTroubles(found)];
}

/** Return the lines that say since when, and why, a data set is late or not reached. */
export function describeTroubles({ late, late_hours, init_time, status, failure, failing_since }: Dataset): Line[] {
  const { datasets } = texts;
  const lines: Line[] = [];
  if (late && init_time !== null && late_hours !== null) {
    const cause = status === "failing" ? datasets.lateFailing : datasets.lateReached;
    lines.push({ text: datasets.late(late_hours, formatTime(parseTime(init_time) + late_hours * 3600e3)) + cause, kind: "warning" });
  }
  if (status === "failing") {
    const since = failing_since === null ? "" : formatTime(parseTime(failing_since));
    lines.push({ text: datasets.failing(since, failure ?? ""), kind: "error" });
  }
  return lines;
}

/** Return how old an analysis is, as text. */
export function ageOf(initTime: string): string {
  return formatDuration((Date.now() - parseTime(initTime)) / 1000);
}

/** The list of all data sets, and how many are late or not reached. */
export function showDatasets(datasets: readonly Dataset[]): void {
  const failing = datasets.filter(({ status }) => status === "failing").length;
  const late = datasets.filter(({ status, late: isLate }) => isLate && status !== "failing").length;
  showError(byId("dataset-troubles"), texts.datasets.troubles(late, failing) || null);
  byId("dataset-list").replaceChildren(...datasets.map((found) => h("li", { class: "card entry" },
    h("strong", {}, found.dataset), ...describeDataset(found).map(({ text, kind }) => h("span", { class: kind }, text)))));
}
