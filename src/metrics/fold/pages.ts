// The fold's second part: pages of rollups. The cells that something came for, or was removed from, are made again: at
// the finest level from the points of the segments that reach into them, above from the page below, and where there is
// none from points. A page is kept where it stands for enough points; it has those that it would have if the whole
// series had been folded at once.
import {
  cellOf,
  cellsOfEntries,
  cellsOfPoints,
  COARSEST_SHIFT,
  FINEST_SHIFT,
  PAGE_CELLS_SHIFT,
  pageOf,
  SHIFT_STRIDE,
} from '../chart/cells.ts';
import { countBelow, slice } from '../chart/line.ts';
import { concatEntries, type Entries, sliceEntries } from '../chart/rollup.ts';
import { decodeEntries, encodeEntries } from '../codec/rollups.ts';
import { decodeSegmentPoints } from '../codec/segment.ts';
import type { Points } from '../columns.ts';
import type { StepRange } from '../tail.ts';
import { deletePageRanges, deletePages, readPages, readSeriesWithPages, writePages } from './page-store.ts';
import { reportDamage } from './segments.ts';
import {
  type Interval,
  nameOfPage,
  nameOfSegment,
  nameOfSeries,
  type PageKey,
  readPoints,
  readSegmentsIn,
  type StoredSegment,
} from './store.ts';
import { type FoldContext, portions, type SeriesWork, unlessDamaged } from './work.ts';

/** A page stands for so many points at least: fewer are read from segments as fast. */
export const PAGE_POINTS = 16_384;
/** The coarsest level that is kept is the finest whose pages are at most so many. */
const TOP_PAGES = 8;
/** Of a level, made at once. */
const PORTION_PAGES = 32;

/** Of the level at which the whole extent is on few pages: the coarsest that is kept of a series. */
export function topShiftOf(firstStep: number, lastStep: number): number {
  let shift = FINEST_SHIFT;
  while (shift < COARSEST_SHIFT && pageOf(lastStep, shift) - pageOf(firstStep, shift) >= TOP_PAGES)
    shift += SHIFT_STRIDE;
  return shift;
}

interface Page extends PageKey {
  work: SeriesWork;
  /** The steps whose cells are to be made again: ascending, disjoint. */
  dirty: StepRange[];
  /** As it was stored. */
  old: Entries | null;
  wasStored: boolean;
}

/** Segments are written, and each work has what its series is `after` the fold. */
export async function foldPages(context: FoldContext, works: readonly SeriesWork[]): Promise<void> {
  await deletePageRanges(context, works.flatMap(goneRanges));
  const large = works.filter(({ after }) => after.count >= PAGE_POINTS);
  if (large.length === 0) return;
  const tops = new Map(large.map((work) => [work, topShiftOf(work.after.firstStep, work.after.lastStep)]));
  const grown = large.filter((work) => oldTopOf(work) < tops.get(work)!);
  const all = await readSegmentsIn(context, grown.map(extentOf));
  for (let shift = FINEST_SHIFT; large.some((work) => tops.get(work)! >= shift); shift += SHIFT_STRIDE) {
    const pages = large.flatMap((work) => {
      if (tops.get(work)! < shift) return [];
      const isNew = shift > oldTopOf(work);
      return isNew ? newPages(work, shift, all.get(nameOfSeries(work)) ?? []) : touchedPages(work, shift);
    });
    for (const portion of portions(pages, () => 1, PORTION_PAGES)) await makePages(context, shift, portion);
  }
  const kept = new Set((await readSeriesWithPages(context, large)).map(nameOfSeries));
  for (const work of large) work.topShift = kept.has(nameOfSeries(work)) ? tops.get(work)! : 0;
}

/** Levels up to it have the pages that are due; above it none was looked at. */
function oldTopOf({ stored, after }: SeriesWork): number {
  const state = stored && stored.count >= PAGE_POINTS ? stored : after;
  return topShiftOf(state.firstStep, state.lastStep);
}

