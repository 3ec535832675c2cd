// One metric in one attempt as a read meets it: what is stored and what the tail adds to it, replaces and removes. Which
// part of which attempt is the run's line is settled here.
import { RuntideError } from '../../errors.ts';
import { concatenate, countBelow, pick, slice, sortedIndices } from '../chart/line.ts';
import { decodeEntries } from '../codec/rollups.ts';
import { decodeSegmentPoints } from '../codec/segment.ts';
import type { Points, Repeats } from '../columns.ts';
import { type StepRange, withoutRanges } from '../tail.ts';
import { type Reading, readSegments } from './rounds.ts';
import { type SegmentRow, type SegmentsNeed } from './stored.ts';

export interface StoredSeries {
  /** The metric's number in its run. */
  metric: number;
  count: number;
  firstStep: number;
  lastStep: number;
  topShift: number;
  entry: Buffer;
  lineCut: number | null;
  lineEntry: Buffer | null;
}

/** What came with the statement that opened the read, so that nothing more has to be asked for it. */
export interface Near {
  /** Of the pages; 0: segments. */
  shift: number;
  /** Steps: all pages that overlap these are here. */
  from: number;
  to: number;
  /** All segments that overlap these are here. */
  ends: readonly StepRange[];
  pages: { page: number; entries: Buffer }[];
  segments: SegmentRow[];
}

export interface Series {
  runId: string;
  name: string;
  tag: string;
  repeats: Repeats;
  attempt: number;
  /** Null: all of it is in the tail. */
  stored: StoredSeries | null;
  near: Near | null;
  /** In the metric's order. */
  tail: Points;
  /** So many of these, from the first on, do not come behind all that is stored: they may replace some of it. */
  lateCount: number;
  /** Of what is stored, ascending. */
  removed: readonly StepRange[];
}

/** Steps of a series, inclusive; infinite: to its end. */
export interface Span {
  series: Series;
  from: number;
  to: number;
}

const NO_POINTS: Points = {
  steps: new Float64Array(0),
  times: new Float64Array(0),
  values: new Float64Array(0),
  metadata: null,
};

export function newSeries(
  about: Pick<Series, 'runId' | 'name' | 'tag' | 'repeats' | 'attempt' | 'stored' | 'near'>,
  tail: Points | undefined,
  removed: readonly StepRange[],
): Series {
  const series: Series = { ...about, tail: tail ?? NO_POINTS, lateCount: 0, removed };
  series.lateCount = countLate(series);
  return series;
}

function countLate(series: Series): number {
  const { stored, tail, repeats } = series;
  if (stored === null || tail.steps.length === 0) return 0;
  if (repeats === 'REPLACE' || tail.steps[0]! > stored.lastStep) return countBelow(tail.steps, stored.lastStep + 1);
  const lastTime = lastTimeOf(stored);
  return countBefore(tail, stored.lastStep, lastTime + 1);
}

/** Unknown is late enough: then nothing of that step counts as behind it. */
function lastTimeOf({ entry }: StoredSeries): number {
  try {
    return decodeEntries(entry).lastTimes[0]!;
  } catch (error) {
    if (error instanceof RuntideError) return Infinity;
    throw error;
  }
}

/** How many points of a metric that keeps repeats come before that step and time. */
function countBefore({ steps, times }: Points, step: number, time: number): number {
  const start = countBelow(steps, step);
  const end = start + countBelow(steps.subarray(start), step + 1);
  return start + countBelow(times.subarray(start, end), time);
}

export function entryOfSeries(series: Series, bytes: Uint8Array) {
  return decoding(series, () => decodeEntries(bytes));
}

export function pointsOfSegment(series: Series, { points }: SegmentRow): Points {
  return decoding(series, () => decodeSegmentPoints(points!));
}

function decoding<Decoded>({ runId, name, tag, attempt }: Series, decode: () => Decoded): Decoded {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof RuntideError)) throw error;
    const metric = tag === '' ? name : `${name}[${tag}]`;
    throw new RuntideError('INTERNAL', `run ${runId}, metric ${metric}, attempt ${attempt}: ${error.message}`);
  }
}

/** The steps of a span at which something is stored; null where there are none. */
export function storedPart({ series: { stored }, from, to }: Span): { from: number; to: number } | null {
  if (stored === null || from > stored.lastStep || to < stored.firstStep) return null;
  return { from: Math.max(from, stored.firstStep), to: Math.min(to, stored.lastStep) };
}

/** Whether the tail changes anything stored at these steps. */
export function isTouched({ tail, lateCount, removed }: Series, from: number, to: number): boolean {
  if (removed.some((range) => range.from <= to && range.to >= from)) return true;
  if (lateCount === 0) return false;
  const at = countBelow(tail.steps, from);
  return at < lateCount && tail.steps[at]! <= to;
}

/** Of a span, the points of the tail that are late, or those that come behind everything stored. */
export function tailOf({ series, from, to }: Span, which: 'LATE' | 'BEHIND'): Points {
  const { tail, lateCount } = series;
  const start = Math.max(countBelow(tail.steps, from), which === 'LATE' ? 0 : lateCount);
  const end = Math.min(countBelow(tail.steps, to + 1), which === 'LATE' ? lateCount : tail.steps.length);
  return start < end ? slice(tail, start, end) : NO_POINTS;
}

