/** Draw a field as colours. Where each pixel is on the grid is computed once for a view and a grid. */

import { TABLE_SIZE, type Scale } from "./colors";
import { columnOf, rowOf, type Field, type Grid } from "./grid";
import type { View } from "./projection";

/** The four grid points around each pixel, and the weights between them. */
interface Lookup {
  width: number;
  height: number;
  at: Int32Array;
  right: Int32Array;
  below: Int32Array;
  fx: Float32Array;
  fy: Float32Array;
}

export class Raster {
  private lookup: Lookup | null = null;
  private image: ImageData | null = null;
  private key: unknown[] = [];

  constructor(private readonly canvas: HTMLCanvasElement) {}

  /** Draw a field; `step` is the size of a pixel of the drawing in pixels of the view. */
  draw(view: View, field: Field, scale: Scale, step: number): void {
    const key = [view, field.grid, step];
    if (this.lookup === null || key.some((part, i) => part !== this.key[i])) {
      this.lookup = makeLookup(view, field.grid, step);
      this.key = key;
    }
    const { width, height } = this.lookup;
    if (this.image === null || this.image.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.canvas.width = width;
      this.canvas.height = height;
    }
    paint(this.lookup, field.values, scale, new Uint32Array(this.image.data.buffer));
    this.canvas.getContext("2d")!.putImageData(this.image, 0, 0);
  }

  clear(): void {
    this.canvas.width = this.canvas.width;
    this.image = null;
  }
}

function paint(lookup: Lookup, values: Float32Array, scale: Scale, out: Uint32Array): void {
  const { at, right, below, fx, fy } = lookup;
  const factor = (TABLE_SIZE - 1) / (scale.max - scale.min);
  for (let i = 0; i < out.length; i++) {
    const a = at[i];
    if (a < 0) {
      out[i] = 0;
      continue;
    }
    const r = right[i];
    const b = below[i];
    const top = values[a] + fx[i] * (values[a + r] - values[a]);
    const bottom = values[a + b] + fx[i] * (values[a + b + r] - values[a + b]);
    const level = (top + fy[i] * (bottom - top) - scale.min) * factor;
    // a level that is not a number has no colour
    out[i] = level === level ? scale.table[level < 0 ? 0 : level < TABLE_SIZE ? level | 0 : TABLE_SIZE - 1] : 0;
  }
}

function makeLookup(view: View, grid: Grid, step: number): Lookup {
  const width = Math.max(Math.round(view.width / step), 1);
  const height = Math.max(Math.round(view.height / step), 1);
  const size = width * height;
  const lookup = {
    width, height,
    at: new Int32Array(size).fill(-1), right: new Int32Array(size), below: new Int32Array(size),
    fx: new Float32Array(size), fy: new Float32Array(size),
  };
  const place = new Float64Array(2);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (view.invert((x + 0.5) * step, (y + 0.5) * step, place)) locate(lookup, i, grid, place);
    }
  }
  return lookup;
}

function locate(lookup: Lookup, i: number, grid: Grid, place: Float64Array): void {
  const column = columnOf(grid, place[0]);
  if (column < 0) return;
  const row = rowOf(grid, place[1]);
  const x = Math.floor(column);
  const y = Math.floor(row);
  lookup.at[i] = y * grid.columns + x;
  lookup.right[i] = x + 1 < grid.columns ? 1 : grid.wraps ? 1 - grid.columns : 0;
  lookup.below[i] = y + 1 < grid.rows ? grid.columns : 0;
  lookup.fx[i] = column - x;
  lookup.fy[i] = row - y;
}
