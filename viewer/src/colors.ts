/** Colour scales whose lightness rises throughout, so that they are also read without seeing some colours. */

type Stops = [number, number, number][];

const hex = (colors: string): Stops =>
  colors.split(" ").map((color) => [0, 2, 4].map((i) => parseInt(color.slice(i, i + 2), 16)) as [number, number, number]);

/** Samples of the public-domain scales viridis, magma and cividis of matplotlib, at even distances. */
const VIRIDIS = hex("440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725");
const MAGMA = hex("000004 140e36 3b0f70 641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf");
const CIVIDIS = hex("00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838");

/** Blue for negative values, orange for positive ones, as light at zero as can be: also read without seeing red or green. */
const DIVERGING = hex("0b3c6f 2f6fa8 74a9d2 bcd9ea f4f4f2 f6d3ab e39d57 b8661c 6e3606");

export interface Scale {
  /** Value at the start of the scale; all below have the first colour. */
  min: number;
  /** Value at the end of the scale; all above have the last colour. */
  max: number;
  table: Uint32Array;
  stops: Stops;
}

export const TABLE_SIZE = 1024;

function makeScale(stops: Stops, max: number, min = 0): Scale {
  const table = new Uint32Array(TABLE_SIZE);
  for (let i = 0; i < TABLE_SIZE; i++) {
    const at = (i / (TABLE_SIZE - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const [r, g, b] = stops[low].map((part, j) => Math.round(part + (at - low) * (stops[low + 1][j] - part)));
    table[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return { min, max, table, stops };
}

export const SCALES = {
  speed: makeScale(VIRIDIS, 20),
  member: makeScale(VIRIDIS, 20),
  spread: makeScale(MAGMA, 8),
  probability: makeScale(CIVIDIS, 1),
};

/** Scales of the difference of two forecasts, by field. */
export const DIFFERENCE_SCALES = {
  speed: makeScale(DIVERGING, 8, -8),
  member: makeScale(DIVERGING, 12, -12),
  spread: makeScale(DIVERGING, 4, -4),
  probability: makeScale(DIVERGING, 0.5, -0.5),
};

/** Return the colours of a scale as a CSS gradient. */
export function gradient(scale: Scale): string {
  return `linear-gradient(to right, ${scale.stops.map((color) => `rgb(${color.join(",")})`).join(",")})`;
}
