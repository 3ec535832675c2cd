// Segments: a metric's points of one attempt cut into pieces of at most 4,096, each stored as its points and the one
// entry that summarises them. Pure. The layout of stored points below is this file's; the packing of columns is the
// codec's, but every column, and every plane of the values, is compressed by itself: together they are 12 to 18 %
// larger (a loss curve: 3.5 to 4.0 bytes a point against 2.9 to 3.6), because noise and its opposite would share a code.
//
// Points (integers as in bytes.ts)
//    0  u8   version, 1
//    1  u32  CRC-32, seeded with the version, of everything after it
//    5  varint  number of points; u8 flags, as of a metric in columns.ts
//       pieces, which unpacked and put together are steps, times, values and metadata as in columns.ts:
//         varint  bytes, unpacked; varint bytes as they stand here in one zstd frame, or 0: they follow as they are

import {
  damaged,
  readByte,
  readVarint,
  reserve,
  seal,
  SEAL_BYTES,
  skip,
  unseal,
  VARINT_BYTES,
  writeVarint,
} from './bytes.ts';
import type { Reader, Writer } from './bytes.ts';
import { HAS_METADATA, readMetadata, STEPS_SHIFT, TIMES_SHIFT, writeMetadata } from './columns.ts';
import type { Metadata, Points, Repeats } from '../columns.ts';
import { slice } from '../chart/line.ts';
import { findFloats, readFloats, WIDE, writeFloats } from './packed-floats.ts';
import { findIntegers, NOTHING_BEFORE, readIntegers, writeIntegers } from './packed-integers.ts';
import { type Entries, entryOf } from '../chart/rollup.ts';
import { compress, decompress, isNoise } from './zstd.ts';

/** A segment has at most this many points. */
export const SEGMENT_POINTS = 4096;
/** And where points carry metadata, of that at most about so many letters: a fold writes the last segment anew. */
const SEGMENT_METADATA = 256 * 1024;

const VERSION = 1;
/** Points alone take 96 KB at most; the rest is for metadata. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** A call into zstd costs 16 µs: the planes of a short segment go into one frame together. */
const COMPRESS_FROM_BYTES = 1024;

export interface EncodedSegment {
  points: Buffer;
  /** Of all of them: of length one. */
  entry: Entries;
}

/**
 * Points of one attempt, in the metric's order, as the points of its segments. Deterministic, and cutting what follows
 * a cut again gives the same cuts. At the END of a metric segments are filled, so that appending to it rewrites the
 * last one alone; in the MIDDLE what no longer fits one is halved, so that late points find room and do not leave
 * a full segment and a crumb each time. Where repeats are kept, points of the same step and time stay together if the
 * segment is not left half empty by it.
 */
export function splitSeries(points: Points, repeats: Repeats, where: 'END' | 'MIDDLE' = 'END'): Points[] {
  const length = points.steps.length;
  const parts = Math.ceil(length / SEGMENT_POINTS);
  const size = where === 'END' ? SEGMENT_POINTS : Math.ceil(length / Math.max(1, parts));
  const segments: Points[] = [];
  let start = 0;
  while (start < length) {
    let end = Math.min(length, start + size);
    if (points.metadata !== null) end = endOfRoom(points.metadata, start, end);
    if (repeats === 'KEEP' && end < length) end = cutBefore(points, end, start + ((end - start) >> 1));
    segments.push(slice(points, start, end));
    start = end;
  }
  return segments;
}

/** Where there is no room for more metadata; after one point at least. */
function endOfRoom(metadata: (Metadata | null)[], start: number, end: number): number {
  let room = SEGMENT_METADATA;
  for (let at = start; at < end; at++) {
    const one = metadata[at];
    if (one != null) room -= JSON.stringify(one).length;
    if (room < 0 && at > start) return at;
  }
  return end;
}

/** The last place at or before `end`, but after `least`, where the step or the time changes; `end` if there is none. */
function cutBefore({ steps, times }: Points, end: number, least: number): number {
  for (let at = end; at > least; at--) if (steps[at] !== steps[at - 1] || times[at] !== times[at - 1]) return at;
  return end;
}

/** 1 to 4,096 points in the metric's order; the same points always give the same bytes. */
export function encodeSegment(points: Points): EncodedSegment {
  const count = points.steps.length;
  if (count === 0 || count > SEGMENT_POINTS) throw new RangeError(`a segment of ${count} points`);
  return { points: encodePoints(points), entry: entryOf(points) };
}