function extentOf({ metric, attempt, after }: SeriesWork): Interval {
  return { metric, attempt, low: after.firstStep, high: after.lastStep };
}

/** Pages that nothing is left of, and levels that are no more. */
function goneRanges(work: SeriesWork) {
  const { metric, attempt, stored, removed, after } = work;
  if (stored === null || stored.topShift === 0) return [];
  const oldTop = oldTopOf(work);
  const rangeOf = (lowShift: number, highShift: number, low: number, high: number) => ({
    metric,
    attempt,
    lowShift,
    highShift,
    low,
    high,
  });
  const whole = (lowShift: number) =>
    rangeOf(lowShift, COARSEST_SHIFT, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  if (after.count < PAGE_POINTS) return [whole(FINEST_SHIFT)];
  const top = topShiftOf(after.firstStep, after.lastStep);
  const gone = top < oldTop ? [whole(top + 1)] : [];
  for (const { from, to } of removed) {
    for (let shift = FINEST_SHIFT; shift <= Math.min(top, oldTop); shift += SHIFT_STRIDE) {
      const low = from <= stored.firstStep ? pageOf(stored.firstStep, shift) : pageOf(from - 1, shift) + 1;
      const high = to >= stored.lastStep ? pageOf(stored.lastStep, shift) : pageOf(to + 1, shift) - 1;
      if (low <= high) gone.push(rangeOf(shift, shift, low, high));
    }
  }
  return gone;
}

function stepsOf(page: number, shift: number): StepRange {
  const size = 2 ** (shift + PAGE_CELLS_SHIFT);
  return within({ from: page * size, to: (page + 1) * size - 1 });
}

function within({ from, to }: StepRange): StepRange {
  return { from: Math.max(from, Number.MIN_SAFE_INTEGER), to: Math.min(to, Number.MAX_SAFE_INTEGER) };
}

/** To whole cells. */
function aligned({ from, to }: StepRange, shift: number): StepRange {
  const size = 2 ** shift;
  return within({ from: cellOf(from, shift) * size, to: (cellOf(to, shift) + 1) * size - 1 });
}

/** Every page that a segment begins or ends on: one that has many points has such a segment. */
function newPages(work: SeriesWork, shift: number, segments: readonly StoredSegment[]): Page[] {
  const pages = new Set(
    segments.flatMap(({ firstStep, lastStep }) => [pageOf(firstStep, shift), pageOf(lastStep, shift)]),
  );
  return [...pages].map((page) => newPage(work, shift, page, [stepsOf(page, shift)]));
}

function newPage(work: SeriesWork, shift: number, page: number, dirty: StepRange[]): Page {
  const { metric, attempt } = work;
  return { metric, attempt, shift, page, work, dirty, old: null, wasStored: false };
}

/** The pages where points came, or where a removed range ends. */
function touchedPages(work: SeriesWork, shift: number): Page[] {
  const { tail, removed, stored } = work;
  const dirty = new Map<number, StepRange[]>();
  const add = (range: StepRange) => {
    const page = pageOf(range.from, shift);
    const ranges = dirty.get(page);
    const last = ranges?.at(-1);
    if (last && range.from <= last.to + 1) last.to = Math.max(last.to, range.to);
    else if (ranges) ranges.push(range);
    else dirty.set(page, [range]);
  };
  const ranges: StepRange[] = [];
  for (const { from, to } of removed) {
    const pages = [Math.max(from, stored!.firstStep), Math.min(to, stored!.lastStep)].map((step) =>
      pageOf(step, shift),
    );
    for (const page of new Set(pages)) {
      const all = stepsOf(page, shift);
      ranges.push(aligned({ from: Math.max(from, all.from), to: Math.min(to, all.to) }, shift));
    }
  }
  let end = -Infinity;
  for (const step of tail?.steps ?? []) {
    if (step < end) continue;
    const range = aligned({ from: step, to: step }, shift);
    end = range.to + 1;
    ranges.push(range);
  }
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) add({ ...range });
  return [...dirty].map(([page, some]) => newPage(work, shift, page, some));
}

