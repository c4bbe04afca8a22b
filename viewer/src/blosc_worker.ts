/** Decompresses chunks beside the page, which stays responsive meanwhile. */

import { decompressBlocks, decompressBlosc } from "./blosc_format";

/** A Blosc buffer to decompress whole; with a range of bytes, one of which only the blocks of the range are there. */
export interface Order {
  id: number;
  content: Uint8Array;
  range: [number, number] | null;
}

addEventListener("message", ({ data: { id, content, range } }: MessageEvent<Order>) => {
  try {
    const result = range === null ? decompressBlosc(content) : decompressBlocks(content, ...range);
    postMessage([id, result], { transfer: [result.buffer] });
  } catch (error) {
    postMessage([id, (error as Error).message]);
  }
});
