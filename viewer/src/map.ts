/** The map: colours, coastlines, particles and the chosen place, which a pointer or keys move. */

import { geoGraticule10, geoPath } from "d3-geo";
import { mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import atlas from "world-atlas/countries-110m.json";

import { SCALES, type Scale } from "./colors";
import { h } from "./dom";
import { sample } from "./grid";
import { formatValue } from "./legend";
import { Particles } from "./particles";
import { View, wrap, type Camera } from "./projection";
import { Raster } from "./raster";
import { current, update, whenChanged } from "./state";
import type { Frame } from "./stores";
import { formatPlace } from "./units";

const WORLD = atlas as unknown as Topology<{ countries: GeometryCollection }>;
export const COASTS = mesh(WORLD, WORLD.objects.countries, (a, b) => a === b);
const BORDERS = mesh(WORLD, WORLD.objects.countries, (a, b) => a !== b);
const GRATICULE = geoGraticule10();
const CLICK_PIXELS = 5;
const WIND_MILLISECONDS = 120;

export class WeatherMap {
  private readonly raster: Raster;
  private readonly particles: Particles;
  private readonly lines: HTMLCanvasElement;
  private view: View;
  private frame: Frame | null = null;
  private scale: Scale = SCALES.speed;
  private settled = 0;
  private windTimer = 0;
  private isAnimated = true;
  /** The value under a mouse, which follows it. */
  private readonly reading = h("p", { class: "reading", hidden: true, "aria-hidden": "true" });
  private readonly pointers = new Map<number, [number, number]>();

  constructor(private readonly element: HTMLElement) {
    const [raster, lines, particles] = element.querySelectorAll("canvas");
    this.raster = new Raster(raster);
    this.lines = lines;
    this.particles = new Particles(particles, () => this.color("--particle"));
    this.view = this.makeView();
    element.append(this.reading);
    this.listen();
    whenChanged((state, before) => {
      if (state.camera !== before.camera || state.projection !== before.projection) this.look(true);
      else if (state.place !== before.place) this.drawLines();
    });
    new ResizeObserver(() => this.look(false)).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawLines());
  }

  /** Show a frame; null shows coastlines alone. */
  show(frame: Frame | null, scale: Scale): void {
    this.frame = frame;
    this.scale = scale;
    this.reading.hidden = true;
    // a field whose colours are light around zero needs dark lines
    const name = frame === null ? "empty" : scale.min < 0 ? "light" : "";
    if (this.element.className !== `map ${name}`) {
      this.element.className = `map ${name}`;
      this.drawLines();
    }
    this.drawField(1);
    this.animate();
  }

  setAnimation(isOn: boolean): void {
    this.isAnimated = isOn;
    if (!isOn) this.particles.stop();
    this.animate();
  }

  /** Draw again with the colours of the page, which have changed. */
  drawLines(): void {
    const { width, height } = this.view;
    const ratio = Math.min(devicePixelRatio, 2);
    this.lines.width = Math.round(width * ratio);
    this.lines.height = Math.round(height * ratio);
    const context = this.lines.getContext("2d")!;
    context.scale(ratio, ratio);
    const projection = this.view.forPaths();
    const path = geoPath(projection, context);
    const stroke = (what: Parameters<typeof path>[0], color: string, lineWidth: number): void => {
      context.beginPath();
      path(what);
      context.strokeStyle = this.color(color);
      context.lineWidth = lineWidth;
      context.stroke();
    };
    stroke(GRATICULE, "--graticule", 0.5);
    stroke(BORDERS, "--border-line", 0.5);
    stroke(COASTS, "--coast", 1.1);
    if (this.view.camera.kind === "globe") stroke({ type: "Sphere" }, "--limb", 1.5);
    this.drawPlace(context);
  }

  private drawPlace(context: CanvasRenderingContext2D): void {
    const { place } = current();
    const pixel = new Float64Array(2);
    if (place === null || !this.view.project(place[0], place[1], pixel)) return;
    for (const [color, width] of [["#000", 5], ["#fff", 2.5]] as const) {
      context.beginPath();
      context.arc(pixel[0], pixel[1], 7, 0, 2 * Math.PI);
      context.strokeStyle = color;
      context.lineWidth = width;
      context.stroke();
    }
  }

  private color(name: string): string {
    return getComputedStyle(this.element).getPropertyValue(name);
  }

  private makeView(): View {
    const { camera, projection } = current();
    const width = Math.max(this.element.clientWidth, 1);
    const height = Math.max(this.element.clientHeight, 1);
    const shown: Camera = { kind: projection, longitude: camera[0], latitude: camera[1], zoom: camera[2] };
    const view = new View(shown, width, height);
    if (projection === "globe") return view;
    const limit = view.maxLatitude();
    return new View({ ...shown, latitude: Math.min(Math.max(shown.latitude, -limit), limit) }, width, height);
  }

  /** Follow the camera of the state; while it moves, colours are coarse and particles rest. */
  private look(isMoving: boolean): void {
    this.view = this.makeView();
    this.particles.stop();
    this.drawField(isMoving ? 2 : 1);
    this.drawLines();
    clearTimeout(this.settled);
    this.settled = setTimeout(() => {
      this.drawField(1);
      this.animate();
    }, 180);
  }

  private drawField(coarseness: number): void {
    if (this.frame === null) {
      this.raster.clear();
      return;
    }
    const pixels = this.view.width * this.view.height;
    const step = coarseness * (pixels > 600e3 ? 2 : 1.5);
    this.raster.draw(this.view, this.frame.shown, this.scale, step);
    this.element.dataset["drawn"] = String(Number(this.element.dataset["drawn"] ?? 0) + 1);
  }

  /** Move particles with the wind of the frame, once it has been shown for some moments; until then they rest. */
  private animate(): void {
    clearTimeout(this.windTimer);
    const { frame } = this;
    if (frame === null || frame.wind === null || !this.isAnimated) {
      this.particles.stop();
      return;
    }
    this.particles.rest();
    this.windTimer = setTimeout(() => {
      frame.wind!().then(([u, v]) => {
        if (frame !== this.frame || !this.isAnimated) return;
        this.particles.show(this.view, u, v, Math.min(devicePixelRatio, 1.5));
        this.particles.start();
      }, () => undefined);
    }, WIND_MILLISECONDS);
  }

  private listen(): void {
    const { element, pointers } = this;
    let travelled = 0;
    let spread = 0;
    element.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      element.setPointerCapture(event.pointerId);
      travelled = pointers.size > 1 ? CLICK_PIXELS + 1 : 0;
      spread = this.pinch();
    });
    element.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      this.read(event);
      if (last === undefined) return;
      const [dx, dy] = [event.offsetX - last[0], event.offsetY - last[1]];
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      travelled += Math.hypot(dx, dy);
      if (pointers.size === 2) {
        const now = this.pinch();
        this.zoom(now / spread);
        spread = now;
      } else if (travelled > CLICK_PIXELS) {
        this.point(this.view.dragged(dx, dy));
      }
    });
    const release = (event: PointerEvent): void => {
      if (pointers.delete(event.pointerId) && event.type === "pointerup" && travelled <= CLICK_PIXELS) {
        this.choose(event.offsetX, event.offsetY);
      }
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
    element.addEventListener("pointerleave", () => (this.reading.hidden = true));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400));
    }, { passive: false });
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.choose(this.view.width / 2, this.view.height / 2);
      if (event.key === "+" || event.key === "=") this.zoom(1.25);
      if (event.key === "-") this.zoom(0.8);
    });
  }

  /** Show the value and the place under a mouse that hovers over the map. */
  private read({ offsetX: x, offsetY: y, pointerType, buttons }: PointerEvent): void {
    const place = new Float64Array(2);
    const isOnMap = pointerType === "mouse" && buttons === 0 && this.frame !== null && this.view.invert(x, y, place);
    const value = isOnMap ? sample(this.frame!.shown, place[0], place[1]) : NaN;
    this.reading.hidden = Number.isNaN(value);
    if (this.reading.hidden) return;
    this.reading.replaceChildren(h("strong", {}, formatValue(value, current())), formatPlace([wrap(place[0]), place[1]]));
    this.reading.classList.toggle("before", x > this.view.width - 150);
    this.reading.style.left = `${x}px`;
    this.reading.style.top = `${y}px`;
  }

  private pinch(): number {
    const [a, b] = [...this.pointers.values()];
    return b === undefined ? 1 : Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1);
  }

  private choose(x: number, y: number): void {
    const place = new Float64Array(2);
    if (this.view.invert(x, y, place)) update({ place: [wrap(place[0]), place[1]] });
  }

  zoom(factor: number): void {
    const { camera } = this.view;
    this.point({ ...camera, zoom: Math.min(Math.max(camera.zoom * factor, 1), 20) });
  }

  private point(camera: Camera): void {
    update({ camera: [camera.longitude, camera.latitude, camera.zoom] });
  }
}