/** Makes pages of one level; those below are made. */
async function makePages(context: FoldContext, shift: number, all: Page[]): Promise<void> {
  const stored = await readPages(context, all);
  for (const page of all) {
    const payload = stored.get(nameOfPage(page));
    page.wasStored = payload !== undefined;
    page.old = payload ? unlessDamaged(() => decodeEntries(payload)) : null;
    if (page.old === null) page.dirty = [stepsOf(page.page, shift)];
  }
  const pages = await withEnoughPoints(context, all);
  const below = await readBelow(context, shift, pages);
  const fromPoints = new Map(pages.map((page) => [page, pointRanges(page, below)]));
  const segments = await readSegmentsIn(context, intervalsOf(fromPoints));
  const payloads = await readPoints(
    context,
    [...segments.values()].flat().filter((one) => !context.fresh.has(nameOfSegment(one))),
  );
  const pointsOf = (segment: StoredSegment) => {
    const payload = payloads.get(nameOfSegment(segment));
    return (
      context.fresh.get(nameOfSegment(segment)) ?? (payload ? unlessDamaged(() => decodeSegmentPoints(payload)) : null)
    );
  };
  const written: (PageKey & { entries: Buffer })[] = [];
  const deleted: PageKey[] = all.filter((page) => page.wasStored && !pages.includes(page));
  for (const page of pages) {
    const near = segments.get(nameOfSeries(page)) ?? [];
    const entries = made(context, page, below, fromPoints.get(page)!, near, pointsOf);
    const count = entries.counts.reduce((sum, one) => sum + one, 0);
    const { metric, attempt } = page;
    const key = { metric, attempt, shift, page: page.page };
    if (count >= PAGE_POINTS) written.push({ ...key, entries: encodeEntries(entries) });
    else if (page.wasStored) deleted.push(key);
    await context.pause();
  }
  await writePages(context, written);
  await deletePages(context, deleted);
}

/** Those that are stored, and of the others those that may have come to be due. */
async function withEnoughPoints(context: FoldContext, pages: Page[]): Promise<Page[]> {
  const intervals = pages
    .filter(({ old }) => old === null)
    .map((page) => intervalOf(page, stepsOf(page.page, page.shift)));
  const segments = await readSegmentsIn(context, intervals);
  return pages.filter((page) => {
    if (page.old !== null) return true;
    const { from, to } = stepsOf(page.page, page.shift);
    const near = segments.get(nameOfSeries(page)) ?? [];
    const most = near.reduce((sum, one) => (one.firstStep <= to && one.lastStep >= from ? sum + one.count : sum), 0);
    return most >= PAGE_POINTS;
  });
}

function intervalOf({ metric, attempt }: Page, { from, to }: StepRange): Interval {
  return { metric, attempt, low: from, high: to };
}

/** One for all ranges on one page of the level below: there is little between them, and each interval costs a search. */
function intervalsOf(ranges: ReadonlyMap<Page, StepRange[]>): Interval[] {
  return [...ranges].flatMap(([page, some]) => {
    const near = Map.groupBy(some, ({ from }) => pageOf(from, Math.max(FINEST_SHIFT, page.shift - SHIFT_STRIDE)));
    return [...near.values()].map((group) => intervalOf(page, { from: group[0]!.from, to: group.at(-1)!.to }));
  });
}

/** The pages of the level below that are there, by their names. */
async function readBelow(context: FoldContext, shift: number, pages: readonly Page[]): Promise<Map<string, Entries>> {
  const below = new Map<string, Entries>();
  if (shift === FINEST_SHIFT) return below;
  const keys = new Map(pages.flatMap((page) => pagesBelow(page).map((key) => [nameOfPage(key), key] as const)));
  for (const [name, payload] of await readPages(context, [...keys.values()])) {
    const entries = unlessDamaged(() => decodeEntries(payload));
    if (entries) below.set(name, entries);
  }
  return below;
}

