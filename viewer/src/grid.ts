/** Regular longitude-latitude grids, and fields on them. */

export interface Grid {
  latitudes: Float64Array;
  longitudes: Float64Array;
  rows: number;
  columns: number;
  /** Whether the last column is a neighbour of the first. */
  wraps: boolean;
  /** Row, with a fraction, of each 1/8° of latitude from −90° on. */
  rowTable: Float32Array;
}

/** A field of one lead time. */
export interface Field {
  grid: Grid;
  values: Float32Array;
}

const STEPS = 8;

/** Return the grid with these coordinates; latitudes may be uneven and descend, longitudes are even and ascend. */
export function makeGrid(latitudes: Float64Array, longitudes: Float64Array): Grid {
  const step = longitudes[1] - longitudes[0];
  const rowTable = new Float32Array(180 * STEPS + 1);
  const down = latitudes[0] > latitudes[latitudes.length - 1];
  for (let i = 0; i < rowTable.length; i++) rowTable[i] = findRow(latitudes, i / STEPS - 90, down);
  return {
    latitudes, longitudes, rows: latitudes.length, columns: longitudes.length,
    wraps: Math.abs(step * longitudes.length - 360) < step / 2, rowTable,
  };
}

/** Return whether two grids have the same points. */
export function areEqual(a: Grid, b: Grid): boolean {
  const isSame = (x: Float64Array, y: Float64Array): boolean => x.length === y.length && x.every((value, i) => Math.abs(value - y[i]) < 1e-6);
  return a === b || (isSame(a.latitudes, b.latitudes) && isSame(a.longitudes, b.longitudes));
}

function findRow(latitudes: Float64Array, latitude: number, down: boolean): number {
  const sign = down ? -1 : 1;
  let row = 0;
  while (row < latitudes.length - 2 && sign * latitudes[row + 1] < sign * latitude) row++;
  const fraction = (latitude - latitudes[row]) / (latitudes[row + 1] - latitudes[row]);
  return Math.min(Math.max(row + fraction, 0), latitudes.length - 1);
}

/** Return the row of a latitude, with a fraction. */
export function rowOf(grid: Grid, latitude: number): number {
  const at = Math.min(Math.max((latitude + 90) * STEPS, 0), grid.rowTable.length - 1.001);
  const low = Math.floor(at);
  return grid.rowTable[low] + (at - low) * (grid.rowTable[low + 1] - grid.rowTable[low]);
}

/** Return the column of a longitude, with a fraction; −1 if it is outside of a grid that does not wrap. */
export function columnOf(grid: Grid, longitude: number): number {
  const step = grid.longitudes[1] - grid.longitudes[0];
  const at = ((((longitude - grid.longitudes[0]) % 360) + 360) % 360) / step;
  if (grid.wraps) return at >= grid.columns ? 0 : at;
  return at > grid.columns - 1 ? -1 : at;
}

/** Return the value of a field between grid points, by bilinear interpolation; NaN outside. */
export function sample(field: Field, longitude: number, latitude: number): number {
  const { grid, values } = field;
  const column = columnOf(grid, longitude);
  if (column < 0) return NaN;
  const row = rowOf(grid, latitude);
  const x0 = Math.floor(column);
  const y0 = Math.floor(row);
  const x1 = x0 + 1 < grid.columns ? x0 + 1 : grid.wraps ? 0 : x0;
  const y1 = Math.min(y0 + 1, grid.rows - 1);
  const fx = column - x0;
  const fy = row - y0;
  const top = values[y0 * grid.columns + x0] * (1 - fx) + values[y0 * grid.columns + x1] * fx;
  const bottom = values[y1 * grid.columns + x0] * (1 - fx) + values[y1 * grid.columns + x1] * fx;
  return top * (1 - fy) + bottom * fy;
}
