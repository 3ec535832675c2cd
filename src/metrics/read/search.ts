// The next points of some spans behind a place, in any of the orders. By step they are read in portions from there on; by
// time all segments may have some: they are looked at from the earliest on, until no other can have an earlier one.
import { SEGMENT_POINTS } from '../codec/segment.ts';
import { concatenate, pick, slice } from '../chart/line.ts';
import type { Points } from '../columns.ts';
import { type Reading, readSegments } from './rounds.ts';
import { compareSegments, type Portion, type SegmentRow, type SegmentsNeed } from './stored.ts';
import { countLateBefore, interleave, pointsOfSegment, type Span, storedPart, surviving, tailOf } from './series.ts';

/** Step and time, or time and step, as the order goes. */
export type Key = readonly [major: number, minor: number];

/** Behind so many of the points that have this key. */
export interface Place {
  key: Key;
  taken: number;
}

export interface Search {
  place: Place | null;
  byStep: boolean;
  /** −1: backwards. */
  sign: 1 | -1;
  /** So many points behind the place are enough. */
  behind: number;
}

/**
 * Counts points from the place's key on, and says how many of them are enough: those behind the place, and of those of its
 * key as many as there are, but no more than it says were taken. (A cursor may say anything.)
 */
function newCounter({ place, behind }: Search) {
  let atPlace = 0;
  const counter = {
    count: 0,
    add(points: Points, search: Search): void {
      const { length } = points.steps;
      counter.count += length;
      if (place === null) return;
      for (let at = 0; at < length; at++)
        if (compareKeys(keyOf(points, at, search), place.key, search) === 0) atPlace++;
    },
    enough: () => behind + Math.min(place?.taken ?? 0, atPlace),
  };
  return counter;
}

export function keyOf({ steps, times }: Points, at: number, { byStep }: Search): Key {
  return byStep ? [steps[at]!, times[at]!] : [times[at]!, steps[at]!];
}

export function compareKeys(a: Key, b: Key, { sign }: Search): number {
  return sign * (a[0] - b[0] || a[1] - b[1]);
}

/** The points that are not before the place's key, in their order. */
function fromPlace(points: Points, search: Search): Points {
  const { place } = search;
  if (place === null) return points;
  const indices = Array.from(points.steps.keys()).filter(
    (at) => compareKeys(keyOf(points, at, search), place.key, search) >= 0,
  );
  return indices.length === points.steps.length ? points : pick(points, indices);
}

/** From the place's key on, in the order asked for, as many as are enough. */
export function* searchBySteps(spans: readonly Span[], search: Search): Reading<Points> {
  const { place, sign, behind } = search;
  const found: Points[] = [];
  const counter = newCounter(search);
  const take = (points: Points) => {
    const some = fromPlace(points, search);
    if (some.steps.length > 0) found.push(some);
    counter.add(some, search);
    return counter.count < counter.enough();
  };
  for (const span of sign === 1 ? spans : spans.toReversed()) {
    const narrow = { ...span };
    if (place !== null && sign === 1) narrow.from = Math.max(span.from, place.key[0]);
    if (place !== null && sign === -1) narrow.to = Math.min(span.to, place.key[0]);
    if (narrow.from > narrow.to) continue;
    yield* sign === 1 ? walk(narrow, behind, take) : walkBack(narrow, behind, take);
    if (counter.count >= counter.enough()) break;
  }
  const all = concatenate(sign === 1 ? found : found.toReversed());
  const { count } = counter;
  if (sign === 1) return slice(all, 0, counter.enough());
  const from = Math.max(0, count - counter.enough());
  return pick(
    all,
    Array.from({ length: count - from }, (_, at) => count - 1 - at),
  );
}

/** Answers whether it wants more. */
type Take = (points: Points) => boolean;

const segmentsFor = (points: number) => Math.ceil(points / SEGMENT_POINTS) + 1;

function* walk(span: Span, most: number, take: Take): Reading<void> {
  const { series } = span;
  let late = tailOf(span, 'LATE');
  const part = storedPart(span);
  for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
    const need: SegmentsNeed = { series, ...part, order: 'ASCENDING', after, limit: segmentsFor(most) };
    const [portion]: Portion[] = yield* readSegments([need]);
    for (const segment of portion!.segments) {
      after = segment;
      const stored = surviving(span, pointsOfSegment(series, segment));
      const { length } = stored.steps;
      if (length === 0) continue;
      // What is as far as the last stored point waits: the next segment may go on with the same step and time.
      const ready = countLateBefore(late, stored.steps[length - 1]!, stored.times[length - 1]!, series.repeats);
      if (!take(interleave(stored, slice(late, 0, ready), series.repeats))) return;
      late = slice(late, ready, late.steps.length);
    }
    more = portion!.more;
  }
  if (take(late)) take(tailOf(span, 'BEHIND'));
}

