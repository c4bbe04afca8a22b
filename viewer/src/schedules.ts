/** Schedules: what is computed of each cycle of a data set, what came of the last ones, and a form for a new one. */

import { postJson, readJson, request, type Forecast } from "./api";
import { findDataset, type Dataset } from "./datasets";
import { byId, fillOptions, h, showSide } from "./dom";
import { showError } from "./errors";
import { update } from "./state";
import { texts } from "./texts";
import { formatTime, leadHours, parseTime } from "./units";

const OPEN_SECONDS = 30;
const CLOSED_SECONDS = 120;
/** Schedules of which the cycle before one that waits is read. */
const MAX_LOOKED_UP = 20;

interface Run {
  init_time: string;
  state: "waiting" | "submitted" | "skipped" | "missed" | "failed";
  late: boolean;
  problem: { title?: string; detail?: string } | null;
  forecast: string | null;
  forecast_status: Forecast["status"] | null;
}
interface Schedule {
  id: string;
  name: string;
  source: "api" | "file";
  state: "active" | "paused" | "stopped";
  reason: string | null;
  dataset: string;
  every_hours: number;
  forecast: { model?: string; members?: number | number[]; lead_time?: string };
  next_run: string | null;
  last_run: Run | null;
  late: number;
  newest_analysis: string | null;
  /** The cycle before the last one, which still waits. */
  run_before?: Run;
}

let names = new Map<string, string>();

/** Return the name of a schedule that was read; undefined of others. */
export function scheduleName(id: string): string | undefined {
  return names.get(id);
}

export class SchedulesPanel {
  private readonly panel = byId<HTMLDetailsElement>("schedules");
  private readonly list = byId("schedule-list");
  private readonly error = byId("schedules-error");
  private readonly form = byId<HTMLFormElement>("new-schedule");
  private readonly formError = byId("schedule-error");
  private readonly opened = new Set<string>();
  /** Why forecasts of runs failed, by their ids. */
  private readonly causes = new Map<string, Promise<string>>();
  private timer = 0;

