// The codec of stored entries: columns to one payload and back, exact to the bit (NaN payloads aside). It owns the
// layout below and, like the codec of points, refuses to read what it cannot prove whole.
//
//    0  u8   version, 1
//    1  u32  CRC-32, seeded with the version, of everything after it
//    5  u8   packing: 0 the body follows as it is · 1 u32 length of the body, then the body in one zstd frame
//       the body (integers as in bytes.ts)
//         varint  number of entries (n)
//         first steps, first times                                       as in columns.ts: u8 how they are stored, column
//         last steps − first steps, last times − first times, min times − first times, max times − last times,
//         counts, non-finite counts, min steps − first steps, max steps − first steps          differences, see below
//         u8      1 when times are ordered in all entries, else 0 and n bytes
//         first, last, min, max, mean                                    as in columns.ts: u8 flags, column
//   differences: u8 0, signed: all are this one · u8 1, signed first, n − 1 × signed (difference − first)
//                · u8 2, n × float64: the column itself, for differences past 2^53 − 1

import { damaged, readByte, readSigned, readVarint, seal, skip, unseal, writeSigned, writeVarint } from './bytes.ts';
import { SEAL_BYTES, VARINT_BYTES } from './bytes.ts';
import type { Reader, Writer } from './bytes.ts';
import { findFloats, readFloats, writeFloats } from './packed-floats.ts';
import { findIntegers, NOTHING_BEFORE, readIntegers, writeIntegers } from './packed-integers.ts';
import type { Entries } from '../chart/rollup.ts';
import { compress, decompress } from './zstd.ts';

const VERSION = 1;
/** With the packing. */
const HEADER_BYTES = SEAL_BYTES + 1;
/** A call into zstd costs 16 µs: of an entry or two it saves nothing, of a page of a loss curve a third. */
const COMPRESS_FROM_BYTES = 512;

/** Both sides hold to it: a column of one and the same takes few bytes, so that no length of a body bounds memory. */
const MAX_ENTRIES = 4096;

const ALL_ONE = 0;
const AROUND = 1;
const ABSOLUTE = 2;

/** The same entries always give the same bytes. */
export function encodeEntries(entries: Entries): Buffer {
  const { counts, firstSteps, lastSteps, firstTimes, lastTimes } = entries;
  const count = counts.length;
  if (count > MAX_ENTRIES) throw new RangeError(`a payload holds at most ${MAX_ENTRIES} entries`);
  const writer: Writer = { bytes: Buffer.allocUnsafe(HEADER_BYTES + bodyBytes(count)), at: HEADER_BYTES };
  writeVarint(writer, count);
  for (const column of [firstSteps, firstTimes]) {
    const howAt = writer.at++;
    writer.bytes[howAt] = writeIntegers(writer, column, undefined);
  }
  writeDifferences(writer, lastSteps, firstSteps);
  writeDifferences(writer, lastTimes, firstTimes);
  writeDifferences(writer, entries.minTimes, firstTimes);
  writeDifferences(writer, entries.maxTimes, lastTimes);
  writeDifferences(writer, counts, null);
  writeDifferences(writer, entries.nonFiniteCounts, null);
  writeDifferences(writer, orElse(entries.minSteps, firstSteps), firstSteps);
  writeDifferences(writer, orElse(entries.maxSteps, firstSteps), firstSteps);
  const allOrdered = entries.timesOrdered.every((one) => one === 1);
  writer.bytes[writer.at++] = allOrdered ? 1 : 0;
  if (!allOrdered) {
    writer.bytes.set(entries.timesOrdered, writer.at);
    writer.at += count;
  }
  for (const column of [entries.first, entries.last, entries.min, entries.max, entries.mean]) {
    const flagsAt = writer.at++;
    writer.bytes[flagsAt] = writeFloats(writer, column);
  }
  return pack(writer);
}

/** Fifteen columns of 8 bytes an entry and some, and one of a byte: the most that a body takes. */
function bodyBytes(count: number): number {
  return count * 136 + 32 * VARINT_BYTES;
}

function pack({ bytes, at }: Writer): Buffer {
  const body = bytes.subarray(HEADER_BYTES, at);
  const packed = body.length < COMPRESS_FROM_BYTES ? null : compress(body);
  if (packed === null) {
    bytes[SEAL_BYTES] = 0;
    return seal(Buffer.from(bytes.subarray(0, at)), VERSION);
  }
  const payload = Buffer.allocUnsafe(HEADER_BYTES + 4 + packed.length);
  payload[SEAL_BYTES] = 1;
  payload.writeUInt32LE(body.length, HEADER_BYTES);
  payload.set(packed, HEADER_BYTES + 4);
  return seal(payload, VERSION);
}

function unpack(bytes: Uint8Array): Reader {
  const reader = unseal(bytes, VERSION);
  const packing = readByte(reader);
  if (packing === 0) return reader;
  if (packing !== 1) throw damaged(`packing ${packing} is unknown`);
  const start = skip(reader, 4);
  const length = reader.bytes.readUInt32LE(start);
  if (length > bodyBytes(MAX_ENTRIES)) throw damaged(`a body of ${length} bytes`);
  const body = decompress(reader.bytes.subarray(reader.at), length);
  if (body.length !== length) throw damaged('the body is not as long as it says');
  return { bytes: body, at: 0 };
}

