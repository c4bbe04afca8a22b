/** The form for a new forecast: from a state of the catalogue or from files, with an estimate before it is sent. */

import { postJson, readJson, type Forecast } from "./api";
import { ageOf, describeDataset, describeTroubles, findDataset, readDatasets, showDatasets, type Dataset } from "./datasets";
import { byId, fillOptions, h, showSide } from "./dom";
import { showError } from "./errors";
import { InspectionPanel } from "./inspection";
import { texts } from "./texts";
import { formatBytes, formatDuration, formatTime, parseTime } from "./units";

const FILES = "files";
const WAIT_MILLISECONDS = 350;
const RELOAD_SECONDS = 120;
const MAX_ESTIMATE_BYTES = 100e6;

interface CatalogueEntry {
  dataset: string;
  init_time: string;
}
export interface Model {
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
  private readonly button = this.form.querySelector<HTMLButtonElement>("button[type=submit]")!;
  private catalogue: CatalogueEntry[] = [];
  private models: Model[] = [];
  private datasets: readonly Dataset[] = [];
  private readonly inspection = new InspectionPanel(() => this.change());
  private timer = 0;
  private reload = 0;
  private content = "";
  private turn = 0;

  constructor(
    private readonly whenSubmitted: (forecast: Forecast) => void,
    private readonly whenLoaded: (datasets: readonly Dataset[], models: Model[]) => void,
  ) {
    this.form.addEventListener("input", () => this.change());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submit();
    });
    this.files.addEventListener("change", () => this.take([...(this.files.files ?? [])]));
    this.model.addEventListener("change", () => this.take(this.inspection.files));
    for (const kind of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        document.body.classList.toggle("with-drag", kind === "dragover" && hasFiles(event as DragEvent));
        const found = [...((event as DragEvent).dataTransfer?.files ?? [])];
        if (kind === "drop" && found.length > 0) this.open(found);
      });
    }
    byId("new").addEventListener("toggle", () => this.change());
  }

  /** Read which states and checkpoints there are, now and again later. */
  async load(): Promise<void> {
    clearTimeout(this.reload);
    this.reload = setTimeout(() => void this.load(), RELOAD_SECONDS * 1000);
    if (document.hidden) return;
    const before = this.catalogue[Number(this.source.value)];
    try {
      [this.catalogue, this.models, this.datasets] = await Promise.all([
        readJson<CatalogueEntry[]>("catalogue"), readJson<Model[]>("models"), readDatasets(),
      ]);
    } catch (error) {
      showError(this.error, error);
      return;
    }
    this.catalogue.sort((a, b) => (a.init_time < b.init_time ? 1 : -1));
    const states = this.catalogue.map((entry, i): [string, string] => [String(i), describeState(entry)]);
    showDatasets(this.datasets);
    const options: [string, string][] = [...states, ...this.withoutStates(), [FILES, texts.ownFiles]];
    const content = JSON.stringify([options, this.models]);
    if (content === this.content) {
      this.describeSource();
      return;
    }
    this.content = content;
    this.offer(options, before);
    this.whenLoaded(this.datasets, this.models);
    this.change();
  }

  /** Fill the lists of states and checkpoints; what was chosen stays, or becomes the newest state of its data set. */
  private offer(options: [string, string][], before: CatalogueEntry | undefined): void {
    const [source, model] = [this.source.value, this.model.value];
    fillOptions(this.source, options);
    for (const option of this.source.options) option.disabled = option.value === "";
    const kept = [this.catalogue.findIndex((entry) => entry.dataset === before?.dataset && entry.init_time === before.init_time),
      this.catalogue.findIndex(({ dataset }) => dataset === before?.dataset)].find((index) => index >= 0);
    if (source === FILES) this.source.value = FILES;
    else if (kept !== undefined) this.source.value = String(kept);
    fillOptions(this.model, this.models.map(({ id }) => [id, id]));
    if (this.models.some(({ id }) => id === model)) this.model.value = model;
  }

  /** Return options that say which data sets have no state to start from, and why. */
  private withoutStates(): [string, string][] {
    const names = new Set(this.catalogue.map(({ dataset }) => dataset));
    return this.datasets.filter(({ dataset }) => !names.has(dataset)).map(({ dataset, status }) =>
      ["", status === "failing" ? texts.datasets.notReached(dataset) : texts.datasets.nothingYet(dataset)]);
  }

  /** Say what the chosen data set is; those that are not reached are named too. */
  private describeSource(): void {
    const chosen = findDataset(this.catalogue[Number(this.source.value)]?.dataset);
    const failing = this.datasets.filter((each) => each.status === "failing" && each !== chosen && this.source.value !== FILES);
    const lines = chosen === undefined ? [] : describeDataset(chosen);
    byId("source-note").replaceChildren(
      ...lines.map(({ text, kind }) => h("span", { class: kind }, text)),
      ...failing.map((each) => h("span", { class: "error" }, `${each.dataset}: ${describeTroubles(each).at(-1)!.text}`)));
  }

  private open(files: File[]): void {
    byId<HTMLDetailsElement>("new").open = true;
    showSide(true);
    this.source.value = FILES;
    this.take(files);
    this.change();
  }

  private take(files: File[]): void {
    void this.inspection.inspect(files, this.model.value);
  }

  private change(): void {
    const isFromFiles = this.source.value === FILES;
    this.drop.hidden = !isFromFiles;
    this.button.disabled = isFromFiles && this.inspection.canStart !== true;
    this.describeSource();
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
    const isFromFiles = this.source.value === FILES;
    if (!isReady || (isFromFiles ? this.inspection.canStart !== true : this.catalogue.length === 0)) return;
    // an estimate from files sends them once more
    if (isFromFiles && this.inspection.files.reduce((sum, file) => sum + file.size, 0) > MAX_ESTIMATE_BYTES) return;
    try {
      const plan = await postJson<Estimate>("forecast?validate_only=true", this.message());
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

  /** Return the request, as a form with the files if it starts from some. */
  private message(): unknown {
    if (this.source.value !== FILES) return this.body();
    const form = this.inspection.toForm();
    form.append("request", JSON.stringify(this.body()));
    return form;
  }

  private async submit(): Promise<void> {
    this.button.disabled = true;
    showError(this.error, null);
    this.estimate.textContent = texts.submitting;
    try {
      const forecast = await postJson<Forecast>("forecast", this.message(), { "Idempotency-Key": crypto.randomUUID() });
      byId<HTMLDetailsElement>("new").open = false;
      this.whenSubmitted(forecast);
    } catch (error) {
      showError(this.error, error);
    } finally {
      this.estimate.textContent = "";
      this.button.disabled = false;
    }
  }
}

/** Return a state as text, with its age if it is late. */
function describeState({ dataset, init_time }: CatalogueEntry): string {
  const text = texts.newestState(dataset, formatTime(parseTime(init_time)));
  const found = findDataset(dataset);
  const isLate = found?.late === true && found.init_time !== null && parseTime(found.init_time) === parseTime(init_time);
  return isLate ? texts.lateState(text, ageOf(init_time)) : text;
}

function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes("Files") ?? false;
}