  constructor(private readonly whenRead: () => void) {
    this.panel.addEventListener("toggle", () => void this.refresh());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.create();
    });
    byId("schedule-dataset").addEventListener("change", () => this.fitStep());
    document.addEventListener("visibilitychange", () => void this.refresh());
  }

  /** Offer these data sets and checkpoints for a new schedule. */
  offer(datasets: readonly Dataset[], models: string[]): void {
    fillOptions(byId("schedule-dataset"), datasets.map(({ dataset }) => [dataset, dataset]));
    this.fitStep();
    fillOptions(byId("schedule-model"), models.map((name) => [name, name]));
  }

  /** Allow only multiples of the step of the data set. */
  private fitStep(): void {
    const step = findDataset(byId<HTMLSelectElement>("schedule-dataset").value)?.step_hours ?? 1;
    const every = byId<HTMLInputElement>("schedule-every");
    every.min = every.step = String(step);
    every.value = String(Math.max(Math.round(Number(every.value) / step), 1) * step);
  }

  /** Read and draw the schedules, now and again later, more often while the panel is open. */
  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    if (document.hidden) return;
    try {
      const { schedules } = await readJson<{ schedules: Schedule[] }>("schedules?limit=200");
      showError(this.error, null);
      await Promise.all(schedules.slice(0, MAX_LOOKED_UP).map(readLastEnd));
      names = new Map(schedules.map(({ id, name }) => [id, name]));
      this.draw(schedules);
      this.whenRead();
    } catch (error) {
      showError(this.error, error);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.refresh(), 1000 * (this.panel.open ? OPEN_SECONDS : CLOSED_SECONDS));
  }

  private draw(schedules: Schedule[]): void {
    byId("no-schedules").hidden = schedules.length > 0;
    const troubled = schedules.filter(isTroubled).length;
    showError(byId("schedule-troubles"), troubled > 0 ? texts.schedules.troubles(troubled) : null);
    const focused = document.activeElement?.closest<HTMLElement>("#schedule-list li")?.dataset["id"];
    const action = document.activeElement?.className;
    this.list.replaceChildren(...schedules.map((schedule) => this.describe(schedule)));
    if (focused && action) this.list.querySelector<HTMLElement>(`li[data-id="${focused}"] .${action.replaceAll(" ", ".")}`)?.focus();
  }

  private describe(schedule: Schedule): HTMLLIElement {
    const { id, name, state, dataset, every_hours, forecast, next_run, last_run, run_before, late } = schedule;
    const { schedules } = texts;
    const size = [forecast.members, forecast.lead_time, forecast.model].every((part) => part !== undefined)
      ? texts.item(countOf(forecast.members!), texts.length(leadHours(forecast.lead_time!)), forecast.model!) : "";
    const runs = h("details", { open: this.opened.has(id) }, h("summary", {}, schedules.runs), h("ol", { class: "runs" }));
    runs.addEventListener("toggle", () => void this.showRuns(id, runs));
    const action = (className: string, text: string, label: string, act: () => Promise<unknown>): HTMLElement =>
      h("button", { class: `link ${className}`, type: "button", "aria-label": label, onclick: () => void this.act(act) }, text);
    const actions = [action("open", schedules.latest, schedules.latestOf(name), () => this.openLatest(id))];
    if (state === "active") actions.push(action("pause", schedules.pause, schedules.pauseOf(name), () => change(id, "paused")));
    if (state === "paused") actions.push(action("resume", schedules.resume, schedules.resumeOf(name), () => change(id, "active")));
    if (schedule.source === "api") {
      actions.push(action("delete", schedules.delete, schedules.deleteOf(name), async () => {
        if (confirm(schedules.confirmDelete(name))) await request(`schedules/${id}`, { method: "DELETE" });
      }));
    }
    const entry = h("li", { class: "card" },
      h("div", { class: "entry" },
        h("strong", {}, name),
        h("span", {}, schedules.plan(dataset, every_hours)),
        size ? h("span", {}, size) : null,
        state === "active" ? null : h("span", { class: state === "stopped" ? "error" : "warning" }, schedules.states[state], schedule.reason ? `: ${schedule.reason}` : ""),
        last_run === null ? h("span", {}, schedules.noRun) : this.describeRun(last_run, schedules.last),
        run_before !== undefined && hasFailed(run_before) ? this.describeRun(run_before, schedules.before) : null,
        late > 0 ? h("span", { class: "warning" }, schedules.late(late, causeOf(schedule))) : null,
        next_run === null ? null : h("span", {}, schedules.next(formatTime(parseTime(next_run)))),
        runs,
      ),
      h("div", { class: "actions" }, ...actions));
    entry.dataset["id"] = id;
    return entry;
  }

  /** Return what came of a run, and why; one that is late or has failed is marked. */
  private describeRun(run: Run, prefix: string): HTMLElement {
    const { init_time, state, late, problem, forecast, forecast_status: status } = run;
    const { schedules } = texts;
    const outcome = state === "submitted" && status !== null ? texts.status[status] : late ? schedules.lateRun : schedules.runStates[state];
    const reason = problem?.detail ?? problem?.title;
    const element = h("span", { class: hasFailed(run) ? "error" : late ? "warning" : "" },
      `${prefix}${formatTime(parseTime(init_time))} · ${outcome}${reason ? `: ${reason}` : ""}`);
    if (status === "failed" && forecast !== null) {
      if (!this.causes.has(forecast)) this.causes.set(forecast, readCause(forecast).catch(() => ""));
      void this.causes.get(forecast)!.then((cause) => element.append(cause ? `: ${cause}` : ""));
    }
    return element;
  }

  private async showRuns(id: string, details: HTMLDetailsElement): Promise<void> {
    if (!details.open) {
      this.opened.delete(id);
      return;
    }
    this.opened.add(id);
    const list = details.querySelector("ol")!;
    try {
      const { runs } = await readJson<{ runs: Run[] }>(`schedules/${id}/runs?limit=20`);
      list.replaceChildren(...runs.map((run) => h("li", {}, this.describeRun(run, ""), run.forecast === null ? null : openButton(run))));
      if (runs.length === 0) list.replaceChildren(h("li", {}, texts.schedules.noRun));
    } catch (error) {
      list.replaceChildren(h("li", { class: "error" }, (error as Error).message));
    }
  }

  private async openLatest(id: string): Promise<void> {
    const { id: forecast } = await readJson<Forecast>(`schedules/${id}/latest`);
    update({ forecast, other: "", hours: 0 });
    showSide(false);
  }

  private async act(act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
      await this.refresh();
    } catch (error) {
      showError(this.error, error);
    }
  }

  private async create(): Promise<void> {
    const value = (id: string): string => byId<HTMLInputElement | HTMLSelectElement>(id).value;
    const button = this.form.querySelector<HTMLButtonElement>("button[type=submit]")!;
    button.disabled = true;
    showError(this.formError, null);
    try {
      const forecast = {
        model: value("schedule-model"), members: Number(value("schedule-members")),
        lead_time: `${Math.round(Number(value("schedule-days")) * 24)}h`,
      };
      const body = { name: value("schedule-name"), dataset: value("schedule-dataset"), every_hours: Number(value("schedule-every")), forecast };
      await postJson<Schedule>("schedules", body, { "Idempotency-Key": crypto.randomUUID() });
      this.form.reset();
      byId<HTMLDetailsElement>("schedule-form").open = false;
      await this.refresh();
    } catch (error) {
      showError(this.formError, error);
    } finally {
      button.disabled = false;
    }
  }
}

