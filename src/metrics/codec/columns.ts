// The codec of stored points: columns of metrics to one payload and back, exact to the bit (NaN payloads aside; −0 in
// a step or time is 0). It owns the layout below and refuses to read what it cannot prove whole: a payload that was cut
// or altered is an error, never a crash, a wrong answer or more memory than the limits.
//
// A payload (u32 is little-endian; varint and signed: bytes.ts; text: varint length, UTF-8)
//    0  u8   version, 1
//    1  u32  CRC-32, seeded with the version, of everything after it
//    5  u8   packing: 0 the body follows as it is, 1 in one zstd frame
//    6  u32  length of the body, unpacked
//   10  the body
//         varint  number of metrics, then for each
//         u8      flags: 1 KEEP · 2 has metadata · 4 values are 64-bit · 8 all values are one · 16–32 how steps, 64–128
//                 how times are stored: 0 stride, 1 deltas, 2 absolute, 3 the same as the metric before
//         text    name; text tag; varint number of points (n)
//         steps, times, values, metadata
//   steps and times, by how they are stored (nothing for n = 0)
//     stride    signed first; with n > 1 signed stride
//     deltas    u32 length of what follows; signed first; signed base; n − 1 × signed (delta − base)
//     absolute  n × float64, for neighbours further apart than 2^53 − 1
//     same      nothing: the metrics of one log call share their steps and times
//   values    n (or one, when all are one) floats, shuffled: all lowest bytes first, all highest last
//   metadata  varint k; k × varint gap from the point after the previous one; text: JSON array of k objects
//
// Names, counts and lengths come before what they measure, so that a reader moves past metrics that it does not want.

import {
  damaged,
  readByte,
  readText,
  readVarint,
  reserve,
  seal,
  skip,
  unseal,
  VARINT_BYTES,
  writeText,
  writeVarint,
} from './bytes.ts';
import type { Reader, Writer } from './bytes.ts';
import { findIntegers, NOTHING_BEFORE, readIntegers, writeIntegers } from './packed-integers.ts';
import { findFloats, readFloats, writeFloats } from './packed-floats.ts';
import type { Metadata, MetricColumns } from '../columns.ts';
import { compress, decompress } from './zstd.ts';

const VERSION = 1;
const HEADER_BYTES = 10;

/** Both sides hold to these, so that nothing is stored that would not be read, and no length makes a reader big. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const MAX_POINTS = 1024 * 1024;

// Measured on two cores, the metrics of a training loop (loss curves, 32-bit, shared times with jitter), µs a call:
//   points         raw bytes → zstd   bytes a point   encode raw → zstd   decode raw → zstd
//   10 × 1            198 →    115    20.8 → 12.5          2 →  18              2 →  15
//   10 × 10           574 →    399     5.8 →  4.1          3 →  22              8 →  24
//   1 × 300         1,530 →  1,176     5.1 →  4.0          4 →  21              7 →  19
//   10 × 100        4,264 →  2,948     4.3 →  3.0          9 →  33             17 →  29
//   1 × 4,096      20,510 → 15,670     5.0 →  3.8         39 →  92             49 →  67
// A call into zstd costs 16 µs and more each way whatever the size, most of it a context that Node makes for each. Below
// 8 KB it is a seventh of the server's work on an append, for a KB that is deleted in minutes and costs PostgreSQL nothing
// that can be measured; above, it buys a quarter to a third.
const COMPRESS_FROM_BYTES = 8192;

const KEEP = 1;
export const HAS_METADATA = 2;
export const STEPS_SHIFT = 4;
export const TIMES_SHIFT = 6;

// One scratch buffer for all calls (encoding never yields); one that a huge batch has grown is not kept.
const KEPT_SCRATCH_BYTES = 1024 * 1024;
const scratch: Writer = { bytes: Buffer.allocUnsafeSlow(64 * 1024), at: 0 };

/**
 * Columns of a metric must be equally long and steps and times safe integers: whoever took them in has told the client
 * so, here it is a RangeError. The same metrics always give the same bytes.
 */
export function encodeColumns(metrics: readonly MetricColumns[]): Buffer {
  const writer = scratch;
  writer.at = HEADER_BYTES;
  writeVarint(writer, metrics.length);
  let before: MetricColumns | null = null;
  let points = 0;
  for (const metric of metrics) {
    points += metric.steps.length;
    if (points > MAX_POINTS) throw new RangeError(`a payload holds at most ${MAX_POINTS} points`);
    writeMetric(writer, metric, before);
    before = metric;
  }
  const length = writer.at - HEADER_BYTES;
  if (length > MAX_BODY_BYTES) throw new RangeError(`a payload holds at most ${MAX_BODY_BYTES} bytes`);
  const payload = pack(writer.bytes, length);
  if (writer.bytes.length > KEPT_SCRATCH_BYTES) writer.bytes = Buffer.allocUnsafeSlow(64 * 1024);
  return payload;
}

