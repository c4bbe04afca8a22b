/** The chosen forecast: its record, which events keep up to date, and its stores. */

import { followEvents, readJson, type Forecast } from "./api";
import { ForecastData } from "./stores";
import { parseTime } from "./units";

/** Milliseconds. */
export const HOUR = 3600e3;

type Listener = (session: Session) => void;

export class Session {
  data: ForecastData | null = null;
  error: Error | null = null;
  private readonly abort = new AbortController();

  private constructor(public forecast: Forecast, private readonly notify: Listener) {}

  /** Open a forecast, and call `notify` now and each time something of it changes, until it is closed. */
  static async open(id: string, notify: Listener): Promise<Session> {
    const session = new Session(await readJson<Forecast>(`forecast/${id}`), notify);
    void session.run();
    return session;
  }

  get isOpen(): boolean {
    return this.forecast.status === "accepted" || this.forecast.status === "running";
  }

  /** Number of lead times that can be drawn: the analysis, and those that are complete. */
  get ready(): number {
    return 1 + this.forecast.progress_detail.lead_times;
  }

  /** Initial time, in milliseconds since 1970. */
  get initTime(): number {
    return parseTime(this.forecast.init_time);
  }

  /** Return the index of the lead time with a valid time, in milliseconds since 1970; −1 if the forecast has none. */
  indexAt(validTime: number): number {
    return this.data?.leadHours.findIndex((hours) => this.initTime + hours * HOUR === validTime) ?? -1;
  }

  /** Read the record again, after a request that says that it has changed. */
  async refresh(): Promise<void> {
    this.forecast = await readJson<Forecast>(`forecast/${this.forecast.id}`);
    if (!this.abort.signal.aborted) this.notify(this);
  }

  close(): void {
    this.abort.abort();
  }

  private async run(): Promise<void> {
    try {
      if (this.forecast.data === "available") this.data = await ForecastData.open(this.forecast);
    } catch (error) {
      this.error = error as Error;
    }
    if (this.abort.signal.aborted) return;
    this.notify(this);
    if (!this.isOpen) return;
    try {
      await followEvents(this.forecast.id, this.abort.signal, (event) => void this.handle(event.kind, event.data).catch(() => undefined));
    } catch (error) {
      this.error = error as Error;
      this.notify(this);
    }
  }

  private async handle(kind: string, data: Record<string, number>): Promise<void> {
    if (kind === "lead_time") {
      // the products of a lead time are written some moments after its row
      await new Promise((resolve) => setTimeout(resolve, 700));
      const detail = this.forecast.progress_detail;
      const leadTimes = Math.max(detail.lead_times, data["lead_times"]);
      this.forecast = { ...this.forecast, status: this.isOpen ? "running" : this.forecast.status,
        progress_detail: { ...detail, lead_times: leadTimes } };
      if (!this.abort.signal.aborted) this.notify(this);
    } else {
      await this.refresh();
    }
  }
}
