// The fold's first part: removes what was removed, and merges what came into the segments whose intervals it touches.
// Each is rewritten once; the others are not read. A segment that is damaged stays as it is, and what would have gone
// into it is stored beside it.
import { encodeEntries } from '../codec/rollups.ts';
import { decodeSegmentPoints, encodeSegment, SEGMENT_POINTS, splitSeries } from '../codec/segment.ts';
import { countBelow, mergeBatches, slice } from '../chart/line.ts';
import type { Points } from '../columns.ts';
import { withoutRanges } from '../tail.ts';
import {
  compareSegments,
  deleteSegments,
  deleteSegmentsInside,
  type Interval,
  nameOfSegment,
  nameOfSeries,
  type NewSegment,
  readPoints,
  readSegmentsAround,
  type SegmentKey,
  type StoredSegment,
  writeSegments,
} from './store.ts';
import { type FoldContext, portions, type SeriesWork, unlessDamaged } from './work.ts';

/** Bytes of points, as they are decoded, that are in memory at once beside the tail. */
const PORTION_BYTES = 16 * 1024 * 1024;
/** Places of a series that are looked at by themselves: late points all over it should not read all that lies between. */
const PLACES = 64;
const POINT_BYTES = 24;
/** Written segments whose points are kept at hand: 6 MB where they are full, and no metadata. */
const FRESH_SEGMENTS = 64;

/** Segments that become others together with what came for them. */
export interface Group {
  work: SeriesWork;
  stored: StoredSegment[];
  points: Points | null;
  /** All segments that are known there: keys that are taken as long as these stay. */
  known: StoredSegment[];
  where: 'END' | 'MIDDLE';
}

export async function foldSegments(context: FoldContext, works: readonly SeriesWork[]): Promise<void> {
  await deleteSegmentsInside(context, works.flatMap(removedIntervals));
  const around = await readSegmentsAround(
    context,
    works.filter(({ stored }) => stored !== null).flatMap((work) => [...edges(work), ...places(work)]),
  );
  const groups = works.flatMap((work) => planGroups(work, around.get(nameOfSeries(work)) ?? []));
  for (const portion of portions(groups, weightOf, PORTION_BYTES)) {
    const payloads = await readPoints(
      context,
      portion.flatMap(({ stored }) => stored),
    );
    const written: NewSegment[] = [];
    const gone = new Map<string, SegmentKey>();
    for (const group of portion) {
      const { segments, replaced } = rewrite(context, group, payloads);
      written.push(...segments);
      for (const one of replaced) gone.set(nameOfSegment(one), one);
      await context.pause();
    }
    for (const one of written) gone.delete(nameOfSegment(one));
    await writeSegments(context, written);
    await deleteSegments(context, [...gone.values()]);
  }
}

function weightOf({ stored, points }: Group): number {
  const count = (points?.steps.length ?? 0) + stored.reduce((sum, one) => sum + one.count, 0);
  return count * POINT_BYTES + stored.reduce((sum, { bytes }) => sum + bytes, 0);
}

function removedIntervals({ metric, attempt, removed, stored }: SeriesWork): Interval[] {
  return removed.map(({ from, to }) => ({
    metric,
    attempt,
    low: Math.max(from, stored!.firstStep),
    high: Math.min(to, stored!.lastStep),
  }));
}

/** What is only cut by a removed range holds one of its ends. */
function edges(work: SeriesWork): Interval[] {
  return removedIntervals(work).flatMap((one) => [
    { ...one, high: one.low },
    { ...one, low: one.high },
  ]);
}

/** Where points came: what lies beyond the end as one interval, late points as few with the widest gaps between them. */
function places({ metric, attempt, tail, stored }: SeriesWork): Interval[] {
  if (tail === null) return [];
  const { steps } = tail;
  const late = countBelow(steps, stored!.lastStep + 1);
  const width = (at: number) => steps[at]! - steps[at - 1]!;
  const gaps = Array.from({ length: Math.max(0, late - 1) }, (_, i) => i + 1).filter((at) => width(at) > 1);
  const widest = gaps.length < PLACES ? gaps : gaps.toSorted((a, b) => width(b) - width(a)).slice(0, PLACES - 1);
  const starts = [
    ...(late > 0 ? [0] : []),
    ...widest.toSorted((a, b) => a - b),
    ...(late < steps.length ? [late] : []),
  ];
  const lastOf = (at: number) => (starts[at + 1] ?? steps.length) - 1;
  return starts.map((start, at) => ({ metric, attempt, low: steps[start]!, high: steps[lastOf(at)]! }));
}

/**
 * `known` are segments in the metric's order: for each point the last that begins at or before it, and its neighbours.
 * A point goes to the segment before it, or to the first; one that would only follow a full segment begins a new one.
 */
