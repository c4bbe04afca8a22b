/** Stamps: a small map of the wind speed of each member at one lead time. */

import { geoPath } from "d3-geo";

import { SCALES } from "./colors";
import { byId, h } from "./dom";
import { showLegend } from "./legend";
import { COASTS } from "./map";
import { View } from "./projection";
import { Raster } from "./raster";
import type { Session } from "./session";
import { current, update } from "./state";
import { texts } from "./texts";

const VIEW = new View({ kind: "flat", longitude: 0, latitude: 0, zoom: 1 }, 192, 96);

export class Stamps {
  private readonly box = byId("stamps");
  private readonly button = byId<HTMLButtonElement>("all-members");
  private turn = 0;

  constructor(private readonly whenOpened: () => void) {
    this.button.addEventListener("click", () => this.toggle(this.box.hidden));
  }

  /** Draw the members of a lead time, if the stamps are open. */
  async show(session: Session | null, index: number): Promise<void> {
    const turn = ++this.turn;
    this.button.disabled = !session?.data?.hasMembers;
    if (this.box.hidden || !session?.data?.hasMembers) {
      if (this.button.disabled) this.toggle(false);
      return;
    }
    const { members } = session.data;
    const speeds = await session.data.memberSpeeds(index).catch(() => null);
    if (speeds === null || turn !== this.turn) return;
    if (this.box.childElementCount !== members.length) this.box.replaceChildren(...members.map((member) => this.makeStamp(member)));
    this.box.querySelectorAll("canvas").forEach((canvas, i) => {
      new Raster(canvas).draw(VIEW, speeds[i], SCALES.member, 1);
      const context = canvas.getContext("2d")!;
      context.beginPath();
      geoPath(VIEW.forPaths(), context)(COASTS);
      context.strokeStyle = "rgba(255, 255, 255, 0.7)";
      context.lineWidth = 0.5;
      context.stroke();
    });
  }

  private toggle(isOpen: boolean): void {
    this.box.hidden = !isOpen;
    this.button.setAttribute("aria-pressed", String(isOpen));
    showLegend(current());
    if (isOpen) this.whenOpened();
  }

  private makeStamp(member: number): HTMLElement {
    const choose = (): void => {
      this.toggle(false);
      update({ field: "member", member });
    };
    return h("button", { type: "button", class: "stamp", "aria-label": texts.stamp(member), onclick: choose },
      h("canvas", { "aria-hidden": "true" }), h("span", {}, String(member)));
  }
}
