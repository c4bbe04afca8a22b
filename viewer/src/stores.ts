/** Read fields of a forecast from its Zarr stores: only the chunks of the lead times that are shown. */

import * as zarr from "zarrita";

import { readBytes, readJson, readRange, type Forecast } from "./api";
import { decompressRange } from "./blosc";
import { HEADER_BYTES, findSpan } from "./blosc_format";
import { areEqual, makeGrid, type Field, type Grid } from "./grid";
import { texts } from "./texts";

const SPEED = "wind_speed_10m";
const KEPT_BYTES = 200e6;

interface ArrayMetadata {
  shape: number[];
  data_type: string;
  chunk_grid: { configuration: { chunk_shape: number[] } };
  chunk_key_encoding: { name: string; configuration: { separator: string } };
  codecs: { name: string; configuration?: { endian?: string } }[];
}
interface Metadata {
  attributes: Record<string, unknown>;
  consolidated_metadata: { metadata: Record<string, ArrayMetadata> };
}

type Decoded = zarr.Chunk<zarr.DataType>;

/** One store: its consolidated metadata, and its chunks, of which the last ones are kept. */
class Store {
  private readonly arrays = new Map<string, Promise<zarr.Array<zarr.DataType>>>();
  private readonly chunks = new Map<string, { content: Promise<unknown>; bytes: number }>();
  private bytes = 0;

  private constructor(private readonly path: string, readonly metadata: Metadata) {}

  static async open(path: string): Promise<Store> {
    return new Store(path, await readJson<Metadata>(`${path}/zarr.json`));
  }

  has(name: string): boolean {
    return name in this.metadata.consolidated_metadata.metadata;
  }

  shape(name: string): number[] {
    return this.metadata.consolidated_metadata.metadata[name].shape;
  }

  chunkShape(name: string): number[] {
    return this.metadata.consolidated_metadata.metadata[name].chunk_grid.configuration.chunk_shape;
  }

  /** Return the values of a chunk; throw if it does not exist yet. */
  chunk(name: string, coordinates: number[]): Promise<Decoded> {
    const key = `${name}/${coordinates.join(".")}`;
    return this.keep(key, () => this.decode(name, coordinates), (chunk) => (chunk.data as Float32Array).byteLength) as Promise<Decoded>;
  }

  /** Return what was read before with this key, or read it; what was used longest ago is forgotten. */
  private keep<T>(key: string, read: () => Promise<T>, sizeOf: (content: T) => number): Promise<unknown> {
    let found = this.chunks.get(key);
    if (found === undefined) {
      const entry = { content: read(), bytes: 0 };
      entry.content.then((content) => {
        entry.bytes = sizeOf(content);
        this.bytes += entry.bytes;
        this.forget();
      }, () => this.chunks.delete(key));
      found = entry;
    } else {
      this.chunks.delete(key);
    }
    this.chunks.set(key, found);
    return found.content;
  }

  /** Return some of the values of a chunk: only their blocks are read and decompressed, where the codecs allow that. */
  async part(name: string, coordinates: number[], from: number, count: number): Promise<Float32Array> {
    const array = this.metadata.consolidated_metadata.metadata[name];
    const key = `${name}/${coordinates.join(".")}`;
    if (this.chunks.has(key) || !isDivisible(array)) {
      const whole = await this.chunk(name, coordinates);
      return (whole.data as Float32Array).subarray(from, from + count);
    }
    const { separator } = array.chunk_key_encoding.configuration;
    const path = `${this.path}/${name}/c${separator}${coordinates.join(separator)}`;
    const found = this.keep(`${key}:${from}`, async () => {
      const header = (await this.keep(`${key}:header`, () => range(path, 0, HEADER_BYTES), (content) => content.byteLength)) as Uint8Array;
      const span = findSpan(header, 4 * from, 4 * (from + count));
      const bytes = await decompressRange(header, await range(path, ...span), span[0], [4 * from, 4 * (from + count)]);
      return new Float32Array(bytes.buffer, bytes.byteOffset, count);
    }, (values) => values.byteLength);
    return found as Promise<Float32Array>;
  }

  async coordinates(name: string): Promise<Float64Array> {
    const [size] = this.shape(name);
    const [chunk] = this.chunkShape(name);
    const parts = await Promise.all(Array.from({ length: Math.ceil(size / chunk) }, (_, i) => this.chunk(name, [i])));
    return Float64Array.from(parts.flatMap((part) => Array.from(part.data as ArrayLike<number | bigint>, Number))).slice(0, size);
  }

  private forget(): void {
    for (const [key, { bytes }] of this.chunks) {
      if (this.bytes < KEPT_BYTES) return;
      if (bytes === 0) continue;
      this.chunks.delete(key);
      this.bytes -= bytes;
    }
  }