const scratch: Writer = { bytes: Buffer.allocUnsafeSlow(128 * 1024), at: 0 };
const KEPT_SCRATCH_BYTES = 1024 * 1024;

function encodePoints({ steps, times, values, metadata }: Points): Buffer {
  const count = steps.length;
  if (times.length !== count || values.length !== count || (metadata !== null && metadata.length !== count)) {
    throw new RangeError('the columns of a segment must be equally long');
  }
  const writer = scratch;
  writer.at = 0;
  reserve(writer, 24 * count + 8 * VARINT_BYTES);
  let flags = writeIntegers(writer, steps, undefined) << STEPS_SHIFT;
  const ends = [writer.at];
  flags |= writeIntegers(writer, times, steps) << TIMES_SHIFT;
  ends.push(writer.at);
  const valuesAt = writer.at;
  flags |= writeFloats(writer, values);
  const planes = (flags & WIDE) === 0 ? 4 : 8;
  for (let plane = 1; plane <= planes; plane++) ends.push(valuesAt + ((writer.at - valuesAt) / planes) * plane);
  if (metadata !== null) {
    flags |= writeMetadata(writer, metadata);
    ends.push(writer.at);
  }
  if (writer.at > MAX_BODY_BYTES) throw new RangeError(`a segment holds at most ${MAX_BODY_BYTES} bytes`);
  const payload = pack(writer.bytes, ends, count, flags);
  if (writer.bytes.length > KEPT_SCRATCH_BYTES) writer.bytes = Buffer.allocUnsafeSlow(128 * 1024);
  return payload;
}

/** `ends` says where each piece of the body ends. Those too small to be compressed go along with the next. */
function pack(body: Buffer, ends: readonly number[], count: number, flags: number): Buffer {
  const length = ends.at(-1)!;
  const writer: Writer = { bytes: Buffer.allocUnsafe(length + (2 * ends.length + 2) * VARINT_BYTES), at: SEAL_BYTES };
  writeVarint(writer, count);
  writer.bytes[writer.at++] = flags;
  let start = 0;
  for (const end of ends) {
    if (end === start || (end - start < COMPRESS_FROM_BYTES && end < length)) continue;
    const piece = body.subarray(start, end);
    const frame = piece.length < COMPRESS_FROM_BYTES || isNoise(piece) ? null : compress(piece);
    const stored = frame ?? piece;
    writeVarint(writer, piece.length);
    writeVarint(writer, frame === null ? 0 : frame.length);
    writer.bytes.set(stored, writer.at);
    writer.at += stored.length;
    start = end;
  }
  return seal(writer.bytes.subarray(0, writer.at), VERSION);
}

/** Damage is an INTERNAL error. */
export function decodeSegmentPoints(bytes: Uint8Array): Points {
  const payload = unseal(bytes, VERSION);
  const count = readVarint(payload);
  if (count === 0 || count > SEGMENT_POINTS) throw damaged(`a segment of ${count} points`);
  const flags = readByte(payload);
  const reader: Reader = { bytes: unpack(payload), at: 0 };
  const stepsAt = findIntegers(reader, (flags >> STEPS_SHIFT) & 3, count, NOTHING_BEFORE);
  const timesAt = findIntegers(reader, (flags >> TIMES_SHIFT) & 3, count, stepsAt);
  const valuesAt = findFloats(reader, count, flags);
  const metadata = (flags & HAS_METADATA) === 0 ? null : readMetadata(reader, count, true);
  if (reader.at !== reader.bytes.length) throw damaged('bytes are left over');
  return {
    steps: readIntegers(reader.bytes, stepsAt),
    times: readIntegers(reader.bytes, timesAt),
    values: readFloats(reader.bytes, valuesAt, count, flags),
    metadata,
  };
}

function unpack(payload: Reader): Buffer {
  const pieces: Buffer[] = [];
  let total = 0;
  while (payload.at < payload.bytes.length) {
    const length = readVarint(payload);
    const packed = readVarint(payload);
    total += length;
    if (total > MAX_BODY_BYTES) throw damaged(`a body of ${total} bytes or more`);
    const start = skip(payload, packed === 0 ? length : packed);
    const stored = payload.bytes.subarray(start, payload.at);
    const piece = packed === 0 ? stored : decompress(stored, length);
    if (piece.length !== length) throw damaged('a piece is not as long as it says');
    pieces.push(piece);
  }
  return Buffer.concat(pieces, total);
}
