/** The form for a new forecast: from a state of the catalogue or from files, with an estimate before it is sent. */

import { postJson, readJson, type Forecast } from "./api";
import { byId, fillOptions } from "./dom";
import { showError } from "./errors";
import { texts } from "./texts";
import { formatBytes, formatDuration, formatTime, parseTime } from "./units";

const FILES = "files";
const WAIT_MILLISECONDS = 350;

interface CatalogueEntry {
  dataset: string;
  init_time: string;
}
interface Model {
  id: string;
  time_step_hours: number;
  max_members: number;
  max_lead_hours: number;
}
interface Estimate {
  seconds: number | null;
  wait_seconds: number | null;
  store_bytes: number;
  other_bytes: number;
}
interface Inspection {
  can_start: boolean;
  init_time: string | null;
  problems: unknown[];
  warnings: unknown[];
}

export class SubmitForm {
  private readonly form = byId<HTMLFormElement>("submit");
  private readonly source = byId<HTMLSelectElement>("source");
  private readonly model = byId<HTMLSelectElement>("model");
  private readonly members = byId<HTMLInputElement>("members");
  private readonly days = byId<HTMLInputElement>("days");
  private readonly seed = byId<HTMLInputElement>("seed");
  private readonly files = byId<HTMLInputElement>("files");
  private readonly drop = byId("drop");
  private readonly estimate = byId("estimate");
  private readonly error = byId("submit-error");
  private catalogue: CatalogueEntry[] = [];
  private models: Model[] = [];
  private dropped: File[] = [];
  private timer = 0;
  private turn = 0;

  constructor(private readonly whenSubmitted: (forecast: Forecast) => void) {
    this.form.addEventListener("input", () => this.change());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
    this.files.addEventListener("change", () => this.take([...(this.files.files ?? [])]));
    this.model.addEventListener("change", () => this.take(this.dropped));
    for (const kind of ["dragover", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        const found = [...((event as DragEvent).dataTransfer?.files ?? [])];
        if (kind === "drop" && found.length > 0) this.open(found);
      });
    }
    byId("new").addEventListener("toggle", () => this.change());
  }

  /** Read which states and checkpoints there are. */
  async load(): Promise<void> {
    try {
      [this.catalogue, this.models] = await Promise.all([readJson<CatalogueEntry[]>("catalogue"), readJson<Model[]>("models")]);
    } catch (error) {
      showError(this.error, error);
      return;
    }
    this.catalogue.sort((a, b) => (a.init_time < b.init_time ? 1 : -1));
    const states = this.catalogue.map(({ dataset, init_time }, i): [string, string] =>
      [String(i), texts.newestState(dataset, formatTime(parseTime(init_time.length === 13 ? `${init_time}:00` : init_time)))]);
    fillOptions(this.source, [...states, [FILES, texts.ownFiles]]);
    fillOptions(this.model, this.models.map(({ id }) => [id, id]));
    this.change();
  }

  private open(files: File[]): void {
    byId<HTMLDetailsElement>("new").open = true;
    document.body.classList.add("with-side");
    this.source.value = FILES;
    this.take(files);
    this.change();
  }

  private take(files: File[]): void {
    this.dropped = files;
    void this.inspect();
  }

  private async inspect(): Promise<void> {
    const answer = byId("inspection");
    if (this.dropped.length === 0) {
      answer.textContent = "";
      return;
    }
    answer.textContent = texts.inspecting;
    try {
      const found = await postJson<Inspection>(`inspect?model=${encodeURIComponent(this.model.value)}`, this.withFiles());
      const lines = [texts.files(this.dropped.map((file) => file.name))];
      lines.push(found.can_start ? texts.canStart(formatTime(parseTime(found.init_time ?? ""))) : texts.cannotStart);
      lines.push(...[...found.problems, ...found.warnings].map(asText));
      answer.textContent = lines.join("\n");
      answer.className = found.can_start ? "" : "error";
    } catch (error) {
      answer.className = "error";
      answer.textContent = (error as Error).message;
    }
  }

  private withFiles(): FormData {
    const form = new FormData();
    for (const file of this.dropped) form.append("initial_state", file, file.name);
    return form;
  }

  private change(): void {
    this.drop.hidden = this.source.value !== FILES;
    const model = this.models.find(({ id }) => id === this.model.value);
    if (model !== undefined) {
      this.members.max = String(model.max_members);
      this.days.max = String(model.max_lead_hours / 24);
      this.days.step = this.days.min = String(model.time_step_hours / 24);
    }
    showError(this.error, null);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.showEstimate(), WAIT_MILLISECONDS);
  }

  private async showEstimate(): Promise<void> {
    const turn = ++this.turn;
    this.estimate.textContent = "";
    const isReady = byId<HTMLDetailsElement>("new").open && this.form.checkValidity();
    if (!isReady || this.source.value === FILES || this.catalogue.length === 0) return;
    try {
      const plan = await postJson<Estimate>("forecast?validate_only=true", this.body());
      if (turn !== this.turn) return;
      const size = formatBytes(plan.store_bytes + plan.other_bytes);
      const cost = plan.seconds === null ? texts.estimateUnknown(size) : texts.estimate(formatDuration(plan.seconds), size);
      this.estimate.textContent = cost + (plan.wait_seconds ? texts.estimateWait(formatDuration(plan.wait_seconds)) : "");
    } catch (error) {
      if (turn === this.turn) showError(this.error, error);
    }
  }

  private body(): Record<string, unknown> {
    const entry = this.catalogue[Number(this.source.value)];
    const body: Record<string, unknown> = {
      model: this.model.value,
      members: Number(this.members.value),
      lead_time: `${Math.round(Number(this.days.value) * 24)}h`,
      initial_state: entry === undefined ? { source: "upload" } : { source: "catalogue", ...entry },
    };
    if (this.seed.value) body["seed"] = Number(this.seed.value);
    return body;
  }

  private async submit(): Promise<void> {
    const button = this.form.querySelector<HTMLButtonElement>("button[type=submit]")!;
    button.disabled = true;
    showError(this.error, null);
    this.estimate.textContent = texts.submitting;
    try {
      let body: unknown = this.body();
      if (this.source.value === FILES) {
        const form = this.withFiles();
        form.append("request", JSON.stringify(body));
        body = form;
      }
      const forecast = await postJson<Forecast>("forecast", body, { "Idempotency-Key": crypto.randomUUID() });
      byId<HTMLDetailsElement>("new").open = false;
      this.whenSubmitted(forecast);
    } catch (error) {
      showError(this.error, error);
    } finally {
      this.estimate.textContent = "";
      button.disabled = false;
    }
  }
}

/** Return a warning or problem of an inspection as text. */
function asText(entry: unknown): string {
  if (typeof entry === "string") return entry;
  const { detail, message } = entry as { detail?: string; message?: string };
  return detail ?? message ?? JSON.stringify(entry);
}