  private async decode(name: string, coordinates: number[]): Promise<Decoded> {
    const array = await this.array(name);
    return array.getChunk(coordinates);
  }

  private array(name: string): Promise<zarr.Array<zarr.DataType>> {
    let array = this.arrays.get(name);
    if (array === undefined) {
      const location = zarr.root({ get: (key: string) => this.read(key) }).resolve(`/${name}`);
      array = zarr.open.v3(location, { kind: "array" });
      this.arrays.set(name, array);
    }
    return array;
  }

  private async read(key: string): Promise<Uint8Array | undefined> {
    if (key.endsWith("/zarr.json")) {
      const name = key.slice(1, -"/zarr.json".length);
      return new TextEncoder().encode(JSON.stringify(this.metadata.consolidated_metadata.metadata[name]));
    }
    const content = await readBytes(`${this.path}${key}`);
    if (content === undefined) throw new AbsentError();
    return content;
  }
}

/** Return bytes `from` to `to` of a chunk, whose checksum the service tests before it sends a part; throw if it does not exist yet. */
async function range(path: string, from: number, to: number): Promise<Uint8Array> {
  const content = await readRange(path, from, to);
  if (content === undefined) throw new AbsentError();
  return content;
}

/** Whether chunks of an array are Blosc buffers of float32 that end with a checksum. */
function isDivisible({ data_type, codecs, chunk_key_encoding }: ArrayMetadata): boolean {
  const names = codecs.map(({ name }) => name).join(" ");
  return data_type === "float32" && names === "bytes blosc crc32c" && codecs[0].configuration?.endian === "little" && chunk_key_encoding.name === "default";
}

/** A chunk that is not written yet: the lead time is complete, and is published within moments. */
export class AbsentError extends Error {
  constructor() {
    super(texts.notPublished);
  }
}

export type FieldName = "speed" | "spread" | "probability" | "member";
export interface Selection {
  field: FieldName;
  member: number;
  threshold: number;
}

/** What the map shows of a lead time: a field, and the wind of its particles, if it has some, which is read when it is needed. */
export interface Frame {
  shown: Field;
  wind: (() => Promise<[Field, Field]>) | null;
}

/** Return the difference of two fields as a frame without particles; throw if their grids differ. */
export function subtract(a: Frame, b: Frame): Frame {
  const { grid, values } = a.shown;
  if (!areEqual(grid, b.shown.grid)) throw new Error(texts.comparison.grids(describeGrid(grid), describeGrid(b.shown.grid)));
  return { shown: { grid, values: values.map((value, i) => value - b.shown.values[i]) }, wind: null };
}

function describeGrid({ rows, columns }: Grid): string {
  return `${rows} × ${columns}`;
}

/** The stores of a forecast. Lead time 0 is the analysis. */
export class ForecastData {
  private constructor(
    readonly id: string,
    readonly leadHours: Float64Array,
    readonly members: number[],
    readonly thresholds: number[],
    readonly hasMembers: boolean,
    private readonly grid: Grid,
    private readonly summary: Store,
    private readonly ensemble: () => Promise<Store>,
    private readonly analysis: () => Promise<Store>,
  ) {}

  static async open(forecast: Forecast): Promise<ForecastData> {
    const home = `forecast/${forecast.id}`;
    const summary = await Store.open(`${home}/summary.zarr`);
    if (!summary.has("u10_mean") || !summary.has("v10_mean")) throw new Error(texts.noWind);
    const threshold = `${SPEED}_above_threshold`;
    const [latitudes, longitudes, lead, thresholds] = await Promise.all([
      ...["latitude", "longitude", "lead_time"].map((name) => summary.coordinates(name)),
      summary.has(threshold) ? summary.coordinates(threshold) : new Float64Array(),
    ]);
    const { members } = forecast.request;
    return new ForecastData(
      forecast.id,
      Float64Array.from([0, ...lead]),
      typeof members === "number" ? Array.from({ length: members }, (_, i) => i) : members,
      Array.from(thresholds),
      forecast.request.output.members,
      makeGrid(latitudes, longitudes),
      summary,
      once(() => Store.open(`${home}/ensemble.zarr`)),
      once(() => Store.open(`${home}/initial_state.zarr`)),
    );
  }

  /** Return what the map shows at a lead time, the one of this index. */
  async frame(index: number, { field, member, threshold }: Selection): Promise<Frame> {
    const wind = (): Promise<[Field, Field]> =>
      index === 0 ? this.analysisWind() : field === "member" ? this.memberWind(index, member) : this.meanWind(index);
    if (field === "member" || (field === "speed" && index === 0)) {
      const [u, v] = await wind();
      return { shown: { grid: u.grid, values: speedOf(u.values, v.values) }, wind };
    }
    return { shown: await (index === 0 ? this.analysisStatistic(field, threshold) : this.statistic(index, field, threshold)), wind };
  }

