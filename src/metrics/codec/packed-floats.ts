// One column of values in a payload (layout: columns.ts): 32-bit where that loses nothing, one value where all are the
// same, bytes shuffled so that zstd finds the signs and exponents side by side. Every float is allowed.

import { skip } from './bytes.ts';
import type { Reader, Writer } from './bytes.ts';

/** The bits of a metric's flags that say how its values are stored. */
export const WIDE = 4;
export const ALL_ONE = 8;

// Floats and their bytes, low half first: every platform that Node 24 is built for here is little-endian.
const float32 = new Float32Array(1);
const float32Bits = new Uint32Array(float32.buffer);
const float64 = new Float64Array(1);
const float64Bits = new Uint32Array(float64.buffer);

/** Writes the column and answers its flags. The caller has made room: 8 bytes a value. */
export function writeFloats(writer: Writer, values: Float64Array): number {
  const first = values[0];
  let isNarrow = true;
  let allOne = values.length > 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (isNarrow && Math.fround(value) !== value && value === value) isNarrow = false;
    if (allOne && !Object.is(value, first)) allOne = false;
    if (!isNarrow && !allOne) break;
  }
  const count = allOne ? 1 : values.length;
  const bytes = writer.bytes;
  const at = writer.at;
  for (let i = 0; i < count; i++) {
    if (isNarrow) {
      float32[0] = values[i]!;
      writePlanes(bytes, at + i, count, float32Bits[0]!);
    } else {
      float64[0] = values[i]!;
      writePlanes(bytes, at + i, count, float64Bits[0]!);
      writePlanes(bytes, at + i + 4 * count, count, float64Bits[1]!);
    }
  }
  writer.at = at + count * (isNarrow ? 4 : 8);
  return (isNarrow ? 0 : WIDE) | (allOne ? ALL_ONE : 0);
}

function writePlanes(bytes: Buffer, at: number, count: number, bits: number): void {
  bytes[at] = bits;
  bytes[at + count] = bits >>> 8;
  bytes[at + 2 * count] = bits >>> 16;
  bytes[at + 3 * count] = bits >>> 24;
}

function readPlanes(bytes: Buffer, at: number, count: number): number {
  return bytes[at]! | (bytes[at + count]! << 8) | (bytes[at + 2 * count]! << 16) | (bytes[at + 3 * count]! << 24);
}

function storedCount(count: number, flags: number): number {
  return (flags & ALL_ONE) === 0 ? count : Math.min(count, 1);
}

/** Moves past a column without decoding it and answers where it begins. */
export function findFloats(reader: Reader, count: number, flags: number): number {
  return skip(reader, storedCount(count, flags) * ((flags & WIDE) === 0 ? 4 : 8));
}

export function readFloats(bytes: Buffer, at: number, count: number, flags: number): Float64Array {
  const values = new Float64Array(count);
  const stored = storedCount(count, flags);
  for (let i = 0; i < stored; i++) {
    if ((flags & WIDE) === 0) {
      float32Bits[0] = readPlanes(bytes, at + i, stored);
      values[i] = float32[0]!;
    } else {
      float64Bits[0] = readPlanes(bytes, at + i, stored);
      float64Bits[1] = readPlanes(bytes, at + i + 4 * stored, stored);
      values[i] = float64[0]!;
    }
  }
  return stored < count ? values.fill(values[0]!) : values;
}