function* walkBack(span: Span, most: number, take: Take): Reading<void> {
  const { series } = span;
  if (!take(tailOf(span, 'BEHIND'))) return;
  let late = tailOf(span, 'LATE');
  const part = storedPart(span);
  for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
    const need: SegmentsNeed = { series, ...part, order: 'DESCENDING', after, limit: segmentsFor(most) };
    const [portion]: Portion[] = yield* readSegments([need]);
    for (const segment of portion!.segments) {
      after = segment;
      const stored = surviving(span, pointsOfSegment(series, segment));
      if (stored.steps.length === 0) continue;
      const rest = countLateBefore(late, stored.steps[0]!, stored.times[0]!, series.repeats);
      if (!take(interleave(stored, slice(late, rest, late.steps.length), series.repeats))) return;
      late = slice(late, 0, rest);
    }
    more = portion!.more;
  }
  take(late);
}

/** From the place's key on, in the order asked for, as many as are enough. */
export function* searchByTimes(spans: readonly Span[], search: Search): Reading<Points> {
  const best = newBest(search);
  for (const span of spans) {
    const { series } = span;
    for (const which of ['LATE', 'BEHIND'] as const) best.take(null, tailOf(span, which));
    const part = storedPart(span);
    for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
      const [portion]: Portion[] = yield* readSegments([
        {
          series,
          ...part,
          order: search.sign === 1 ? 'EARLIEST' : 'LATEST',
          after,
          limit: segmentsFor(search.behind),
          time: search.place?.key[0] ?? null,
        },
      ]);
      more = portion!.more;
      for (const segment of portion!.segments) {
        after = segment;
        if (best.isBeyond(search.sign === 1 ? segment.minTime : segment.maxTime)) {
          more = false;
          break;
        }
        best.take(segment, surviving(span, pointsOfSegment(series, segment)));
      }
    }
  }
  return best.points();
}

/** Where points come from; the tail comes behind all segments. */
type Source = SegmentRow | null;

interface Candidates {
  points: Points;
  /** Of each, in the list of sources, and its place there: what tells points of one time and step apart. */
  sources: Float64Array;
  places: Float64Array;
}

/** The first of all points that it is given, as many as are enough, and not many more in memory. */
function newBest(search: Search) {
  const { sign } = search;
  const counter = newCounter(search);
  const sources: Source[] = [];
  let kept: Candidates[] = [];
  let count = 0;
  let worst: number | null = null;
  const settle = (): Points => {
    const points = concatenate(kept.map((one) => one.points));
    const from = join(kept.map((one) => one.sources));
    const places = join(kept.map((one) => one.places));
    const { steps, times } = points;
    const compare = (a: number, b: number) =>
      sign *
      (times[a]! - times[b]! ||
        steps[a]! - steps[b]! ||
        compareSources(sources[from[a]!]!, sources[from[b]!]!) ||
        places[a]! - places[b]!);
    const order = Array.from(steps.keys()).toSorted(compare).slice(0, counter.enough());
    const first = {
      points: pick(points, order),
      sources: Float64Array.from(order, (at) => from[at]!),
      places: Float64Array.from(order, (at) => places[at]!),
    };
    kept = [first];
    count = order.length;
    worst = count === counter.enough() ? first.points.times[count - 1]! : null;
    return first.points;
  };
  return {
    take(segment: SegmentRow | null, points: Points): void {
      const some = fromPlace(points, search);
      const { length } = some.steps;
      if (length === 0) return;
      sources.push(segment && { ...segment, points: null });
      kept.push({
        points: some,
        sources: new Float64Array(length).fill(sources.length - 1),
        places: Float64Array.from(some.steps.keys()),
      });
      count += length;
      counter.add(some, search);
      const enough = counter.enough();
      if (count >= enough + (worst === null ? 0 : enough + SEGMENT_POINTS)) settle();
    },
    /** Whether nothing from this time on can be among them. */
    isBeyond: (time: number): boolean => worst !== null && sign * (time - worst) > 0,
    points: settle,
  };
}

function compareSources(one: Source, other: Source): number {
  if (one === null || other === null) return one === other ? 0 : one === null ? 1 : -1;
  return compareSegments(one, other);
}

function join(columns: readonly Float64Array[]): Float64Array {
  const joined = new Float64Array(columns.reduce((length, column) => length + column.length, 0));
  let at = 0;
  for (const column of columns) {
    joined.set(column, at);
    at += column.length;
  }
  return joined;
}