  /** Return the speed of each member at a lead time, in the order of `members`. */
  async memberSpeeds(index: number): Promise<Field[]> {
    return Promise.all(
      this.members.map(async (member) => {
        const [u, v] = await (index === 0 ? this.analysisWind() : this.memberWind(index, member, true));
        return { grid: u.grid, values: speedOf(u.values, v.values) };
      }),
    );
  }

  private async meanWind(index: number): Promise<[Field, Field]> {
    return Promise.all([this.summaryField("u10_mean", index), this.summaryField("v10_mean", index)]);
  }

  private async summaryField(name: string, index: number): Promise<Field> {
    const chunk = await this.summary.chunk(name, [0, index - 1, 0, 0]);
    return { grid: this.grid, values: chunk.data as Float32Array };
  }

  private async statistic(index: number, field: FieldName, threshold: number): Promise<Field> {
    if (field === "spread") return this.summaryField(`${SPEED}_spread`, index);
    if (field === "speed") return this.summaryField(`${SPEED}_mean`, index);
    const at = this.thresholds.findIndex((value) => Math.abs(value - threshold) < 1e-3);
    if (at < 0) return this.exceedance(index, threshold);
    const chunk = await this.summary.chunk(`${SPEED}_above`, [0, index - 1, 0, 0, 0]);
    const size = this.grid.rows * this.grid.columns;
    return { grid: this.grid, values: (chunk.data as Float32Array).subarray(at * size, (at + 1) * size) };
  }

  /** Return the share of members above a threshold that the summary does not have. */
  private async exceedance(index: number, threshold: number): Promise<Field> {
    if (!this.hasMembers) throw new Error(texts.thresholdNeedsMembers);
    const speeds = await this.memberSpeeds(index);
    const share = new Float32Array(speeds[0].values.length);
    for (const { values } of speeds) for (let i = 0; i < share.length; i++) share[i] += values[i] > threshold ? 1 / speeds.length : 0;
    return { grid: speeds[0].grid, values: share };
  }

  /** Return the wind of a member; `isWhole` if the other members of its chunk are wanted too. */
  private async memberWind(index: number, member: number, isWhole = false): Promise<[Field, Field]> {
    if (!this.hasMembers) throw new Error(texts.noMembers);
    const store = await this.ensemble();
    const position = this.members.indexOf(member);
    if (position < 0) throw new Error(texts.noSuchMember(member));
    const [, , group] = store.chunkShape("u10");
    const [rows, columns] = store.shape("u10").slice(-2);
    const size = rows * columns;
    const from = (position % group) * size;
    const grid = await this.gridOf(store);
    const read = async (name: string): Promise<Field> => {
      const coordinates = [0, index - 1, Math.floor(position / group), 0, 0];
      if (isWhole) await store.chunk(name, coordinates);
      return { grid, values: await store.part(name, coordinates, from, size) };
    };
    return Promise.all([read("u10"), read("v10")]);
  }

  private async analysisWind(): Promise<[Field, Field]> {
    const store = await this.analysis();
    const grid = await this.gridOf(store);
    const shape = store.shape("u10");
    const last = shape.map((size, axis) => (axis === shape.length - 3 ? size - 1 : 0));
    const read = async (name: string): Promise<Field> => {
      const chunk = await store.chunk(name, last);
      return { grid, values: (chunk.data as Float32Array).subarray(0, grid.rows * grid.columns) };
    };
    return Promise.all([read("u10"), read("v10")]);
  }

  private async analysisStatistic(field: FieldName, threshold: number): Promise<Field> {
    const [u, v] = await this.analysisWind();
    const speed = speedOf(u.values, v.values);
    return { grid: u.grid, values: field === "spread" ? speed.fill(0) : speed.map((value) => (value > threshold ? 1 : 0)) };
  }

  private readonly grids = new Map<Store, Promise<Grid>>();

  private gridOf(store: Store): Promise<Grid> {
    let grid = this.grids.get(store);
    if (grid === undefined) {
      grid = Promise.all([store.coordinates("latitude"), store.coordinates("longitude")]).then(([lat, lon]) => makeGrid(lat, lon));
      this.grids.set(store, grid);
    }
    return grid;
  }
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => {
    made ??= make();
    made.catch(() => (made = null));
    return made;
  };
}

function speedOf(u: Float32Array, v: Float32Array): Float32Array<ArrayBuffer> {
  const speed = new Float32Array(u.length);
  for (let i = 0; i < u.length; i++) speed[i] = Math.sqrt(u[i] * u[i] + v[i] * v[i]);
  return speed;
}
