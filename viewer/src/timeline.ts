/** The slider of lead times, which plays. */

import { byId } from "./dom";
import { texts } from "./texts";
import { formatTime } from "./units";

const STEP_MILLISECONDS = 320;

export class Timeline {
  private readonly slider = byId<HTMLInputElement>("slider");
  private readonly playButton = byId<HTMLButtonElement>("play");
  private readonly valid = byId<HTMLOutputElement>("valid");
  private hours: ArrayLike<number> = [0];
  private ready = 1;
  private initTime = 0;
  private timer = 0;

  constructor(private readonly choose: (index: number) => void) {
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.playButton.addEventListener("click", () => this.toggle());
  }

  get index(): number {
    return Number(this.slider.value);
  }

  /** Offer no lead times, as long as no forecast is shown. */
  clear(): void {
    this.pause();
    this.configure([0], 1, 0);
    this.valid.replaceChildren();
    this.slider.removeAttribute("aria-valuetext");
  }

  /** Set the lead times, in hours after `initTime`; the first `ready` of them can be chosen. */
  configure(hours: ArrayLike<number>, ready: number, initTime: number): void {
    this.hours = hours;
    this.ready = ready;
    this.initTime = initTime;
    this.slider.max = String(hours.length - 1);
    this.playButton.disabled = ready < 2;
    const share = hours.length > 1 ? (ready - 1) / (hours.length - 1) : 0;
    byId("ready").style.width = `${100 * share}%`;
  }

  /** Mark the lead times, from one index to another, at which the other forecast of a comparison has a field. */
  mark(range: [number, number] | null): void {
    const box = byId("shared");
    box.hidden = range === null;
    if (range === null || this.hours.length < 2) return;
    const share = (index: number): number => (100 * index) / (this.hours.length - 1);
    box.style.left = `${share(range[0])}%`;
    box.style.width = `${Math.max(share(range[1]) - share(range[0]), 1)}%`;
  }

  /** Show a lead time, without choosing it. */
  show(index: number): void {
    this.slider.value = String(index);
    const hours = this.hours[index] ?? 0;
    const time = formatTime(this.initTime + hours * 3600e3);
    this.slider.setAttribute("aria-valuetext", texts.leadOf(hours, time));
    this.valid.replaceChildren(strong(texts.lead(hours)), ` ${time}`);
  }

  go(index: number): void {
    const next = Math.min(Math.max(index, 0), this.ready - 1);
    this.show(next);
    this.choose(next);
  }

  toggle(): void {
    if (this.timer) this.pause();
    else this.play();
  }

  pause(): void {
    clearInterval(this.timer);
    this.timer = 0;
    this.label("▶", texts.play);
  }

  private play(): void {
    this.label("❚❚", texts.pause);
    this.timer = setInterval(() => this.go(this.index + 1 < this.ready ? this.index + 1 : 0), STEP_MILLISECONDS);
  }

  private label(icon: string, text: string): void {
    this.playButton.textContent = icon;
    this.playButton.setAttribute("aria-label", text);
  }
}

function strong(text: string): HTMLElement {
  const element = document.createElement("strong");
  element.textContent = text;
  return element;
}
