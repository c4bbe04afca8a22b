/** The chosen forecast: its record, which events keep up to date, and its stores. */

import { followEvents, readJson, type Forecast } from "./api";
import { ForecastData } from "./stores";

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

  get numMembers(): number {
    const { members } = this.forecast.request;
    return typeof members === "number" ? members : members.length;
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
      await followEvents(this.forecast.id, this.abort.signal, (event) => void this.handle(event.kind, event.data));
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
    } else {
      this.forecast = await readJson<Forecast>(`forecast/${this.forecast.id}`);
    }
    if (!this.abort.signal.aborted) this.notify(this);
  }
}
