/** Units of wind speed, and how values are written. */

export type Unit = "ms" | "kn" | "kmh";

const FACTORS: Record<Unit, number> = { ms: 1, kn: 3600 / 1852, kmh: 3.6 };
export const UNIT_NAMES: Record<Unit, string> = { ms: "m/s", kn: "kn", kmh: "km/h" };
export const UNITS = Object.keys(FACTORS) as Unit[];

/** Convert a speed from m/s. */
export function fromMetres(speed: number, unit: Unit): number {
  return speed * FACTORS[unit];
}

/** Convert a speed to m/s. */
export function toMetres(speed: number, unit: Unit): number {
  return speed / FACTORS[unit];
}

/** Return a place as text, such as `51.5° N, 0.1° W`. */
export function formatPlace([longitude, latitude]: readonly [number, number]): string {
  const part = (value: number, positive: string, negative: string): string =>
    `${Math.abs(value).toFixed(1)}° ${value < 0 ? negative : positive}`;
  return `${part(latitude, "N", "S")}, ${part(longitude, "E", "W")}`;
}

const PARTS = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC" } as const;
const TIME = new Intl.DateTimeFormat("en-GB", PARTS);
const TIME_AND_YEAR = new Intl.DateTimeFormat("en-GB", { ...PARTS, year: "numeric" });

/** Return a time of the service, which is in UTC, as text; with the year unless it is the present one. */
export function formatTime(milliseconds: number): string {
  if (!Number.isFinite(milliseconds)) return "–";
  const isThisYear = new Date(milliseconds).getUTCFullYear() === new Date().getUTCFullYear();
  return `${(isThisYear ? TIME : TIME_AND_YEAR).format(milliseconds).replaceAll(",", "")} UTC`;
}

/** Return milliseconds since 1970 of a time of the service, which has no zone or `Z`, and perhaps no minutes. */
export function parseTime(text: string): number {
  if (/T\d\d$/.test(text)) return Date.parse(`${text}:00Z`);
  return Date.parse(/Z|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`);
}

/** Return a duration as text with one unit, such as `5 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** Return a size as text, such as `12 MB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${Number((bytes / 1000 ** power).toPrecision(3))}\u00a0${units[power]}`;
}

/** Return hours of a lead time such as `240h`, `10d` or `P10D`; NaN of anything else. */
export function leadHours(text: string): number {
  const match = /^(\d+)\s*(h|d)$/.exec(text.trim());
  return match === null ? NaN : Number(match[1]) * (match[2] === "d" ? 24 : 1);
}
