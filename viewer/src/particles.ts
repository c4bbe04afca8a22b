/** Particles that move with the wind, and leave trails. */

import { sample, type Field } from "./grid";
import type { View } from "./projection";

const MAX_AGE = 90;
/** Degrees of a great circle that a particle moves in a frame, for each m/s, at zoom 1. */
const STEP = 0.022;

export class Particles {
  private places = new Float64Array(0);
  private ages = new Float32Array(0);
  private frame = 0;
  private wind: [Field, Field] | null = null;
  private view: View | null = null;
  private last = 0;

  constructor(private readonly canvas: HTMLCanvasElement, private readonly color: () => string) {}

  /** Move with this wind on this view from now on; a new view starts without trails. */
  show(view: View, u: Field, v: Field, ratio: number): void {
    if (view !== this.view) {
      this.view = view;
      this.canvas.width = Math.round(view.width * ratio);
      this.canvas.height = Math.round(view.height * ratio);
      this.canvas.getContext("2d")!.setTransform(ratio, 0, 0, ratio, 0, 0);
      const count = Math.round(Math.min((view.width * view.height) / 450, 3200));
      this.places = new Float64Array(2 * count);
      this.ages = Float32Array.from({ length: count }, () => -1 - Math.random() * MAX_AGE);
      for (let i = 0; i < count; i++) this.scatter(i);
    }
    this.wind = [u, v];
  }

  /** Rest until there is another wind; the trails stay. */
  rest(): void {
    this.wind = null;
  }

  start(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame((now) => this.step(now));
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.view = null;
    this.canvas.width = this.canvas.width;
  }

  private scatter(i: number): void {
    const view = this.view!;
    const place = new Float64Array(2);
    for (let tries = 0; tries < 8; tries++) {
      if (view.invert(Math.random() * view.width, Math.random() * view.height, place)) break;
    }
    this.places[2 * i] = place[0];
    this.places[2 * i + 1] = place[1];
    this.ages[i] = Math.random() * MAX_AGE * 0.5;
  }

  private step(now: number): void {
    this.frame = requestAnimationFrame((next) => this.step(next));
    if (this.view === null || this.wind === null || now - this.last < 30) return;
    this.last = now;
    const context = this.canvas.getContext("2d")!;
    context.globalCompositeOperation = "destination-out";
    context.fillStyle = "rgba(0, 0, 0, 0.07)";
    context.fillRect(0, 0, this.view.width, this.view.height);
    context.globalCompositeOperation = "source-over";
    context.strokeStyle = this.color();
    context.lineWidth = 1.1;
    context.beginPath();
    this.move(context);
    context.stroke();
  }

  private move(context: CanvasRenderingContext2D): void {
    const view = this.view!;
    const [u, v] = this.wind!;
    const from = new Float64Array(2);
    const to = new Float64Array(2);
    const step = STEP / Math.sqrt(view.camera.zoom);
    for (let i = 0; i < this.ages.length; i++) {
      if (++this.ages[i] > MAX_AGE) this.scatter(i);
      const longitude = this.places[2 * i];
      const latitude = this.places[2 * i + 1];
      const east = sample(u, longitude, latitude);
      const north = sample(v, longitude, latitude);
      const next = latitude + north * step;
      if (!(Math.abs(next) < 89) || Number.isNaN(east)) {
        this.ages[i] = MAX_AGE;
        continue;
      }
      this.places[2 * i] = longitude + (east * step) / Math.cos((latitude * Math.PI) / 180);
      this.places[2 * i + 1] = next;
      if (!view.project(longitude, latitude, from) || !view.project(this.places[2 * i], next, to)) continue;
      if (Math.abs(to[0] - from[0]) > 40) continue;
      context.moveTo(from[0], from[1]);
      context.lineTo(to[0], to[1]);
    }
  }
}
