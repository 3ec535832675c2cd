// One column of steps or times in a payload (layout: columns.ts): the densest of four ways that is exact. It refuses what
// is not a safe integer, writing and reading.

import { damaged, readSigned, skip, writeSigned } from './bytes.ts';
import type { Reader, Writer } from './bytes.ts';

const STRIDE = 0;
const DELTAS = 1;
const ABSOLUTE = 2;
const SAME = 3;

/** Writes one column and answers how. The caller has made room: 8 bytes an entry and three varints. */
export function writeIntegers(writer: Writer, column: Float64Array, before: Float64Array | undefined): number {
  if (before !== undefined && areEqual(column, before)) return SAME;
  const count = column.length;
  if (count === 0) return STRIDE;
  let previous = column[0]!;
  if (!Number.isSafeInteger(previous)) throw new RangeError(`${previous} is not a safe integer`);
  const stride = count > 1 ? column[1]! - previous : 0;
  let isStride = Number.isSafeInteger(stride);
  let areNear = isStride;
  for (let i = 1; i < count; i++) {
    const value = column[i]!;
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not a safe integer`);
    const delta = value - previous;
    if (delta !== stride) isStride = false;
    // A difference is exact when it comes out safe: between safe integers only larger ones are rounded.
    if (delta > Number.MAX_SAFE_INTEGER || delta < -Number.MAX_SAFE_INTEGER) areNear = false;
    previous = value;
  }
  if (isStride) {
    writeSigned(writer, column[0]!);
    if (count > 1) writeSigned(writer, stride);
    return STRIDE;
  }
  return areNear && writeDeltas(writer, column) ? DELTAS : writeAbsolute(writer, column);
}

/** Deltas around a base: the times of a loop of 100 ms ± 10 take one byte a point and not two. */
function writeDeltas(writer: Writer, column: Float64Array): boolean {
  const start = writer.at;
  const last = column.length - 1;
  const middle = (last + 1) >> 1;
  // The middle one of three deltas: a mean would let one pause widen every other delta.
  const a = column[1]! - column[0]!;
  const b = column[middle]! - column[middle - 1]!;
  const c = column[last]! - column[last - 1]!;
  const base = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
  writer.at += 4;
  writeSigned(writer, column[0]!);
  writeSigned(writer, base);
  let previous = column[0]!;
  for (let i = 1; i <= last; i++) {
    const value = column[i]!;
    const residue = value - previous - base;
    if (residue > Number.MAX_SAFE_INTEGER || residue < -Number.MAX_SAFE_INTEGER) {
      writer.at = start;
      return false;
    }
    writeSigned(writer, residue);
    previous = value;
  }
  writer.bytes.writeUInt32LE(writer.at - start - 4, start);
  return true;
}

function writeAbsolute(writer: Writer, column: Float64Array): number {
  // `+ 0` makes 0 of −0, as the other two ways do.
  for (const value of column) writer.at = writer.bytes.writeDoubleLE(value + 0, writer.at);
  return ABSOLUTE;
}

function areEqual(a: Float64Array, b: Float64Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export interface StoredIntegers {
  how: number;
  at: number;
  count: number;
  /** What was read there, once someone has asked. */
  column: Float64Array | null;
}

/** What the first metric of a payload has before it: no column is as long. */
export const NOTHING_BEFORE: StoredIntegers = { how: STRIDE, at: 0, count: -1, column: null };

/** Moves past a column without decoding it; `before` is where the metric before has its own. */
export function findIntegers(reader: Reader, how: number, count: number, before: StoredIntegers): StoredIntegers {
  if (how === SAME) {
    if (before.count !== count) throw damaged('a column refers to one of another length');
    return before;
  }
  const at = reader.at;
  if (how === ABSOLUTE) {
    skip(reader, 8 * count);
  } else if (count > 0 && how === STRIDE) {
    readSigned(reader);
    if (count > 1) readSigned(reader);
  } else if (count > 0) {
    const start = skip(reader, 4);
    skip(reader, reader.bytes.readUInt32LE(start));
  }
  return { how, at, count, column: null };
}

/** A new array at each call, also for metrics that share their column. */
export function readIntegers(bytes: Buffer, stored: StoredIntegers): Float64Array {
  if (stored.column !== null) return stored.column.slice();
  const { how, at, count } = stored;
  const column = new Float64Array(count);
  stored.column = column;
  if (count === 0) return column;
  if (how === ABSOLUTE) {
    for (let i = 0; i < count; i++) column[i] = checked(bytes.readDoubleLE(at + 8 * i));
    return column;
  }
  const reader: Reader = { bytes, at: how === DELTAS ? at + 4 : at };
  let value = readSigned(reader);
  column[0] = value;
  const base = count > 1 ? readSigned(reader) : 0;
  if (how === STRIDE) {
    for (let i = 1; i < count; i++) column[i] = value += base;
    // They go one way: if the last is safe, all are, and exact.
    checked(value);
    return column;
  }
  for (let i = 1; i < count; i++) {
    // One byte as a rule: read here, a segment takes a fifth less time.
    const byte = bytes[reader.at];
    if (byte !== undefined && byte < 128) {
      reader.at++;
      value += (byte < 64 ? byte : 64 - byte) + base;
    } else value += readSigned(reader) + base;
    // Each sum is a step or time again, hence safe, hence exact.
    column[i] = checked(value);
  }
  if (reader.at !== at + 4 + bytes.readUInt32LE(at)) throw damaged('a column has another length');
  return column;
}

function checked(value: number): number {
  if (!Number.isSafeInteger(value)) throw damaged('a step or time is out of range');
  return value;
}
