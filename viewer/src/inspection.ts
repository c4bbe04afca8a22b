/** What the service finds in files: what a forecast would start from, problems and warnings, and all records. */

import { postJson } from "./api";
import { byId, h } from "./dom";
import { texts } from "./texts";
import { formatBytes, formatTime, parseTime } from "./units";

interface Span {
  first: string;
  last: string;
  count: number;
}
interface Found {
  file: string;
  variables: string[];
  level: string;
  valid_times: Span | null;
  grid: string;
  type: string;
}
interface Chosen {
  file: string;
  variables: string[];
  valid_time: string;
  step_hours: number;
  type: string;
  notes: string[];
}
interface Unused {
  file: string;
  variables: string[];
  reason: string;
}
export interface Inspection {
  can_start: boolean;
  init_time: string | null;
  found: Found[];
  chosen: Chosen[];
  unused: Unused[];
  warnings: string[];
  problems: string[];
}

/** Files that a forecast is to start from, and what the service says of them. */
export class InspectionPanel {
  files: File[] = [];
  /** Whether a forecast can start from the files; null until the service has said so. */
  canStart: boolean | null = null;
  private readonly answer = byId("inspection");
  private abort = new AbortController();

  constructor(private readonly changed: () => void) {}

  /** Return the files as a form that the service takes. */
  toForm(): FormData {
    const form = new FormData();
    for (const file of this.files) form.append("initial_state", file, file.name);
    return form;
  }

  /** Inspect files for a checkpoint, and show the answer; an inspection that still runs is given up. */
  async inspect(files: File[], model: string): Promise<void> {
    this.abort.abort();
    const abort = (this.abort = new AbortController());
    this.files = files;
    this.canStart = null;
    if (files.length === 0) {
      this.answer.replaceChildren();
      this.changed();
      return;
    }
    const names = h("ul", { class: "files" }, ...files.map((file) => h("li", {}, h("span", {}, file.name), ` ${formatBytes(file.size)}`)));
    this.answer.replaceChildren(names, h("p", {}, texts.inspection.reading));
    this.changed();
    try {
      const found = await postJson<Inspection>(`inspect?model=${encodeURIComponent(model)}`, this.toForm(), {}, abort.signal);
      if (abort.signal.aborted) return;
      this.canStart = found.can_start;
      this.answer.replaceChildren(names, ...describe(found));
    } catch (error) {
      if (abort.signal.aborted) return;
      this.canStart = false;
      this.answer.replaceChildren(names, h("p", { class: "error", role: "alert" }, (error as Error).message));
    }
    this.changed();
  }
}

function describe({ can_start, init_time, found, chosen, unused, warnings, problems }: Inspection): HTMLElement[] {
  const { inspection } = texts;
  const verdict = can_start ? inspection.canStart(formatTime(parseTime(init_time ?? ""))) : inspection.cannotStart;
  const parts: HTMLElement[] = [h("p", { class: can_start ? "good" : "error", ...(can_start ? {} : { role: "alert" }) }, verdict)];
  if (problems.length > 0) parts.push(h("ul", { class: "error" }, ...problems.map((text) => h("li", {}, text))));
  if (warnings.length > 0) parts.push(h("ul", { class: "warning" }, ...warnings.map((text) => h("li", {}, text))));
  const add = (title: string, open: boolean, items: HTMLElement[]): void => {
    if (items.length > 0) parts.push(h("details", { open }, h("summary", {}, title), h("ul", {}, ...items)));
  };
  add(inspection.chosen, can_start, chosen.map(describeChosen));
  add(inspection.found(found.length), false, found.map(describeFound));
  add(inspection.unused(unused.length), !can_start, unused.map(({ file, variables, reason }) => describeEntry(variables, file, [reason])));
  return parts;
}

function describeChosen({ file, variables, valid_time, step_hours, type, notes }: Chosen): HTMLElement {
  const origin = step_hours > 0 ? texts.inspection.step(type, step_hours) : type;
  return describeEntry(variables, file, [formatTime(parseTime(valid_time)), origin, ...notes]);
}

function describeFound({ file, variables, level, valid_times: span, grid, type }: Found): HTMLElement {
  const times = span === null ? [] : [texts.inspection.times(span.count, formatTime(parseTime(span.first)), formatTime(parseTime(span.last)))];
  return describeEntry(variables, file, [level, ...times, grid, type].filter((text) => text !== ""));
}

function describeEntry(variables: string[], file: string, facts: string[]): HTMLElement {
  return h("li", {}, h("strong", {}, variables.join(", ")), h("span", {}, facts.join(" · ")), h("span", { class: "file" }, file));
}