/** Damage is an INTERNAL error. */
export function decodeEntries(bytes: Uint8Array): Entries {
  const reader = unpack(bytes);
  const count = readVarint(reader);
  if (count > MAX_ENTRIES) throw damaged(`more than ${MAX_ENTRIES} entries`);
  const firstSteps = readColumn(reader, count);
  const firstTimes = readColumn(reader, count);
  const lastSteps = readDifferences(reader, count, firstSteps);
  const lastTimes = readDifferences(reader, count, firstTimes);
  const entries: Entries = {
    firstSteps,
    firstTimes,
    lastSteps,
    lastTimes,
    minTimes: readDifferences(reader, count, firstTimes),
    maxTimes: readDifferences(reader, count, lastTimes),
    counts: readDifferences(reader, count, null),
    nonFiniteCounts: readDifferences(reader, count, null),
    minSteps: readDifferences(reader, count, firstSteps),
    maxSteps: readDifferences(reader, count, firstSteps),
    timesOrdered: readFlags(reader, count),
    first: readValues(reader, count),
    last: readValues(reader, count),
    min: readValues(reader, count),
    max: readValues(reader, count),
    mean: readValues(reader, count),
  };
  if (reader.at !== reader.bytes.length) throw damaged('bytes are left over');
  checkCounts(entries, count);
  return entries;
}

/** Also gives entries without a finite value the steps of their extremes: none. */
function checkCounts({ counts, nonFiniteCounts, minSteps, maxSteps }: Entries, count: number): void {
  for (let i = 0; i < count; i++) {
    const points = counts[i]!;
    const nonFinite = nonFiniteCounts[i]!;
    if (!(points >= 1 && nonFinite >= 0 && nonFinite <= points)) throw damaged('an entry of impossible counts');
    if (points === nonFinite) minSteps[i] = maxSteps[i] = NaN;
  }
}

/** The steps of extremes are none (NaN) where no value is finite: any step will do there, the counts tell. */
function orElse(steps: Float64Array, others: Float64Array): Float64Array {
  return steps.some((step) => step !== step) ? steps.map((step, i) => (step === step ? step : others[i]!)) : steps;
}

/** A column whose entries differ from those of `base`, or from 0, by about the same. */
function writeDifferences(writer: Writer, column: Float64Array, base: Float64Array | null): void {
  const count = column.length;
  const howAt = writer.at++;
  const first = count === 0 ? 0 : column[0]! - (base?.[0] ?? 0);
  let how = Number.isSafeInteger(first) ? ALL_ONE : ABSOLUTE;
  for (let i = 0; i < count; i++) {
    const value = column[i]!;
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not a safe integer`);
    const difference = base === null ? value : value - base[i]!;
    if (difference === first || how === ABSOLUTE) continue;
    // As in packed-integers.ts: a difference that comes out safe is exact.
    how = Number.isSafeInteger(difference) && Number.isSafeInteger(difference - first) ? AROUND : ABSOLUTE;
  }
  writer.bytes[howAt] = how;
  if (how === ABSOLUTE) {
    // `+ 0` makes 0 of −0, as the other two ways do.
    for (const value of column) writer.at = writer.bytes.writeDoubleLE(value + 0, writer.at);
    return;
  }
  writeSigned(writer, first);
  if (how === AROUND) {
    for (let i = 1; i < count; i++) writeSigned(writer, column[i]! - (base === null ? 0 : base[i]!) - first);
  }
}

function readDifferences(reader: Reader, count: number, base: Float64Array | null): Float64Array {
  const how = readByte(reader);
  if (how > ABSOLUTE) throw damaged('a column is stored in an unknown way');
  const column = new Float64Array(count);
  if (how === ABSOLUTE) {
    const start = skip(reader, 8 * count);
    for (let i = 0; i < count; i++) column[i] = checked(reader.bytes.readDoubleLE(start + 8 * i));
    return column;
  }
  const first = readSigned(reader);
  for (let i = 0; i < count; i++) {
    const difference = how === ALL_ONE || i === 0 ? first : first + readSigned(reader);
    column[i] = checked(base === null ? difference : base[i]! + difference);
  }
  return column;
}

function readColumn(reader: Reader, count: number): Float64Array {
  const how = readByte(reader);
  if (how > ABSOLUTE) throw damaged('a column is stored in an unknown way');
  return readIntegers(reader.bytes, findIntegers(reader, how, count, NOTHING_BEFORE));
}

function readValues(reader: Reader, count: number): Float64Array {
  const flags = readByte(reader);
  return readFloats(reader.bytes, findFloats(reader, count, flags), count, flags);
}

function readFlags(reader: Reader, count: number): Uint8Array {
  if (readByte(reader) === 1) return new Uint8Array(count).fill(1);
  const start = skip(reader, count);
  const flags = Uint8Array.from(reader.bytes.subarray(start, reader.at));
  if (flags.some((one) => one > 1)) throw damaged('a flag that is none');
  return flags;
}

function checked(value: number): number {
  if (!Number.isSafeInteger(value)) throw damaged('a number is out of range');
  return value;
}
