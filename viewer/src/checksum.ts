/** The checksum CRC-32C (Castagnoli) that ends each chunk of a store. */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** Return the content of a chunk without the checksum at its end; throw if it does not fit. */
export function withoutChecksum(chunk: Uint8Array): Uint8Array {
  const content = chunk.subarray(0, -4);
  let value = 0xffffffff;
  for (let i = 0; i < content.length; i++) value = TABLE[(value ^ content[i]) & 0xff] ^ (value >>> 8);
  const expected = new DataView(chunk.buffer, chunk.byteOffset + content.length, 4).getUint32(0, true);
  if ((value ^ 0xffffffff) >>> 0 !== expected) throw new Error("The checksum of a chunk does not fit its content.");
  return content;
}