/** `wanted` picks metrics by name and tag; the columns of others are not decoded. Damage is an INTERNAL error. */
export function decodeColumns(bytes: Uint8Array, wanted?: (name: string, tag: string) => boolean): MetricColumns[] {
  const reader: Reader = { bytes: unpack(bytes), at: 0 };
  const metrics: MetricColumns[] = [];
  const metricCount = readVarint(reader);
  let steps = NOTHING_BEFORE;
  let times = NOTHING_BEFORE;
  let points = 0;
  for (let index = 0; index < metricCount; index++) {
    const flags = readByte(reader);
    const name = readText(reader);
    const tag = readText(reader);
    const count = readVarint(reader);
    points += count;
    if (points > MAX_POINTS) throw damaged(`more than ${MAX_POINTS} points`);
    steps = findIntegers(reader, (flags >> STEPS_SHIFT) & 3, count, steps);
    times = findIntegers(reader, (flags >> TIMES_SHIFT) & 3, count, times);
    const valuesAt = findFloats(reader, count, flags);
    const take = wanted === undefined || wanted(name, tag);
    const metadata = (flags & HAS_METADATA) === 0 ? null : readMetadata(reader, count, take);
    if (!take) continue;
    metrics.push({
      name,
      tag,
      repeats: (flags & KEEP) === 0 ? 'REPLACE' : 'KEEP',
      steps: readIntegers(reader.bytes, steps),
      times: readIntegers(reader.bytes, times),
      values: readFloats(reader.bytes, valuesAt, count, flags),
      metadata,
    });
  }
  if (reader.at !== reader.bytes.length) throw damaged('bytes are left over');
  return metrics;
}

/** What a payload takes once it is decoded, about: a few bytes can stand for many points. It is not proven whole here. */
export function decodedBytes(payload: Buffer, pointCount: number): number {
  const bodyBytes = payload.length >= HEADER_BYTES ? Math.min(payload.readUInt32LE(6), MAX_BODY_BYTES) : 0;
  return bodyBytes + pointCount * 3 * Float64Array.BYTES_PER_ELEMENT;
}

function pack(bytes: Buffer, length: number): Buffer {
  const body = bytes.subarray(HEADER_BYTES, HEADER_BYTES + length);
  const packed = length < COMPRESS_FROM_BYTES ? null : compress(body);
  const stored = packed ?? body;
  const payload = Buffer.allocUnsafe(HEADER_BYTES + stored.length);
  payload[5] = packed === null ? 0 : 1;
  payload.writeUInt32LE(length, 6);
  payload.set(stored, HEADER_BYTES);
  return seal(payload, VERSION);
}

function unpack(bytes: Uint8Array): Buffer {
  const { bytes: payload } = unseal(bytes, VERSION);
  if (payload.length <= HEADER_BYTES) throw damaged('they end too soon');
  const length = payload.readUInt32LE(6);
  if (length === 0 || length > MAX_BODY_BYTES) throw damaged(`a body of ${length} bytes`);
  const body = payload.subarray(HEADER_BYTES);
  const unpacked = payload[5] === 0 ? body : payload[5] === 1 ? decompress(body, length) : null;
  if (unpacked?.length !== length) throw damaged('the body is not as long as it says');
  return unpacked;
}

function writeMetric(writer: Writer, metric: MetricColumns, before: MetricColumns | null): void {
  const { name, tag, steps, times, values, metadata } = metric;
  const count = steps.length;
  if (times.length !== count || values.length !== count || (metadata !== null && metadata.length !== count)) {
    throw new RangeError('the columns of a metric must be equally long');
  }
  if (!name.isWellFormed() || !tag.isWellFormed()) throw new RangeError('a name must be well-formed Unicode');
  reserve(writer, 1);
  const flagsAt = writer.at++;
  writeText(writer, name);
  writeText(writer, tag);
  // Room for the count, two columns of integers (8 bytes an entry and some at most) and the values.
  reserve(writer, 24 * count + 8 * VARINT_BYTES);
  writeVarint(writer, count);
  let flags = metric.repeats === 'KEEP' ? KEEP : 0;
  flags |= writeIntegers(writer, steps, before?.steps) << STEPS_SHIFT;
  flags |= writeIntegers(writer, times, before?.times) << TIMES_SHIFT;
  flags |= writeFloats(writer, values);
  if (metadata !== null) flags |= writeMetadata(writer, metadata);
  writer.bytes[flagsAt] = flags;
}

/** An array of nulls alone is none at all, and read so. */
export function writeMetadata(writer: Writer, metadata: readonly (Metadata | null)[]): number {
  const objects = metadata.filter((entry) => entry !== null);
  if (objects.length === 0) return 0;
  reserve(writer, (objects.length + 1) * VARINT_BYTES);
  writeVarint(writer, objects.length);
  let next = 0;
  metadata.forEach((entry, index) => {
    if (entry === null) return;
    writeVarint(writer, index - next);
    next = index + 1;
  });
  writeText(writer, JSON.stringify(objects));
  return HAS_METADATA;
}

export function readMetadata(reader: Reader, count: number, take: boolean): (Metadata | null)[] | null {
  const stored = readVarint(reader);
  if (stored > count) throw damaged('more metadata than points');
  const metadata: (Metadata | null)[] | null = take ? Array.from({ length: count }, () => null) : null;
  const places: number[] = [];
  let next = 0;
  for (let i = 0; i < stored; i++) {
    const place = next + readVarint(reader);
    if (place >= count) throw damaged('metadata without a point');
    places.push(place);
    next = place + 1;
  }
  if (metadata === null) {
    skip(reader, readVarint(reader));
    return null;
  }
  const objects = parseObjects(readText(reader), stored);
  for (let i = 0; i < stored; i++) metadata[places[i]!] = objects[i]!;
  return metadata;
}

function parseObjects(text: string, count: number): Metadata[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw damaged('metadata is not JSON');
  }
  if (!Array.isArray(parsed) || parsed.length !== count) throw damaged('metadata is not a list of its length');
  const objects: unknown[] = parsed;
  return objects.map((entry) => {
    if (!isObject(entry)) throw damaged('metadata is not an object');
    return entry;
  });
}

function isObject(entry: unknown): entry is Metadata {
  return typeof entry === 'object' && entry !== null && !Array.isArray(entry);
}
