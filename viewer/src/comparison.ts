/** The second forecast, B, whose map is beside that of the first, A, at the same valid time. */

import { byId, h } from "./dom";
import { HOUR, Session } from "./session";
import { current, update } from "./state";
import { texts } from "./texts";
import { formatTime, leadHours } from "./units";

/** Why B has no field at a valid time of A, and the nearest lead time of A at which it has one. */
export interface Gap {
  text: string;
  nearest: number | null;
}

export class Comparison {
  session: Session | null = null;
  private error: Error | null = null;

  constructor(private readonly first: () => Session | null, private readonly changed: () => void) {
    byId("layout-both").addEventListener("click", () => update({ layout: "both" }));
    byId("layout-difference").addEventListener("click", () => update({ layout: "difference" }));
    byId("swap").addEventListener("click", () => this.swap());
    byId("end-comparison").addEventListener("click", () => {
      update({ other: "" });
      byId("map").focus();
    });
  }

  /** Open the forecast that the state names as the second one; close the one before. */
  async open(): Promise<void> {
    const id = current().other;
    this.session?.close();
    this.session = null;
    this.error = null;
    this.show();
    if (!id) return;
    try {
      const session = await Session.open(id, (opened) => {
        if (current().other !== id) return;
        this.session = opened;
        this.show();
        this.changed();
      });
      if (current().other !== id) session.close();
    } catch (error) {
      if (current().other !== id) return;
      this.error = error as Error;
      this.changed();
    }
  }

  /** Show which forecasts are compared, and how. */
  show(): void {
    const { other, layout } = current();
    document.body.classList.toggle("with-comparison", other !== "");
    byId("comparison").hidden = other === "";
    byId("pane-b").hidden = other === "" || layout === "difference";
    byId("layout-both").setAttribute("aria-pressed", String(layout === "both"));
    byId("layout-difference").setAttribute("aria-pressed", String(layout === "difference"));
    const [a, b] = [this.first(), this.session];
    const name = (id: string, text: string): void => {
      byId(id).textContent = byId(id).title = text;
    };
    name("name-a", a === null ? texts.loading : describe(a));
    name("name-b", b === null ? (this.error?.message ?? texts.loading) : describe(b));
  }

  /** Return the index of the lead time of B that is valid when the one of A is, or why there is none. */
  find(index: number): number | Gap {
    const { session: b } = this;
    const a = this.first();
    const text = this.error?.message ?? b?.error?.message;
    if (text !== undefined) return { text, nearest: null };
    if (b !== null && b.forecast.data !== "available") return { text: texts.dataGone(b.forecast.data), nearest: null };
    if (a?.data == null || b?.data == null) return { text: texts.loading, nearest: null };
    const at = b.indexAt(validTime(a, index));
    if (at >= 0 && at < b.ready) return at;
    if (at >= b.ready) return { text: texts.comparison.notYet, nearest: null };
    return this.describeGap(a, b, index);
  }

  /** Return the indices of the first and last lead time of A at whose valid times B has a field; null without any. */
  range(): [number, number] | null {
    const common = this.common();
    return common.length === 0 ? null : [common[0], common[common.length - 1]];
  }

  private common(): number[] {
    const [a, b] = [this.first(), this.session];
    if (a?.data == null || b?.data == null) return [];
    return Array.from(a.data.leadHours, (_, i) => i).filter((i) => {
      const at = b.indexAt(validTime(a, i));
      return at >= 0 && at < b.ready;
    });
  }

  private describeGap(a: Session, b: Session, index: number): Gap {
    const common = this.common();
    if (common.length === 0) {
      const [first, second] = [a, b].map((each) => {
        const { leadHours: hours } = each.data!;
        return texts.comparison.span(formatTime(each.initTime), formatTime(each.initTime + hours[hours.length - 1] * HOUR));
      });
      return { text: texts.comparison.noneCommon(first, second), nearest: null };
    }
    const nearest = common.reduce((best, i) => (Math.abs(i - index) < Math.abs(best - index) ? i : best));
    const [from, to] = [common[0], common[common.length - 1]].map((i) => formatTime(validTime(a, i)));
    return { text: texts.comparison.gap(formatTime(validTime(a, index)), from, to), nearest };
  }

  /** Exchange A and B; the valid time stays, if the new A has it. */
  private swap(): void {
    const { forecast, other, hours } = current();
    const [a, b] = [this.first(), this.session];
    const next = a === null || b === null ? 0 : hours + (a.initTime - b.initTime) / HOUR;
    update({ forecast: other, other: forecast, hours: Math.max(next, 0) });
  }
}

/** Return the element that says why B has no field, with a button to the nearest lead time that has one. */
export function describeGap(gap: Gap, go: (index: number) => void): (HTMLElement | string)[] {
  const { nearest } = gap;
  const button = nearest === null ? [] : [h("button", { type: "button", class: "tool", onclick: () => go(nearest) }, texts.comparison.goTo)];
  return [h("span", {}, gap.text), ...button];
}

function validTime(session: Session, index: number): number {
  return session.initTime + session.data!.leadHours[index] * HOUR;
}

function describe({ forecast, initTime }: Session): string {
  const { members, lead_time, model } = forecast.request;
  const hours = leadHours(lead_time);
  const count = typeof members === "number" ? members : members.length;
  return `${formatTime(initTime).replace(" UTC", "")} · ${texts.item(count, texts.length(hours), model)}`;
}
