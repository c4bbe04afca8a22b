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

/** Bytes at the beginning of a buffer that have its header and where its blocks are, if it has no more than 64. */
export const HEADER_BYTES = HEADER + 4 * 64;

interface Header {
  flags: number;
  typeSize: number;
  size: number;
  blockSize: number;
  total: number;
}

function readHeader(view: DataView): Header {
  const [size, blockSize, total] = [view.getUint32(4, true), view.getUint32(8, true), view.getUint32(12, true)];
  const header = { flags: view.getUint8(2), typeSize: view.getUint8(3), size, blockSize, total };
  if (header.flags >> 5 !== ZSTD || header.flags & BIT_SHUFFLED) throw new Error("A chunk must be compressed with Zstandard and byte shuffle.");
  return header;
}

/** Return the content of a Blosc buffer; throw if it is not complete, or uses another compressor or filter. */
export function decompressBlosc(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const { size, total } = readHeader(viewOf(content));
  if (total !== content.length) throw new Error(`A chunk must have ${total} bytes. Got: ${content.length}.`);
  return decompressBlocks(content, 0, size);
}

/** Return where the blocks with bytes `from` to `to` of the content are in a Blosc buffer, of which the beginning is there. */
export function findSpan(beginning: Uint8Array, from: number, to: number): [number, number] {
  const view = viewOf(beginning);
  const { flags, size, blockSize, total } = readHeader(view);
  if (flags & COPIED) return [HEADER + from, HEADER + to];
  const count = Math.ceil(size / blockSize);
  const [first, last] = [Math.floor(from / blockSize), Math.ceil(to / blockSize) - 1];
  if (HEADER + 4 * count > beginning.length) return [0, total];
  // blocks are in any order: each ends where the next one in the buffer begins
  const starts = Array.from({ length: count }, (_, block) => view.getUint32(HEADER + 4 * block, true));
  const wanted = starts.slice(first, last + 1);
  const end = (start: number): number => Math.min(...starts.filter((other) => other > start), total);
  return [Math.min(...wanted), Math.max(...wanted.map(end))];
}

/** Return bytes `from` to `to` of the content of a Blosc buffer, of which the header and their blocks are there. */
export function decompressBlocks(content: Uint8Array, from: number, to: number): Uint8Array<ArrayBuffer> {
  const view = viewOf(content);
  const { flags, typeSize, size, blockSize } = readHeader(view);
  const end = Math.min(to, size);
  if (flags & COPIED) return new Uint8Array(content.subarray(HEADER + from, HEADER + end));
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

function viewOf(content: Uint8Array): DataView {
  return new DataView(content.buffer, content.byteOffset, content.byteLength);
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
