/** The codec Blosc in place of the one of numcodecs; a worker decompresses large chunks. */

import { decompressBlosc } from "./blosc_format";
import type { Order } from "./blosc_worker";
import { texts } from "./texts";

const SMALL_BYTES = 10_000;
const waiting = new Map<number, { resolve: (content: Uint8Array) => void; reject: (error: Error) => void }>();
let worker: Worker | null = null;
let last = 0;

export default {
  kind: "bytes_to_bytes" as const,
  fromConfig(): { kind: "bytes_to_bytes"; encode: () => never; decode: (content: Uint8Array) => Uint8Array | Promise<Uint8Array> } {
    return {
      kind: "bytes_to_bytes",
      encode: () => {
        throw new Error("The page only reads.");
      },
      decode: (content) => (content.length < SMALL_BYTES ? decompressBlosc(content) : order(content, null)),
    };
  },
};

/**
 * Return a range of bytes of a chunk, a Blosc buffer, of which only the header and `blocks` are there, which begin at byte `start`.
 */
export function decompressRange(header: Uint8Array, blocks: Uint8Array, start: number, range: [number, number]): Promise<Uint8Array> {
  const content = new Uint8Array(start + blocks.length);
  content.set(header.subarray(0, start));
  content.set(blocks, start);
  return order(content, range);
}

function order(content: Uint8Array, range: Order["range"]): Promise<Uint8Array> {
  worker ??= startWorker();
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker!.postMessage({ id, content, range } satisfies Order, [content.buffer as ArrayBuffer]);
  });
}

function startWorker(): Worker {
  const started = new Worker(new URL("./blosc_worker.ts", import.meta.url), { type: "module" });
  started.addEventListener("message", ({ data: [id, result] }: MessageEvent<[number, Uint8Array | string]>) => {
    const { resolve, reject } = waiting.get(id)!;
    waiting.delete(id);
    if (typeof result === "string") reject(new Error(result));
    else resolve(result);
  });
  started.addEventListener("error", () => {
    for (const { reject } of waiting.values()) reject(new Error(texts.workerFailed));
    waiting.clear();
    worker = null;
  });
  return started;
}
