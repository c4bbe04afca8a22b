/**
 * The format Blosc 1 with Zstandard, as the stores of Warmcast use it.
 *
 * The decoder of numcodecs makes functions of strings, which the content security policy of the page forbids, and is ten times larger.
 */

import { decompress } from "fzstd";

const HEADER = 16;
const SHUFFLED = 0x1;
const COPIED = 0x2;
const BIT_SHUFFLED = 0x4;
const UNSPLIT = 0x10;
const ZSTD = 4;

/** Return bytes `from` to `to` of the content of a Blosc buffer; throw if it is not complete, or uses another compressor or filter. */
export function decompressBlosc(content: Uint8Array, from = 0, to = Infinity): Uint8Array<ArrayBuffer> {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [flags, typeSize] = [view.getUint8(2), view.getUint8(3)];
  const [size, blockSize, total] = [view.getUint32(4, true), view.getUint32(8, true), view.getUint32(12, true)];
  if (total !== content.length) throw new Error(`A chunk must have ${total} bytes. Got: ${content.length}.`);
  const end = Math.min(to, size);
  if (flags & COPIED) return new Uint8Array(content.subarray(HEADER + from, HEADER + end));
  if (flags >> 5 !== ZSTD || flags & BIT_SHUFFLED) throw new Error("A chunk must be compressed with Zstandard and byte shuffle.");
  const first = Math.floor(from / blockSize) * blockSize;
  const out = new Uint8Array(Math.min(Math.ceil(end / blockSize) * blockSize, size) - first);
  for (let start = first; start < end; start += blockSize) {
    const length = Math.min(blockSize, size - start);
    const parts = flags & UNSPLIT || length < blockSize ? 1 : typeSize;
    const bytes = readBlock(content, view, view.getUint32(HEADER + (4 * start) / blockSize, true), length, parts);
    if (flags & SHUFFLED && typeSize > 1) unshuffle(bytes, out.subarray(start - first, start - first + length), typeSize);
    else out.set(bytes, start - first);
  }
  return out.subarray(from - first, end - first);
}

function readBlock(content: Uint8Array, view: DataView, from: number, length: number, parts: number): Uint8Array {
  const out = new Uint8Array(length);
  const size = length / parts;
  let at = from;
  for (let part = 0; part < parts; part++) {
    const stored = view.getUint32(at, true);
    const bytes = content.subarray(at + 4, at + 4 + stored);
    out.set(stored === size ? bytes : decompress(bytes), part * size);
    at += 4 + stored;
  }
  return out;
}

function unshuffle(from: Uint8Array, to: Uint8Array, typeSize: number): void {
  const count = Math.floor(from.length / typeSize);
  for (let byte = 0; byte < typeSize; byte++) {
    for (let i = 0, at = byte; i < count; i++, at += typeSize) to[at] = from[byte * count + i];
  }
  to.set(from.subarray(count * typeSize), count * typeSize);
}
