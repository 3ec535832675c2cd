// What there is of some spans of series, from wherever it costs least: entries of whole cells from pages of rollups where
// the tail leaves them alone, the ends and what the tail touches from finer pages, at last from the points of segments.
// Each point is in exactly one part.
import { cellOf, FINEST_SHIFT, PAGE_CELLS_SHIFT, pageOf, SHIFT_STRIDE } from '../chart/cells.ts';
import type { Drawn } from '../chart/draw.ts';
import { slice } from '../chart/line.ts';
import { type Entries, sliceEntries } from '../chart/rollup.ts';
import { SEGMENT_POINTS } from '../codec/segment.ts';
import type { Points } from '../columns.ts';
import { entriesOfPage } from './pages.ts';
import { type Reading, readPages, readSegments } from './rounds.ts';
import { type PageRow, type SegmentRow } from './stored.ts';
import {
  countLateBefore,
  interleave,
  isTouched,
  pointsOfSegment,
  type Series,
  type Span,
  storedPart,
  surviving,
  tailOf,
} from './series.ts';
import { SHORT_SERIES } from './snapshot.ts';

/** A cell of more points than this is not read as points as long as there are finer ones. */
const CELL_POINTS = 8_192;
const ALL_SEGMENTS = 2 ** 31 - 1;

/** A part of the series, in the metric's order; parts come in any order, but those of one step in the metric's. */
export type Take = (series: Series, part: Drawn) => void;

/** Entries are of cells of 2^shift steps or finer, and not of a cell that a span has a part of; 0: points alone. */
export interface ShiftedSpan extends Span {
  shift: number;
}

/** Of a series no step may be in two of the spans. */
export function* cover(spans: readonly ShiftedSpan[], take: Take): Reading<void> {
  let open: ShiftedSpan[] = [];
  const bottom: Span[] = [];
  for (const span of spans) {
    const { series, from } = span;
    const { stored } = series;
    if (stored === null || storedPart(span) === null) takePoints(take, series, tailOf(span, 'LATE'));
    else if (levelOf(span) === 0) bottom.push(span);
    else {
      takePoints(take, series, tailOf({ series, from, to: stored.firstStep - 1 }, 'LATE'));
      open.push({ ...span, shift: levelOf(span) });
    }
  }
  while (open.length > 0) {
    const needs = open.map(({ series, shift, ...span }) => {
      const { from, to } = storedPart({ series, ...span })!;
      return { series, shift, from: pageOf(from, shift), to: pageOf(to, shift) };
    });
    const found = yield* readPages(needs);
    open = open.flatMap((span, at) => {
      const { finer, points } = takePages(span, found[at]!, take);
      bottom.push(...points);
      return finer;
    });
  }
  yield* sweep(joined(bottom), take);
  for (const span of spans) takePoints(take, span.series, tailOf(span, 'BEHIND'));
}

function levelOf({ series: { stored, near }, shift }: ShiftedSpan): number {
  if (near !== null && near.shift <= shift) return near.shift;
  return stored!.count <= SHORT_SERIES ? 0 : Math.min(shift, stored!.topShift);
}

function takePoints(take: Take, series: Series, points: Points): void {
  if (points.steps.length > 0) take(series, { points });
}

interface Rest {
  finer: ShiftedSpan[];
  points: Span[];
}

/** What is on no page is left to segments. */
function takePages(span: ShiftedSpan, pages: readonly PageRow[], take: Take): Rest {
  const { series, shift } = span;
  const inner = storedPart(span)!;
  const rest: Rest = { finer: [], points: [] };
  const size = 2 ** (shift + PAGE_CELLS_SHIFT);
  let at = inner.from;
  for (const row of pages) {
    const entries = entriesOfPage(series, shift, row);
    if (entries === null) continue;
    const from = Math.max(inner.from, row.page * size);
    const to = Math.min(inner.to, (row.page + 1) * size - 1);
    if (from > at) rest.points.push({ series, from: at, to: from - 1 });
    takePage(span, { series, from, to }, entries, take, rest);
    at = to + 1;
  }
  if (at <= inner.to) rest.points.push({ series, from: at, to: inner.to });
  return rest;
}