export function planGroups(work: SeriesWork, known: StoredSegment[]): Group[] {
  const { tail, removed, repeats, stored } = work;
  const isCut = ({ firstStep, lastStep }: StoredSegment) =>
    removed.some(({ from, to }) => from <= lastStep && to >= firstStep);
  const touched = known.map(isCut);
  const starts = known.map(({ firstStep, firstTime }) => placeOf(work, firstStep, firstTime));
  const end = tail?.steps.length ?? 0;
  const groups: Group[] = [];
  const alone = (from: number, to: number, where: Group['where']) =>
    groups.push({ work, stored: [], points: slice(tail!, from, to), known, where });
  /** Where the points of each segment begin; those before the first are its own unless it is full. */
  const [first] = known;
  if (first === undefined) {
    if (end > 0) alone(0, end, 'END');
    return groups;
  }
  if (starts[0]! > 0) {
    if (first.count < SEGMENT_POINTS) starts[0] = 0;
    else alone(0, starts[0]!, 'MIDDLE');
  }
  starts.push(end);
  const ends = starts.slice(1);
  for (const [at, segment] of known.entries()) {
    const [from, to] = [starts[at]!, ends[at]!];
    if (from === to) continue;
    const isFull = segment.count >= SEGMENT_POINTS && !touched[at];
    const isBeyond = from === placeOf(work, segment.lastStep, segment.lastTime, true);
    if (isFull && isBeyond) {
      alone(from, to, segment.lastStep === stored?.lastStep ? 'END' : 'MIDDLE');
      ends[at] = from;
    } else touched[at] = true;
  }
  // Repeats of one step and time may reach over several segments: where one more comes, these are settled together.
  const isJoined = (at: number) => {
    const [before, segment] = [known[at - 1], known[at]!];
    if (repeats === 'REPLACE' || before === undefined) return false;
    const { firstStep, firstTime } = segment;
    if (before.lastStep !== firstStep || before.lastTime !== firstTime) return false;
    return placeOf(work, firstStep, firstTime) < placeOf(work, firstStep, firstTime, true);
  };
  for (let at = known.length - 1; at > 0; at--) if (touched[at] && isJoined(at)) touched[at - 1] = true;
  for (let at = 0; at < known.length; at++) {
    if (!touched[at]) continue;
    const from = at;
    while (touched[at + 1] && isJoined(at + 1)) at++;
    const last = known[at]!;
    const points = ends[at]! > starts[from]! ? slice(tail!, starts[from]!, ends[at]!) : null;
    const isAtEnd =
      last.lastStep === stored?.lastStep && starts[from] === placeOf(work, last.lastStep, last.lastTime, true);
    groups.push({ work, stored: known.slice(from, at + 1), points, known, where: isAtEnd ? 'END' : 'MIDDLE' });
  }
  return groups;
}

/** The index of the first point that is not before (or, `past` it, is after) a place in the metric's order. */
function placeOf({ tail, repeats }: SeriesWork, step: number, time: number, past = false): number {
  if (tail === null) return 0;
  const { steps, times } = tail;
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const difference = steps[middle]! - step || (repeats === 'KEEP' ? times[middle]! - time : 0);
    if (difference < 0 || (past && difference === 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function rewrite(
  context: FoldContext,
  { work, stored, points, known, where }: Group,
  payloads: ReadonlyMap<string, Buffer>,
): { segments: NewSegment[]; replaced: StoredSegment[] } {
  const { metric, attempt, repeats, removed } = work;
  const replaced: StoredSegment[] = [];
  const parts: Points[] = [];
  for (const segment of stored) {
    const payload = payloads.get(nameOfSegment(segment));
    const decoded = payload && unlessDamaged(() => decodeSegmentPoints(payload));
    if (decoded) {
      replaced.push(segment);
      parts.push(removed.length > 0 ? withoutRanges(decoded, removed) : decoded);
    } else reportDamage(context, segment);
  }
  if (points !== null) parts.push(points);
  const [series] = mergeBatches(
    parts.map((part, sequence) => ({ sequence, attempt, columns: { name: '', tag: '', repeats, ...part } })),
    repeats,
  );
  const pieces = series ? splitSeries(series, repeats, where) : [];
  const kept = known.filter((one) => !replaced.includes(one));
  const last = stored.at(-1);
  const behind = last ? kept.filter((one) => compareSegments(one, last) > 0) : [];
  const segments = pieces.map((some, at): NewSegment => {
    const begins = (one: { firstStep: number; firstTime: number }) =>
      one.firstStep === some.steps[0] && one.firstTime === some.times[0];
    const sameAs = (one: Points) => one.steps[0] === some.steps[0] && one.times[0] === some.times[0];
    // Those that begin alike are in the order of their parts: behind what was before, before what comes behind.
    const next = Math.min(...behind.filter(begins).map(({ part }) => part));
    const before = Math.max(-1, ...kept.filter(begins).map(({ part }) => part));
    const part = Number.isFinite(next)
      ? next - pieces.slice(at).filter(sameAs).length
      : before + pieces.slice(0, at + 1).filter(sameAs).length;
    const key = { metric, attempt, firstStep: some.steps[0]!, firstTime: some.times[0]!, part };
    if (context.fresh.size < FRESH_SEGMENTS) context.fresh.set(nameOfSegment(key), some);
    return segmentOf(key, some);
  });
  return { segments, replaced };
}

function segmentOf(key: SegmentKey, some: Points): NewSegment {
  const { points, entry } = encodeSegment(some);
  return {
    ...key,
    lastStep: entry.lastSteps[0]!,
    lastTime: entry.lastTimes[0]!,
    minTime: entry.minTimes[0]!,
    maxTime: entry.maxTimes[0]!,
    count: entry.counts[0]!,
    entry: encodeEntries(entry),
    points,
  };
}

export function reportDamage(context: FoldContext, { metric, attempt, firstStep, lastStep }: StoredSegment): void {
  context.damagedSegments++;
  context.log.error(
    { runId: context.runId, metric, attempt, firstStep, lastStep },
    'a segment is damaged: it was left as it is, and new points were stored beside it',
  );
}