function countOf(members: number | number[]): number {
  return typeof members === "number" ? members : members.length;
}

async function change(id: string, state: "active" | "paused"): Promise<void> {
  await request(`schedules/${id}`, { method: "PATCH", body: JSON.stringify({ state }), headers: { "Content-Type": "application/json" } });
}

/** Whether a run ended without a successful forecast. */
function hasFailed({ state, forecast_status: status }: Run): boolean {
  return state === "failed" || state === "missed" || status === "failed";
}

/** Whether a schedule is late or stopped, or the last of its cycles that ended has failed. */
function isTroubled({ state, late, last_run: last, run_before: before }: Schedule): boolean {
  const hasBadEnd = [last, before].some((run) => run != null && hasFailed(run));
  return state === "stopped" || (state === "active" && (late > 0 || hasBadEnd));
}

/** Read the cycle before the last one of a schedule, if that waits. */
async function readLastEnd(schedule: Schedule): Promise<void> {
  if (schedule.state !== "active" || schedule.last_run?.state !== "waiting") return;
  const { runs } = await readJson<{ runs: Run[] }>(`schedules/${schedule.id}/runs?limit=10`);
  const before = runs.find(({ state }) => state !== "waiting");
  if (before !== undefined) schedule.run_before = before;
}

/** Return what late runs of a schedule wait for; nothing if that of the last run is the reason. */
function causeOf({ dataset, newest_analysis: newest, last_run: run }: Schedule): string {
  const { schedules } = texts;
  if (run?.late && run.problem !== null) return ""; // the run says it
  const reason = findDataset(dataset)?.failure;
  if (reason) return reason;
  return newest === null ? schedules.waitsForFirst(dataset) : schedules.waitsFor(dataset, formatTime(parseTime(newest)));
}

async function readCause(forecast: string): Promise<string> {
  const { error } = await readJson<Forecast>(`forecast/${forecast}`);
  return error?.detail ?? error?.title ?? "";
}

function openButton({ forecast, init_time }: Run): HTMLElement {
  return h("button", {
    class: "link", type: "button", "aria-label": texts.schedules.openRun(formatTime(parseTime(init_time))),
    onclick: () => update({ forecast: forecast!, other: "", hours: 0 }),
  }, texts.schedules.open);
}
