/** The data sets of the catalogue: what users should know of each, and whether it is reached. */

import { readJson } from "./api";
import { texts } from "./texts";
import { formatBytes, formatTime, parseTime } from "./units";

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

/** Return the lines that say what a data set is, what it costs, and why it is not reached. */
export function describeDataset(found: Dataset): { text: string; isBad: boolean }[] {
  const { title, state_bytes, status, failure, failing_since } = found;
  const terms = formatTerms(found);
  const size = state_bytes === null ? [] : [texts.datasets.size(formatBytes(state_bytes))];
  const lines = [title, terms, ...size].filter((text) => text !== "").map((text) => ({ text, isBad: false }));
  if (status !== "failing") return lines;
  const since = failing_since === null ? "" : formatTime(parseTime(failing_since));
  return [...lines, { text: texts.datasets.failing(since, failure ?? ""), isBad: true }];
}
