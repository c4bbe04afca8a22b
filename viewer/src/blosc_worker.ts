/** Decompresses chunks beside the page, which stays responsive meanwhile. */

import { decompressBlosc } from "./blosc_format";
import { withoutChecksum } from "./checksum";

/** A Blosc buffer to decompress whole; with a range of bytes, a chunk that ends with a checksum, of which a part is wanted. */
export interface Order {
  id: number;
  content: Uint8Array;
  range: [number, number] | null;
}

addEventListener("message", ({ data: { id, content, range } }: MessageEvent<Order>) => {
  try {
    const result = range === null ? decompressBlosc(content) : decompressBlosc(withoutChecksum(content), ...range);
    postMessage([id, result], { transfer: [result.buffer] });
  } catch (error) {
    postMessage([id, (error as Error).message]);
  }
});