/** Stored points at the steps of a span, less those that the tail has removed or written again. */
export function surviving({ series, from, to }: Span, stored: Points): Points {
  const { steps } = stored;
  const within = slice(stored, countBelow(steps, from), countBelow(steps, to + 1));
  const ranges = series.removed.filter((range) => range.from <= steps.at(-1)! && range.to >= steps[0]!);
  return withoutWritten(series, ranges.length === 0 ? within : withoutRanges(within, ranges));
}

function withoutWritten({ tail, lateCount, repeats }: Series, stored: Points): Points {
  const { steps, times, values } = stored;
  if (lateCount === 0 || steps.length === 0) return stored;
  const start = countBelow(tail.steps, steps[0]!);
  const end = Math.min(lateCount, countBelow(tail.steps, steps.at(-1)! + 1));
  if (start >= end) return stored;
  const keyOf = (points: Points, at: number): string | number => {
    if (repeats === 'REPLACE') return points.steps[at]!;
    const value = Object.is(points.values[at], -0) ? '-0' : points.values[at];
    return `${points.steps[at]},${points.times[at]},${value}`;
  };
  const written = new Set<string | number>();
  for (let at = start; at < end; at++) written.add(keyOf(tail, at));
  const kept = Array.from(steps.keys()).filter(
    (at) => !written.has(keyOf({ steps, times, values, metadata: null }, at)),
  );
  return kept.length === steps.length ? stored : pick(stored, kept);
}

/**
 * Stored points and late ones of the same series as one, in the metric's order: of one step (and time, where repeats are
 * kept) what is stored comes first.
 */
export function interleave(stored: Points, late: Points, repeats: Repeats): Points {
  if (late.steps.length === 0) return stored;
  if (stored.steps.length === 0) return late;
  const both = concatenate([stored, late]);
  return pick(both, sortedIndices(both.steps, repeats === 'KEEP' ? both.times : null));
}

/** How many of the late points come before the last (or the first) of what is stored, or before a step and time. */
export function countLateBefore(late: Points, step: number, time: number, repeats: Repeats): number {
  return repeats === 'KEEP' ? countBefore(late, step, time) : countBelow(late.steps, step);
}

/**
 * The spans of the run's line, ascending: each attempt up to, not including, the smallest step of any later one. With its
 * first and last step; null where there is no point.
 */
export function* lineOf(attempts: readonly Series[]): Reading<Line | null> {
  const spans: Span[] = [];
  let cut = Infinity;
  let last = -Infinity;
  for (const series of attempts.toSorted((a, b) => b.attempt - a.attempt)) {
    const first = yield* firstStepOf(series);
    if (first === null) continue;
    if (spans.length === 0) last = yield* lastStepOf(series);
    if (first < cut) spans.unshift({ series, from: -Infinity, to: cut - 1 });
    cut = Math.min(cut, first);
  }
  return spans.length === 0 ? null : { spans, first: cut, last };
}

export interface Line {
  spans: Span[];
  first: number;
  last: number;
}

/** Null: there is no point left. */
function* firstStepOf(series: Series): Reading<number | null> {
  const { stored, tail, removed } = series;
  const inTail = tail.steps.length > 0 ? tail.steps[0]! : null;
  if (stored === null || (inTail !== null && inTail <= stored.firstStep)) return inTail;
  for (let from = stored.firstStep; ;) {
    const covering = removed.find((range) => range.from <= from && range.to >= from);
    if (covering === undefined && from === stored.firstStep) return from;
    if (covering !== undefined) from = covering.to + 1;
    if (from > stored.lastStep || (inTail !== null && inTail <= from)) return inTail;
    const segment = yield* firstSegment({ series, from, to: stored.lastStep, order: 'ASCENDING' });
    if (segment === null) return inTail;
    const { steps } = surviving({ series, from, to: Infinity }, pointsOfSegment(series, segment));
    if (steps.length > 0) return inTail === null ? steps[0]! : Math.min(steps[0]!, inTail);
    from = Math.max(from, segment.lastStep) + 1;
  }
}

/** Of a series that has a point. */
function* lastStepOf(series: Series): Reading<number> {
  const { stored, tail, removed } = series;
  const inTail = tail.steps.at(-1) ?? -Infinity;
  if (stored === null || inTail >= stored.lastStep) return inTail;
  for (let to = stored.lastStep; ;) {
    const covering = removed.find((range) => range.from <= to && range.to >= to);
    if (covering === undefined && to === stored.lastStep) return to;
    if (covering !== undefined) to = covering.from - 1;
    if (to < stored.firstStep || inTail >= to) return inTail;
    const segment = yield* firstSegment({ series, from: stored.firstStep, to, order: 'DESCENDING' });
    if (segment === null) return inTail;
    const { steps } = surviving({ series, from: -Infinity, to }, pointsOfSegment(series, segment));
    if (steps.length > 0) return Math.max(steps.at(-1)!, inTail);
    to = Math.min(to, segment.firstStep) - 1;
  }
}

function* firstSegment(need: Omit<SegmentsNeed, 'after' | 'limit'>): Reading<SegmentRow | null> {
  for (;;) {
    const [portion] = yield* readSegments([{ ...need, after: null, limit: 1 }]);
    const segment = portion!.segments[0];
    if (segment !== undefined || !portion!.more) return segment ?? null;
  }
}
