// A chart over time. What the line has is surveyed in its order, by entries of cells; those that lie inside one bucket
// count whole, and those that reach over an edge are looked at more closely, down to their points.
import { type Buckets, exactly, newBuckets } from '../chart/buckets.ts';
import { chooseShift, FINEST_SHIFT, SHIFT_STRIDE } from '../chart/cells.ts';
import { newTimeDrawing, type TimeDrawing } from '../chart/draw-times.ts';
import { bucketOf, type Scale } from '../chart/draw.ts';
import { byTime, pick } from '../chart/line.ts';
import { concatEntries, type Entries, entryOf } from '../chart/rollup.ts';
import type { Points } from '../columns.ts';
import { withoutRanges } from '../tail.ts';
import { cover, type ShiftedSpan } from './cover.ts';
import { KEPT_POINTS, newParts, type Placed } from './parts.ts';
import type { Reading } from './rounds.ts';
import type { Line, Series, Span } from './series.ts';

/** What reaches over an edge and stands for more points than this is looked at through finer entries. */
const DIVIDED_POINTS = 8_192;

/** With times as x; `from` and `to` are inclusive. */
export function* drawTimes(line: Line, from: number, to: number, buckets: number): Reading<Buckets> {
  const shift = chooseShift(line.first, line.last, buckets);
  const surveyed = yield* survey(
    line.spans.map((span) => ({ ...span, shift })),
    Math.max(KEPT_POINTS, buckets),
  );
  const extent = extentOf(surveyed);
  const scale: Scale = { low: Math.max(from, extent.low), high: Math.min(to, extent.high), buckets };
  if (scale.low > scale.high) return { ...newBuckets(0), exact: true };
  const drawing = newTimeDrawing(scale);
  let found = surveyed;
  for (let level = shift; found.length > 0; level -= SHIFT_STRIDE) {
    const divided = found.flatMap((one) => drawWhole(one, drawing, scale));
    const spans = divided.map(({ count, ...span }) => ({
      ...span,
      shift: count > DIVIDED_POINTS && level > FINEST_SHIFT ? level - SHIFT_STRIDE : 0,
    }));
    found = spans.length === 0 ? [] : yield* survey(spans, 0, drawing);
  }
  if (drawing.count > buckets) return drawing.finish();
  const ordered = byTime(yield* pointsIn(surveyed, scale));
  return exactly(ordered, ordered.times);
}

/** What a line has of a series: entries, and points, both in the metric's order. */
interface Surveyed {
  series: Series;
  entries: Entries | null;
  points: Points[];
}

/** With a drawing all points go there at once, and only entries are left to be looked at. */
function* survey(spans: ShiftedSpan[], keptPoints: number, drawing?: TimeDrawing): Reading<Surveyed[]> {
  const parts = newParts(keptPoints, entryOf, { all: true });
  yield* cover(spans, (series, part) => {
    if (drawing !== undefined && 'points' in part) drawing.addPoints(part.points);
    else parts.take(series, part);
  });
  return [...Map.groupBy(parts.inOrder(), ({ series }) => series)].map(([series, placed]) => ({
    series,
    entries: entriesIn(placed),
    points: placed.flatMap(({ part }) => ('points' in part ? [part.points] : [])),
  }));
}

function entriesIn(placed: readonly Placed[]): Entries | null {
  const entries = placed.flatMap(({ part }) => ('entries' in part ? [part.entries] : []));
  return entries.length === 0 ? null : concatEntries(entries);
}

function extentOf(surveyed: readonly Surveyed[]): { low: number; high: number } {
  let low = Infinity;
  let high = -Infinity;
  for (const { entries, points } of surveyed) {
    const columns = points.map(({ times }) => [times, times] as const);
    if (entries !== null) columns.push([entries.minTimes, entries.maxTimes]);
    for (const [earliest, latest] of columns) {
      for (const time of earliest) if (time < low) low = time;
      for (const time of latest) if (time > high) high = time;
    }
  }
  return { low, high };
}

