// Exact points, a page at a time, in any order. A cursor says a place in that order, so that folds and appends move
// nothing; what is kept is bounded by the page, not by the metric.
import type pg from 'pg';
import { invalidInput, type RuntideError } from '../../errors.ts';
import { COARSEST_SHIFT } from '../chart/cells.ts';
import { lengthOf } from '../chart/draw.ts';
import { slice } from '../chart/line.ts';
import type { Points } from '../columns.ts';
import { cover } from './cover.ts';
import { compareKeys, type Key, keyOf, type Place, type Search, searchBySteps, searchByTimes } from './search.ts';
import { readSnapshot, type Reading, type Settle } from './rounds.ts';
import { lineOf, type Span } from './series.ts';
import { openMetrics, type RunState } from './snapshot.ts';

export type PointsOrder = 'STEP_ASC' | 'STEP_DESC' | 'TIME_ASC' | 'TIME_DESC';

export interface PointsRequest {
  runId: string;
  name: string;
  tag: string;
  /** Null: the line. */
  attempt: number | null;
  /** Inclusive steps. */
  from: number | null;
  to: number | null;
  orderBy: PointsOrder;
  first: number;
  after: string | null;
}

export interface PointsPage extends Points {
  totalCount: number;
  hasNextPage: boolean;
  endCursor: string | null;
}

/** Exact points; a page, or what is wrong with the run, for each request, in the order of the requests. */
export async function readPoints(
  pool: pg.Pool,
  requests: readonly PointsRequest[],
  settle?: Settle,
): Promise<(PointsPage | RuntideError)[]> {
  const runIds = [...new Set(requests.map(({ runId }) => runId))];
  return readSnapshot(
    pool,
    (database) => openMetrics(database, runIds, requests),
    (runs) => {
      const byId = new Map(runs.map((run) => [run.runId, run]));
      return requests.map((request) => pageOf(byId.get(request.runId), request));
    },
    { settle, atOnce: READS_AT_ONCE },
  );
}

/** Each holds a page of points. */
const READS_AT_ONCE = 8;

function* pageOf(run: RunState | undefined, request: PointsRequest): Reading<PointsPage> {
  const { name, tag, attempt, from, to, orderBy, first, after } = request;
  if (run?.damage) throw run.damage;
  const place = after === null ? null : readPlace(after);
  const metric = run?.metrics.find((one) => one.name === name && one.tag === tag);
  const series = metric?.series ?? [];
  const line = yield* lineOf(attempt === null ? series : series.filter((one) => one.attempt === attempt));
  const spans = (line?.spans ?? []).flatMap((span) => {
    const part = { ...span, from: Math.max(span.from, from ?? -Infinity), to: Math.min(span.to, to ?? Infinity) };
    return part.from <= part.to ? [part] : [];
  });
  const totalCount = yield* countOf(spans);
  const search: Search = {
    place,
    byStep: orderBy === 'STEP_ASC' || orderBy === 'STEP_DESC',
    sign: orderBy.endsWith('DESC') ? -1 : 1,
    // One more than asked for says whether there is a next page.
    behind: first + 1,
  };
  const found = yield* search.byStep ? searchBySteps(spans, search) : searchByTimes(spans, search);
  return pageIn(found, search, first, totalCount);
}

function* countOf(spans: readonly Span[]): Reading<number> {
  let count = 0;
  yield* cover(
    spans.map((span) => ({ ...span, shift: COARSEST_SHIFT })),
    (_, part) => {
      count += 'points' in part ? lengthOf(part) : part.entries.counts.reduce((sum, one) => sum + one, 0);
    },
  );
  return count;
}

/** `found` is in the order, from the first point of the place's key on. */
function pageIn(found: Points, search: Search, first: number, totalCount: number): PointsPage {
  const { place } = search;
  const { length } = found.steps;
  const isAt = (at: number, key: Key) => compareKeys(keyOf(found, at, search), key, search) === 0;
  let start = 0;
  // Points of one step and time, as kept repeats have: those that were given already are counted.
  if (place !== null) while (start < place.taken && start < length && isAt(start, place.key)) start++;
  const end = Math.min(length, start + first);
  let endCursor: string | null = null;
  if (end > start) {
    const key = keyOf(found, end - 1, search);
    let taken = 1;
    while (end - 1 - taken >= 0 && isAt(end - 1 - taken, key)) taken++;
    endCursor = `${key[0]},${key[1]},${taken}`;
  }
  return { ...slice(found, start, end), totalCount, hasNextPage: end < length, endCursor };
}

function readPlace(text: string): Place {
  const parts = /^(-?\d+),(-?\d+),(\d+)$/.exec(text)?.slice(1).map(Number);
  if (!parts?.every(Number.isSafeInteger))
    throw invalidInput('after must be an endCursor as the server gave it', { field: 'after' });
  const [major, minor, taken] = parts as [number, number, number];
  return { key: [major, minor], taken };
}
