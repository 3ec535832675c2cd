// Exact points, a page at a time, in any order. A cursor says a place in that order, so that folds and appends move
// nothing; what is kept is bounded by the page and by its metadata, not by the metric.
import type pg from 'pg';
import { limits } from '../../access/limits.ts';
import { invalidInput, type RuntideError } from '../../errors.ts';
import { COARSEST_SHIFT } from '../chart/cells.ts';
import { lengthOf } from '../chart/draw.ts';
import type { Points } from '../columns.ts';
import { cover } from './cover.ts';
import type { Place, Search } from './page.ts';
import { searchBySteps, searchByTimes } from './search.ts';
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

/**
 * Exact points; a page, or what is wrong with the run, for each request, in the order of the requests. What all of them
 * may bring of metadata they share in equal parts: a page ends where its part does, and the next one goes on from there.
 */
export async function readPoints(
  pool: pg.Pool,
  requests: readonly PointsRequest[],
  settle?: Settle,
  metadataBytes: number = limits.pointsMetadataBytes,
): Promise<(PointsPage | RuntideError)[]> {
  const room = metadataBytes / requests.length;
  const runIds = [...new Set(requests.map(({ runId }) => runId))];
  return readSnapshot(
    pool,
    (database) => openMetrics(database, runIds, requests),
    (runs) => {
      const byId = new Map(runs.map((run) => [run.runId, run]));
      return requests.map((request) => pageOf(byId.get(request.runId), request, room));
    },
    { settle, atOnce: READS_AT_ONCE },
  );
}

/** Each holds a page of points. */
const READS_AT_ONCE = 8;

function* pageOf(run: RunState | undefined, request: PointsRequest, room: number): Reading<PointsPage> {
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
    most: first,
    room,
  };
  const { points, hasMore, endCursor } = yield* search.byStep
    ? searchBySteps(spans, search)
    : searchByTimes(spans, search);
  return { ...points, totalCount, hasNextPage: hasMore, endCursor };
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

function readPlace(text: string): Place {
  const parts = /^(-?\d+),(-?\d+),([1-9]\d*)$/.exec(text)?.slice(1).map(Number);
  if (!parts?.every(Number.isSafeInteger))
    throw invalidInput('after must be an endCursor as the server gave it', { field: 'after' });
  const [major, minor, taken] = parts as [number, number, number];
  return { key: [major, minor], taken };
}