/** Draws what lies inside one bucket, and says what does not. */
function drawWhole({ series, entries, points }: Surveyed, drawing: TimeDrawing, scale: Scale): DividedSpan[] {
  const divided: DividedSpan[] = [];
  if (entries !== null) {
    const isWhole = wholeIn(entries, scale);
    for (const [start, end] of groupsOf(entries)) {
      const places = Array.from({ length: end - start }, (_, at) => start + at);
      const inRange = places.filter((at) => overlaps(entries, at, scale));
      if (inRange.every(isWhole)) for (const at of inRange) drawing.addEntry(entries, at);
      else {
        const count = Math.max(...places.map((at) => entries.counts[at]!));
        divided.push({ series, from: entries.firstSteps[start]!, to: entries.lastSteps[end - 1]!, count });
      }
    }
  }
  for (const one of points) drawing.addPoints(withoutSpans(one, divided));
  return divided;
}

interface DividedSpan extends Span {
  /** Of the largest entry there. */
  count: number;
}

/** Entries that share a step can only be told apart by their points: from each boundary to the next. */
function groupsOf({ firstSteps, lastSteps }: Entries): [start: number, end: number][] {
  const groups: [number, number][] = [];
  for (let at = 0; at < firstSteps.length; at++) {
    const group = groups.at(-1);
    if (group && lastSteps[group[1] - 1]! >= firstSteps[at]!) group[1] = at + 1;
    else groups.push([at, at + 1]);
  }
  return groups;
}

function overlaps({ minTimes, maxTimes }: Entries, at: number, { low, high }: Scale): boolean {
  return minTimes[at]! <= high && maxTimes[at]! >= low;
}

/**
 * Whether an entry may be drawn as it is: inside the range, in one bucket, and its times ordered; or else another entry
 * of that bucket has an earlier time than it and one a later, so that its first and last value are not asked for.
 */
function wholeIn(entries: Entries, scale: Scale): (at: number) => boolean {
  const { minTimes, maxTimes, timesOrdered } = entries;
  const bucketAt = (at: number) => {
    if (minTimes[at]! < scale.low || maxTimes[at]! > scale.high) return -1;
    const bucket = bucketOf(minTimes[at]!, scale);
    return bucket === bucketOf(maxTimes[at]!, scale) ? bucket : -1;
  };
  if (timesOrdered.every((one) => one === 1)) return (at) => bucketAt(at) !== -1;
  const earliest = new Map<number, number>();
  const latest = new Map<number, number>();
  for (let at = 0; at < minTimes.length; at++) {
    const bucket = bucketAt(at);
    if (bucket === -1) continue;
    earliest.set(bucket, Math.min(earliest.get(bucket) ?? Infinity, minTimes[at]!));
    latest.set(bucket, Math.max(latest.get(bucket) ?? -Infinity, maxTimes[at]!));
  }
  return (at) => {
    const bucket = bucketAt(at);
    if (bucket === -1 || timesOrdered[at] === 1) return bucket !== -1;
    return minTimes[at]! > earliest.get(bucket)! && maxTimes[at]! < latest.get(bucket)!;
  };
}

/** All points of the range: few. */
function* pointsIn(surveyed: readonly Surveyed[], scale: Scale): Reading<Points> {
  const parts = newParts(Infinity, entryOf);
  const spans: ShiftedSpan[] = [];
  for (const { series, entries, points } of surveyed) {
    const mine: Span[] = [];
    for (const [start, end] of entries === null ? [] : groupsOf(entries)) {
      const inRange = Array.from({ length: end - start }, (_, at) => overlaps(entries!, start + at, scale));
      if (inRange.includes(true))
        mine.push({ series, from: entries!.firstSteps[start]!, to: entries!.lastSteps[end - 1]! });
    }
    spans.push(...mine.map((span) => ({ ...span, shift: 0 })));
    for (const one of points) takeCut(series, withoutSpans(one, mine));
  }
  function takeCut(series: Series, points: Points) {
    const { times } = points;
    const inRange = Array.from(times.keys()).filter((at) => times[at]! >= scale.low && times[at]! <= scale.high);
    if (inRange.length > 0)
      parts.take(series, { points: inRange.length === times.length ? points : pick(points, inRange) });
  }
  yield* cover(spans, (series, part) => {
    if ('points' in part) takeCut(series, part.points);
  });
  return parts.points()!;
}

function withoutSpans(points: Points, spans: readonly Span[]): Points {
  const { steps } = points;
  const there = spans.filter(({ from, to }) => from <= steps.at(-1)! && to >= steps[0]!);
  return there.length === 0 ? points : withoutRanges(points, there);
}
