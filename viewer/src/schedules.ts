/** Schedules: what is computed of each cycle of a data set, what came of the last ones, and a form for a new one. */

import { postJson, readJson, request, type Forecast } from "./api";
import { findDataset, type Dataset } from "./datasets";
import { byId, fillOptions, h } from "./dom";
import { showError } from "./errors";
import { update } from "./state";
import { texts } from "./texts";
import { formatTime, leadHours, parseTime } from "./units";

const SECONDS = 30;

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
}

export class SchedulesPanel {
  private readonly panel = byId<HTMLDetailsElement>("schedules");
  private readonly list = byId("schedule-list");
  private readonly error = byId("schedules-error");
  private readonly form = byId<HTMLFormElement>("new-schedule");
  private readonly formError = byId("schedule-error");
  private readonly opened = new Set<string>();
  private timer = 0;

  constructor() {
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

  /** Read and draw the schedules, now and again later, while the panel is open. */
  async refresh(): Promise<void> {
    clearTimeout(this.timer);
    if (!this.panel.open || document.hidden) return;
    try {
      const { schedules } = await readJson<{ schedules: Schedule[] }>("schedules?limit=200");
      showError(this.error, null);
      this.draw(schedules);
    } catch (error) {
      showError(this.error, error);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.refresh(), SECONDS * 1000);
  }

  private draw(schedules: Schedule[]): void {
    byId("no-schedules").hidden = schedules.length > 0;
    const focused = document.activeElement?.closest<HTMLElement>("#schedule-list li")?.dataset["id"];
    const action = document.activeElement?.className;
    this.list.replaceChildren(...schedules.map((schedule) => this.describe(schedule)));
    if (focused && action) this.list.querySelector<HTMLElement>(`li[data-id="${focused}"] .${action.replaceAll(" ", ".")}`)?.focus();
  }

  private describe(schedule: Schedule): HTMLLIElement {
    const { id, name, state, dataset, every_hours, forecast, next_run, last_run, late } = schedule;
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
      h("div", { class: "schedule" },
        h("strong", {}, name),
        h("span", {}, schedules.plan(dataset, every_hours)),
        size ? h("span", {}, size) : null,
        state === "active" ? null : h("span", { class: state === "stopped" ? "error" : "warning" }, schedules.states[state], schedule.reason ? `: ${schedule.reason}` : ""),
        last_run === null ? h("span", {}, schedules.noRun) : describeRun(last_run, schedules.last),
        late > 0 ? h("span", { class: "warning" }, schedules.late(late)) : null,
        next_run === null ? null : h("span", {}, schedules.next(formatTime(parseTime(next_run)))),
        runs,
      ),
      h("div", { class: "actions" }, ...actions));
    entry.dataset["id"] = id;
    return entry;
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
      list.replaceChildren(...runs.map((run) => h("li", {}, describeRun(run, ""), run.forecast === null ? null : openButton(run))));
      if (runs.length === 0) list.replaceChildren(h("li", {}, texts.schedules.noRun));
    } catch (error) {
      list.replaceChildren(h("li", { class: "error" }, (error as Error).message));
    }
  }

  private async openLatest(id: string): Promise<void> {
    const { id: forecast } = await readJson<Forecast>(`schedules/${id}/latest`);
    update({ forecast, other: "", hours: 0 });
    document.body.classList.remove("with-side");
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

/** Return what came of a run; one that is late or has failed is marked. */
function describeRun({ init_time, state, late, problem, forecast_status: status }: Run, prefix: string): HTMLElement {
  const { schedules } = texts;
  const isBad = state === "failed" || state === "missed" || status === "failed";
  const outcome = state === "submitted" && status !== null ? texts.status[status] : late ? schedules.lateRun : schedules.runStates[state];
  const reason = problem?.detail ?? problem?.title;
  return h("span", { class: isBad ? "error" : late ? "warning" : "" },
    `${prefix}${formatTime(parseTime(init_time))} · ${outcome}${reason ? `: ${reason}` : ""}`);
}

function openButton({ forecast, init_time }: Run): HTMLElement {
  return h("button", {
    class: "link", type: "button", "aria-label": texts.schedules.openRun(formatTime(parseTime(init_time))),
    onclick: () => update({ forecast: forecast!, other: "", hours: 0 }),
  }, texts.schedules.open);
}
