/** What the page shows, kept in the hash of its URL so that a reload or a shared link shows the same. */

import type { Kind } from "./projection";
import type { FieldName } from "./stores";
import { UNITS, type Unit } from "./units";

export type Layout = "both" | "difference";

export interface State {
  forecast: string;
  /** The forecast that is compared with `forecast`; empty without a comparison. */
  other: string;
  /** Whether a comparison shows two maps, or the difference of the fields. */
  layout: Layout;
  hours: number;
  field: FieldName;
  member: number;
  /** In m/s. */
  threshold: number;
  place: readonly [number, number] | null;
  units: Unit;
  projection: Kind;
  /** Longitude and latitude of the centre, and zoom. */
  camera: readonly [number, number, number];
}

const DEFAULTS: State = {
  forecast: "", other: "", layout: "both", hours: 0, field: "speed", member: 0, threshold: 17.2, place: null, units: "ms", projection: "globe",
  camera: [0, 35, 1],
};
const FIELDS: readonly string[] = ["speed", "spread", "probability", "member"];

const ADDRESS_MILLISECONDS = 200;

let state: State = DEFAULTS;
let timer = 0;
const listeners: ((state: State, before: State) => void)[] = [];

export function current(): State {
  return state;
}

/** Change parts of the state, and tell all listeners. */
export function update(changes: Partial<State>): void {
  const before = state;
  state = { ...state, ...changes };
  scheduleAddress();
  for (const listener of listeners) listener(state, before);
}

/** Write the state into the URL, at most a few times a second: browsers refuse more, and read the icon of the page again. */
function scheduleAddress(): void {
  timer ||= setTimeout(() => {
    timer = 0;
    history.replaceState(null, "", location.pathname + location.search + writeHash(state));
  }, ADDRESS_MILLISECONDS);
}

export function whenChanged(listener: (state: State, before: State) => void): void {
  listeners.push(listener);
}

/** Take the state from the URL, now and when somebody changes the hash. */
export function restore(): void {
  state = readHash(location.hash);
  addEventListener("hashchange", () => {
    clearTimeout(timer);
    timer = 0;
    update(readHash(location.hash));
  });
}

function writeHash(value: State): string {
  const parts = new URLSearchParams();
  const put = (name: string, text: string, fallback: string): void => {
    if (text !== fallback) parts.set(name, text);
  };
  put("f", value.forecast, "");
  put("with", value.other, "");
  put("show", value.layout, DEFAULTS.layout);
  put("t", String(value.hours), "0");
  put("field", value.field, DEFAULTS.field);
  if (value.field === "member") put("member", String(value.member), "");
  put("above", String(Number(value.threshold.toFixed(2))), String(DEFAULTS.threshold));
  put("place", value.place?.map((part) => part.toFixed(2)).join(",") ?? "", "");
  put("units", value.units, DEFAULTS.units);
  put("map", value.projection, DEFAULTS.projection);
  put("view", value.camera.map((part) => Number(part.toFixed(2))).join(","), DEFAULTS.camera.join(","));
  return `#${parts.toString().replaceAll("%2C", ",")}`;
}

function readHash(hash: string): State {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name: string, fallback: number, low: number, high: number): number => {
    const value = Number(parts.get(name) ?? NaN);
    return value >= low && value <= high ? value : fallback;
  };
  const numbers = (name: string, count: number): number[] | null => {
    const values = (parts.get(name) ?? "").split(",").map(Number);
    return parts.has(name) && values.length === count && values.every(Number.isFinite) ? values : null;
  };
  const choice = <T extends string>(name: string, all: readonly string[], fallback: T): T =>
    all.includes(parts.get(name) ?? "") ? (parts.get(name) as T) : fallback;
  const id = (name: string): string => (/^[\w-]{1,64}$/.test(parts.get(name) ?? "") ? parts.get(name)! : "");
  const place = numbers("place", 2);
  const camera = numbers("view", 3);
  return {
    forecast: id("f"),
    other: id("with") === id("f") ? "" : id("with"),
    layout: choice("show", ["both", "difference"], DEFAULTS.layout),
    hours: number("t", 0, 0, 1e5),
    field: choice("field", FIELDS, DEFAULTS.field),
    member: number("member", 0, 0, 1e9),
    threshold: number("above", DEFAULTS.threshold, 0, 200),
    place: place === null ? null : [place[0], Math.min(Math.max(place[1], -90), 90)],
    units: choice("units", UNITS, DEFAULTS.units),
    projection: choice("map", ["globe", "flat"], DEFAULTS.projection),
    camera: camera === null ? DEFAULTS.camera : [camera[0], Math.min(Math.max(camera[1], -90), 90), Math.min(Math.max(camera[2], 1), 20)],
  };
}