/** `part` is the page's part of the span. */
function takePage(span: ShiftedSpan, part: Span, entries: Entries, take: Take, rest: Rest): void {
  const { series, shift } = span;
  const { firstSteps, counts } = entries;
  const size = 2 ** shift;
  const whole: [start: number, end: number][] = [];
  const divided: (Span & { count: number })[] = [];
  // As a rule the tail changes nothing here, and all of the page is drawn at once.
  const mayTouch = isTouched(series, part.from, part.to);
  let total = 0;
  let before = -Infinity;
  for (let i = 0; i < counts.length; i++) {
    const from = cellOf(firstSteps[i]!, shift) * size;
    const to = from + size - 1;
    if (to < part.from || from > part.to) continue;
    const count = counts[i]!;
    total += count;
    if (from >= span.from && to <= span.to && !(mayTouch && isTouched(series, from, to))) {
      const run = whole.at(-1);
      // What the tail has between two cells comes between them.
      if (run?.[1] === i && !(mayTouch && isTouched(series, before, from - 1))) run[1]++;
      else whole.push([i, i + 1]);
      before = to + 1;
    } else divided.push({ series, from: Math.max(from, part.from), to: Math.min(to, part.to), count });
  }
  if (mayTouch) divided.push(...newCells(part, entries, shift));
  // With so many pieces all that is on the page costs no more.
  if (divided.length > 1 && divided.length * SEGMENT_POINTS > total) {
    rest.points.push(part);
    return;
  }
  for (const [start, end] of whole) take(series, { entries: sliceEntries(entries, start, end) });
  for (const { count, ...one } of divided) {
    if (count > CELL_POINTS && shift > FINEST_SHIFT) rest.finer.push({ ...one, shift: shift - SHIFT_STRIDE });
    else rest.points.push(one);
  }
}

/** Cells in which the tail alone has something: the segments will tell that they have not. */
function newCells(part: Span, { firstSteps }: Entries, shift: number): (Span & { count: number })[] {
  const { steps } = tailOf(part, 'LATE');
  const size = 2 ** shift;
  const known = new Set(Array.from(firstSteps, (step) => cellOf(step, shift)));
  const cells = new Set(Array.from(steps, (step) => cellOf(step, shift)));
  return [...cells.difference(known)].map((cell) => ({
    series: part.series,
    from: Math.max(cell * size, part.from),
    to: Math.min(cell * size + size - 1, part.to),
    count: 0,
  }));
}

/** Spans that follow on one another as one. */
function joined(spans: readonly Span[]): Span[] {
  const all: Span[] = [];
  for (const [, mine] of Map.groupBy(spans, ({ series }) => series)) {
    for (const span of mine.toSorted((a, b) => a.from - b.from)) {
      const before = all.at(-1);
      if (before?.series === span.series && before.to + 1 === span.from) before.to = span.to;
      else all.push({ ...span });
    }
  }
  return all;
}

/** Spans of a series that are read together, for less than a segment lies between them: each segment is read once. */
function grouped(spans: readonly Span[]): Span[][] {
  const groups: Span[][] = [];
  for (const span of spans) {
    const before = groups.at(-1)?.at(-1);
    const { firstStep, lastStep, count } = span.series.stored!;
    const near = (SEGMENT_POINTS * (lastStep - firstStep)) / count;
    if (before?.series === span.series && span.from - before.to <= near) groups.at(-1)!.push(span);
    else groups.push([span]);
  }
  return groups;
}

/** All points of the spans that are stored, and the late ones, segment by segment; spans of a series are ascending. */
function* sweep(spans: readonly Span[], take: Take): Reading<void> {
  let open = grouped(spans).map((group) => ({
    ...storedPart({ ...group[0]!, to: group.at(-1)!.to })!,
    series: group[0]!.series,
    after: null as SegmentRow | null,
    parts: group.map((span) => ({ span, late: tailOf(span, 'LATE') })),
  }));
  while (open.length > 0) {
    const portions = yield* readSegments(
      open.map(({ series, from, to, after }) => ({
        series,
        from,
        to,
        order: 'ASCENDING' as const,
        after,
        limit: ALL_SEGMENTS,
      })),
    );
    open = open.filter((one, at) => {
      const { segments, more } = portions[at]!;
      const { series, parts } = one;
      for (const segment of segments) {
        const reached = parts.filter(({ span }) => span.from <= segment.lastStep && span.to >= segment.firstStep);
        const points = reached.length > 0 ? pointsOfSegment(series, segment) : null;
        for (const part of reached) {
          const stored = surviving(part.span, points!);
          const { length } = stored.steps;
          if (length === 0) continue;
          // What is as far as the last stored point waits: the next segment may go on with the same step and time.
          const ready = countLateBefore(
            part.late,
            stored.steps[length - 1]!,
            stored.times[length - 1]!,
            series.repeats,
          );
          takePoints(take, series, interleave(stored, slice(part.late, 0, ready), series.repeats));
          part.late = slice(part.late, ready, part.late.steps.length);
        }
      }
      one.after = segments.at(-1) ?? one.after;
      if (!more) for (const { late } of parts) takePoints(take, series, late);
      return more;
    });
  }
}
