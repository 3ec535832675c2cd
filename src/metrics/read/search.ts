// The next points of some spans behind a place, in any of the orders. By step they are read in portions from there on; by
// time all segments may have some: they are looked at from the earliest on, until no other can have an earlier one.
import { SEGMENT_POINTS } from '../codec/segment.ts';
import { concatenate, countBelow, pick, slice } from '../chart/line.ts';
import type { Points } from '../columns.ts';
import { bytesOf, compareKeys, type Found, isFull, keyOf, newPage, type Page, type Search } from './page.ts';
import { type Reading, readSegments } from './rounds.ts';
import { compareSegments, type Portion, type SegmentRow, type SegmentsNeed } from './stored.ts';
import { countLateBefore, interleave, pointsOfSegment, type Span, storedPart, surviving, tailOf } from './series.ts';

export function* searchBySteps(spans: readonly Span[], search: Search): Reading<Found> {
  const { place, sign, most } = search;
  const page = newPage(search);
  let wantsMore = true;
  const take = (points: Points) => (wantsMore = page.take(points));
  for (const span of sign === 1 ? spans : spans.toReversed()) {
    const narrow = { ...span };
    if (place !== null && sign === 1) narrow.from = Math.max(span.from, place.key[0]);
    if (place !== null && sign === -1) narrow.to = Math.min(span.to, place.key[0]);
    if (narrow.from > narrow.to) continue;
    yield* sign === 1 ? walk(narrow, most, take) : walkBack(narrow, most, take);
    if (!wantsMore) break;
  }
  return page.found();
}

/** Answers whether it wants more. */
type Take = (points: Points) => boolean;

const segmentsFor = (points: number) => Math.ceil(points / SEGMENT_POINTS) + 1;

/** With a time, segments that end before it (backwards: begin behind it) are left out. */
function* walk(span: Span, most: number, take: Take, time?: number): Reading<void> {
  const { series } = span;
  let late = tailOf(span, 'LATE');
  const part = storedPart(span);
  for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
    const need: SegmentsNeed = { series, ...part, order: 'ASCENDING', after, limit: segmentsFor(most), time };
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

function* walkBack(span: Span, most: number, take: Take, time?: number): Reading<void> {
  const { series } = span;
  if (!take(tailOf(span, 'BEHIND'))) return;
  let late = tailOf(span, 'LATE');
  const part = storedPart(span);
  for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
    const need: SegmentsNeed = { series, ...part, order: 'DESCENDING', after, limit: segmentsFor(most), time };
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

export function* searchByTimes(spans: readonly Span[], search: Search): Reading<Found> {
  const { sign, most, place } = search;
  const page = newPage(search);
  for (const span of spans) if (!(yield* takeAtPlace(span, search, page))) return page.found();
  const best = newBest(search, page);
  for (const span of spans) {
    const { series } = span;
    for (const which of ['LATE', 'BEHIND'] as const) best.take(null, tailOf(span, which));
    const part = storedPart(span);
    for (let after: SegmentRow | null = null, more = part !== null; more && part !== null;) {
      const order = sign === 1 ? 'EARLIEST' : 'LATEST';
      const need: SegmentsNeed = { series, ...part, order, after, limit: segmentsFor(most), time: place?.key[0] };
      const [portion]: Portion[] = yield* readSegments([need]);
      more = portion!.more;
      for (const segment of portion!.segments) {
        after = segment;
        if (best.isBeyond(sign === 1 ? segment.minTime : segment.maxTime)) {
          more = false;
          break;
        }
        best.take(segment, surviving(span, pointsOfSegment(series, segment)));
      }
    }
  }
  page.take(best.points());
  return page.found();
}

/**
 * What there is of the place's own key, as kept repeats may have it: in the metric's order, so that those that were given
 * already are passed over without being kept. Answers whether the page wants more.
 */
function* takeAtPlace(span: Span, { place, sign, most }: Search, page: Page): Reading<boolean> {
  if (place === null || span.series.repeats === 'REPLACE') return true;
  const [time, step] = place.key;
  if (step < span.from || step > span.to) return true;
  let wantsMore = true;
  const take = (points: Points) => {
    const { times } = points;
    wantsMore = page.take(slice(points, countBelow(times, time), countBelow(times, time + 1)));
    const isPast = times.length > 0 && (sign === 1 ? times.at(-1)! > time : times[0]! < time);
    return wantsMore && !isPast;
  };
  yield* (sign === 1 ? walk : walkBack)({ ...span, from: step, to: step }, most, take, time);
  return wantsMore;
}

/** Where points come from; the tail comes behind all segments. */
type Source = SegmentRow | null;

interface Candidates {
  points: Points;
  /** Of each, in the list of sources, and its place there: what tells points of one time and step apart. */
  sources: Float64Array;
  places: Float64Array;
}

/** The first of all points behind the place that it is given, as many as the page may want, and not many more in memory. */
function newBest(search: Search, page: Page) {
  const { sign, most, room } = search;
  const sources: Source[] = [];
  let kept: Candidates[] = [];
  let count = 0;
  let bytes = 0;
  let worst: number | null = null;
  const settle = (): Points => {
    const points = concatenate(kept.map((one) => one.points));
    const from = join(kept.map((one) => one.sources));
    const places = join(kept.map((one) => one.places));
    const { steps, times, metadata } = points;
    const compare = (a: number, b: number) =>
      sign *
      (times[a]! - times[b]! ||
        steps[a]! - steps[b]! ||
        compareSources(sources[from[a]!]!, sources[from[b]!]!) ||
        places[a]! - places[b]!);
    const sorted = Array.from(steps.keys()).toSorted(compare);
    worst = null;
    bytes = 0;
    for (count = 0; count < sorted.length && worst === null; count++) {
      const at = sorted[count]!;
      bytes += bytesOf(metadata?.[at]);
      // The first that the page has no place for says that there is more.
      if (isFull(page.count + count, page.bytes + bytes, search)) worst = times[at]!;
    }
    const order = sorted.slice(0, count);
    const first = {
      points: pick(points, order),
      sources: Float64Array.from(order, (at) => from[at]!),
      places: Float64Array.from(order, (at) => places[at]!),
    };
    kept = [first];
    return first.points;
  };
  return {
    take(segment: SegmentRow | null, points: Points): void {
      const some = behind(points, search);
      const { length } = some.steps;
      if (length === 0) return;
      sources.push(segment && { ...segment, points: null });
      kept.push({
        points: some,
        sources: new Float64Array(length).fill(sources.length - 1),
        places: Float64Array.from(some.steps.keys()),
      });
      count += length;
      if (some.metadata !== null) for (const one of some.metadata) bytes += bytesOf(one);
      const spare = worst === null ? 0 : 1;
      if (count > most + spare * (most + SEGMENT_POINTS) || bytes > room * (1 + spare)) settle();
    },
    /** Whether nothing from this time on can be among them. */
    isBeyond: (time: number): boolean => worst !== null && sign * (time - worst) > 0,
    /** Ascending. */
    points(): Points {
      const points = settle();
      return sign === 1 ? points : pick(points, Array.from(points.steps.keys()).toReversed());
    },
  };
}

function behind(points: Points, search: Search): Points {
  const { place } = search;
  if (place === null) return points;
  const indices = Array.from(points.steps.keys()).filter(
    (at) => compareKeys(keyOf(points, at, search), place.key, search) > 0,
  );
  return indices.length === points.steps.length ? points : pick(points, indices);
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
