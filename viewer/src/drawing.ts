/** Read what the state says of one or two forecasts, and draw it on their maps. */

import { describeGap, type Comparison, type Gap } from "./comparison";
import { byId } from "./dom";
import { isDifference, scaleOf } from "./legend";
import type { WeatherMap } from "./map";
import type { Session } from "./session";
import { current, type State } from "./state";
import { AbsentError, subtract, type Frame } from "./stores";
import { texts } from "./texts";

const RETRY_MILLISECONDS = 1000;
/** Frames that are read at once; while a slow one comes, a later one is not kept waiting. */
const MAX_READS = 3;
/** Lead times that are read ahead while the lead times are gone through. */
const AHEAD = 3;

/** What is chosen: lead time `index` of forecast A. */
export interface Moment {
  session: Session;
  index: number;
}

interface Frames {
  a: Frame;
  b: Frame | null;
  gap: Gap | null;
  other: number;
}

export class Drawing {
  private turn = 0;
  private drawn = 0;
  private reading = 0;
  private isStale = false;
  private last = 0;

  constructor(
    private readonly maps: { a: WeatherMap; b: WeatherMap },
    private readonly comparison: Comparison,
    private readonly chosen: () => Moment | null,
    private readonly go: (index: number) => void,
    private readonly fail: (error: Error, session: Session) => void,
  ) {}

  /** Draw no field until the next frame. */
  clear(): void {
    this.drawn = ++this.turn;
    this.maps.a.show(null, scaleOf(current()));
    this.maps.b.show(null, scaleOf(current()));
    this.caption(null, -1);
  }

  /** Draw what is chosen, and return whether it was; frames that come after a newer one are left out. */
  async draw(): Promise<boolean> {
    if (this.reading >= MAX_READS) {
      this.isStale = true;
      return false;
    }
    const moment = this.chosen();
    if (moment === null) return false;
    const [turn, state] = [++this.turn, current()];
    this.reading++;
    this.markLate();
    try {
      const frames = await this.read(moment, state);
      if (turn > this.drawn && this.fits(moment, state)) {
        this.drawn = turn;
        this.show(moment, frames, state);
      }
      this.prefetch(moment, frames.other, state);
    } catch (error) {
      if (error instanceof AbsentError) setTimeout(() => void this.draw(), RETRY_MILLISECONDS);
      else if (turn === this.turn) this.fail(error as Error, moment.session);
    }
    this.reading--;
    if (this.isStale) {
      this.isStale = false;
      void this.draw();
    }
    return this.drawn === turn;
  }

  private async read({ session, index }: Moment, state: State): Promise<Frames> {
    const found = state.other === "" ? -1 : this.comparison.find(index);
    const reading = session.data!.frame(index, state);
    if (typeof found !== "number") return { a: await reading, b: null, gap: found, other: -1 };
    const second = found < 0 ? null : this.comparison.session!.data!.frame(found, state);
    const [a, b] = await Promise.all([reading, second === null ? null : second.catch((error: Error) => error)]);
    if (b instanceof AbsentError) throw b;
    return b instanceof Error ? { a, b: null, gap: { text: b.message, nearest: null }, other: -1 } : { a, b, gap: null, other: found };
  }

  /** Whether frames that were read for a state can still be shown: all but the lead time is as it was. */
  private fits(moment: Moment, state: State): boolean {
    const now = current();
    const isSame = (["other", "layout", "field", "member", "threshold"] as const).every((name) => state[name] === now[name]);
    return isSame && this.chosen()?.session.data === moment.session.data;
  }

  private show(moment: Moment, frames: Frames, state: State): void {
    const scale = scaleOf(state);
    let { gap } = frames;
    if (isDifference(state)) {
      let difference: Frame | null = null;
      try {
        difference = frames.b === null ? null : subtract(frames.a, frames.b);
      } catch (error) {
        gap = { text: (error as Error).message, nearest: null };
      }
      this.maps.a.show(difference, scale);
      this.maps.b.show(null, scale);
    } else {
      this.maps.a.show(frames.a, scale);
      this.maps.b.show(frames.b, scale);
    }
    this.caption(moment, frames.b === null ? -1 : frames.other);
    const [onA, onB] = isDifference(state) ? [gap, null] : [null, gap];
    note("note-a", onA, this.go);
    note("note-b", onB, this.go);
  }

  /** Say which lead times are drawn. */
  private caption(moment: Moment | null, other: number): void {
    const state = current();
    const a = moment === null ? "" : texts.lead(moment.session.data!.leadHours[moment.index]);
    const b = other < 0 ? "" : texts.lead(this.comparison.session!.data!.leadHours[other]);
    byId("map").dataset["lead"] = a;
    byId("map-b").dataset["lead"] = b;
    byId("caption-a").textContent = state.other === "" ? a : isDifference(state) ? texts.comparison.both(a, b) : texts.comparison.a(a);
    byId("caption-b").textContent = texts.comparison.b(b);
    this.markLate();
  }

  /** Mark the maps while they show another lead time than the one chosen. */
  private markLate(): void {
    const moment = this.chosen();
    const chosen = moment === null ? "" : texts.lead(moment.session.data!.leadHours[moment.index]);
    byId("stage").classList.toggle("late", byId("map").dataset["lead"] !== chosen);
  }

  /** Read the next lead time; while the lead times are gone through one by one, forwards or backwards, the next ones. */
  private prefetch({ session, index }: Moment, other: number, state: State): void {
    const step = index - this.last;
    this.last = index;
    if (this.turn !== this.drawn) return;
    const read = (each: Session | null, next: number): void => {
      if (each?.data && next >= 0 && next < each.ready) void each.data.frame(next, state).catch(() => undefined);
    };
    const ahead = Math.abs(step) === 1 ? Array.from({ length: AHEAD }, (_, i) => (i + 1) * step) : [1];
    for (const offset of ahead) {
      read(session, index + offset);
      if (other >= 0) read(this.comparison.session, other + offset);
    }
  }
}

function note(id: string, gap: Gap | null, go: (index: number) => void): void {
  const box = byId(id);
  box.hidden = gap === null;
  box.replaceChildren(...(gap === null ? [] : describeGap(gap, go)));
}