function pagesBelow({ metric, attempt, shift, dirty }: Page): PageKey[] {
  const under = shift - SHIFT_STRIDE;
  const pages = new Set<number>();
  for (const { from, to } of dirty)
    for (let page = pageOf(from, under); page <= pageOf(to, under); page++) pages.add(page);
  return [...pages].map((page) => ({ metric, attempt, shift: under, page }));
}

/** What of the dirty steps is on no page below. */
function pointRanges(page: Page, below: ReadonlyMap<string, Entries>): StepRange[] {
  if (page.shift === FINEST_SHIFT) return page.dirty;
  return overBelow(page).flatMap(({ key, range }) => (below.has(nameOfPage(key)) ? [] : [range]));
}

/** The dirty steps, cut where pages of the level below end. */
function overBelow(page: Page): { key: PageKey; range: StepRange }[] {
  return page.dirty.flatMap(({ from, to }) =>
    pagesBelow({ ...page, dirty: [{ from, to }] }).map((key) => {
      const all = stepsOf(key.page, key.shift);
      return { key, range: { from: Math.max(from, all.from), to: Math.min(to, all.to) } };
    }),
  );
}

function made(
  context: FoldContext,
  page: Page,
  below: ReadonlyMap<string, Entries>,
  ranges: readonly StepRange[],
  near: readonly StoredSegment[],
  pointsOf: (segment: StoredSegment) => Points | null,
): Entries {
  const { shift, old } = page;
  const fresh: Entries[] = [];
  const damaged: StepRange[] = [];
  const reaches = (one: StoredSegment) => ranges.some(({ from, to }) => one.firstStep <= to && one.lastStep >= from);
  for (const segment of near.filter(reaches)) {
    const points = pointsOf(segment);
    if (points === null) {
      reportDamage(context, segment);
      damaged.push(aligned({ from: segment.firstStep, to: segment.lastStep }, shift));
      continue;
    }
    for (const { from, to } of ranges) {
      const start = countBelow(points.steps, from);
      const end = countBelow(points.steps, to + 1);
      if (start < end) fresh.push(cellsOfPoints(slice(points, start, end), shift));
    }
  }
  if (shift > FINEST_SHIFT)
    for (const { key, range } of overBelow(page)) {
      const entries = below.get(nameOfPage(key));
      if (entries) fresh.push(between(entries, range));
    }
  // What damaged segments had part in is kept as it was.
  const isKept = old !== null && damaged.length > 0;
  const again = isKept ? page.dirty.flatMap((range) => without(range, damaged)) : page.dirty;
  const made = isKept ? fresh.flatMap((entries) => again.map((range) => between(entries, range))) : fresh;
  const kept = old === null ? [] : gaps(again).map((range) => between(old, range));
  const parts = [...made, ...kept].filter(({ counts }) => counts.length > 0);
  if (parts.length === 0) return sliceEntries(cellsOfPoints(NO_POINTS, shift), 0, 0);
  return cellsOfEntries(concatEntries(parts.toSorted((a, b) => a.firstSteps[0]! - b.firstSteps[0]!)), shift);
}

const NO_POINTS = { steps: new Float64Array(), times: new Float64Array(), values: new Float64Array(), metadata: null };

function between(entries: Entries, { from, to }: StepRange): Entries {
  return sliceEntries(entries, countBelow(entries.firstSteps, from), countBelow(entries.firstSteps, to + 1));
}

/** What is left of a range; the others are in any order. */
function without(range: StepRange, others: readonly StepRange[]): StepRange[] {
  let left = [range];
  for (const { from, to } of others)
    left = left.flatMap((one) =>
      [
        { from: one.from, to: Math.min(one.to, from - 1) },
        { from: Math.max(one.from, to + 1), to: one.to },
      ].filter((some) => some.from <= some.to),
    );
  return left;
}

/** What lies around ascending, disjoint ranges. */
function gaps(ranges: readonly StepRange[]): StepRange[] {
  const ends = [-Infinity, ...ranges.map(({ to }) => to + 1)];
  return ends.map((from, at) => ({ from, to: (ranges[at]?.from ?? Infinity) - 1 }));
}
