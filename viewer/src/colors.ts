/** Colour scales whose lightness rises throughout, so that they are also read without seeing some colours. */

type Stops = [number, number, number][];

const hex = (colors: string): Stops =>
  colors.split(" ").map((color) => [0, 2, 4].map((i) => parseInt(color.slice(i, i + 2), 16)) as [number, number, number]);

/** Samples of the public-domain scales viridis, magma and cividis of matplotlib, at even distances. */
const VIRIDIS = hex("440154 482475 414487 355f8d 2a788e 21918c 22a884 44bf70 7ad151 bddf26 fde725");
const MAGMA = hex("000004 140e36 3b0f70 641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf");
const CIVIDIS = hex("00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838");

export interface Scale {
  /** Value at the end of the scale; all above have the last colour. */
  max: number;
  table: Uint32Array;
  stops: Stops;
}

export const TABLE_SIZE = 1024;

function makeScale(stops: Stops, max: number): Scale {
  const table = new Uint32Array(TABLE_SIZE);
  for (let i = 0; i < TABLE_SIZE; i++) {
    const at = (i / (TABLE_SIZE - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const [r, g, b] = stops[low].map((part, j) => Math.round(part + (at - low) * (stops[low + 1][j] - part)));
    table[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return { max, table, stops };
}

export const SCALES = {
  speed: makeScale(VIRIDIS, 20),
  member: makeScale(VIRIDIS, 20),
  spread: makeScale(MAGMA, 8),
  probability: makeScale(CIVIDIS, 1),
};

/** Return the colours of a scale as a CSS gradient. */
export function gradient(scale: Scale): string {
  return `linear-gradient(to right, ${scale.stops.map((color) => `rgb(${color.join(",")})`).join(",")})`;
}
