// What a read asks for in its rounds: series, pages of rollups and segments, one statement each for any number of series,
// and of segments no more than memory has room for.
import type pg from 'pg';
import type { Series, StoredSeries } from './series.ts';

export interface Database {
  query: pg.Pool['query'];
}

export interface PagesNeed {
  series: Series;
  shift: number;
  /** Numbers of pages, inclusive. */
  from: number;
  to: number;
}

export interface PageRow {
  page: number;
  entries: Buffer;
}

/** As the metric goes, and backwards; by their earliest time, and backwards by their latest. */
export type SegmentsOrder = 'ASCENDING' | 'DESCENDING' | 'EARLIEST' | 'LATEST';

export interface SegmentsNeed {
  series: Series;
  /** Those that overlap these steps, inclusive and finite. */
  from: number;
  to: number;
  order: SegmentsOrder;
  /** Those behind this one in that order. */
  after: SegmentRow | null;
  limit: number;
  /** Not those that end before it (backwards: begin behind it). */
  time?: number | undefined;
}

export interface SegmentRow {
  firstStep: number;
  firstTime: number;
  part: number;
  lastStep: number;
  minTime: number;
  maxTime: number;
  /** Null: there is no room for it in this round. */
  points: Buffer | null;
}

/** In the metric's order. */
export function compareSegments(one: SegmentRow, other: SegmentRow): number {
  return one.firstStep - other.firstStep || one.firstTime - other.firstTime || one.part - other.part;
}

/** `more`: ask again, after the last of them; there may be none of them yet. */
export interface Portion {
  segments: SegmentRow[];
  more: boolean;
}

/** All attempts of a metric. */
export interface SeriesNeed {
  runId: string;
  metric: number;
}

export interface StoredAttempt {
  attempt: number;
  stored: StoredSeries;
}

/** Of all needs together, but one of each at least: what is decoded in one turn, half a million points. */
const SEGMENTS_AT_ONCE = 128;
const PORTION_BYTES = 16 * 1024 * 1024;

export async function fetchSeries(database: Database, needs: readonly SeriesNeed[]): Promise<StoredAttempt[][]> {
  const { rows } = await database.query({
    name: 'series',
    rowMode: 'array',
    text: `SELECT n.need, s.* FROM unnest($1::uuid[], $2::int[]) WITH ORDINALITY AS n (run_id, metric, need)
           CROSS JOIN LATERAL (
             SELECT attempt, count, first_step, last_step, top_shift, entry, line_cut, line_entry FROM series s
             WHERE s.run_id = n.run_id AND s.metric = n.metric OFFSET 0
           ) s`,
    values: [needs.map(({ runId }) => runId), needs.map(({ metric }) => metric)],
  });
  const found = needs.map((): StoredAttempt[] => []);
  type Row = [number, number, number, number, number, number, Buffer, number | null, Buffer | null];
  for (const [need, attempt, count, firstStep, lastStep, topShift, entry, lineCut, lineEntry] of rows as Row[]) {
    const { metric } = needs[need - 1]!;
    const stored = { metric, count, firstStep, lastStep, topShift, entry, lineCut, lineEntry };
    found[need - 1]!.push({ attempt, stored });
  }
  return found;
}

export async function fetchPages(database: Database, needs: readonly PagesNeed[]): Promise<PageRow[][]> {
  const { rows } = await database.query<[number, number, Buffer][]>({
    name: 'pages',
    rowMode: 'array',
    text: `SELECT n.need, r.page, r.entries
           FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::bigint[])
                  WITH ORDINALITY AS n (run_id, metric, attempt, shift, low, high, need)
           CROSS JOIN LATERAL (
             SELECT page, entries FROM rollup r
             WHERE r.run_id = n.run_id AND r.metric = n.metric AND r.attempt = n.attempt AND r.shift = n.shift
               AND r.page BETWEEN n.low AND n.high
             OFFSET 0
           ) r
           ORDER BY n.need, r.page`,
    values: [
      ...keysOf(needs),
      needs.map(({ shift }) => shift),
      needs.map(({ from }) => from),
      needs.map(({ to }) => to),
    ],
  });
  const found = needs.map((): PageRow[] => []);
  for (const [need, page, entries] of rows as unknown as [number, number, Buffer][])
    found[need - 1]!.push({ page, entries });
  return found;
}

const FORWARDS = 'g.max_time >= n.time';
const BACKWARDS = 'g.min_time <= n.time';

/** What stands in the statement for each order: where to go on, how, and from which time on. */
const ORDERS: Record<SegmentsOrder, { behind: string; by: string; time: string }> = {
  ASCENDING: {
    behind: '(g.first_step, g.first_time, g.part) > (n.after_step, n.after_time, n.after_part)',
    by: 'first_step, first_time, part',
    time: FORWARDS,
  },
  DESCENDING: {
    behind: '(g.first_step, g.first_time, g.part) < (n.after_step, n.after_time, n.after_part)',
    by: 'first_step DESC, first_time DESC, part DESC',
    time: BACKWARDS,
  },
  EARLIEST: {
    behind:
      '(g.min_time, g.first_step, g.first_time, g.part) > (n.after_edge, n.after_step, n.after_time, n.after_part)',
    by: 'min_time, first_step, first_time, part',
    time: FORWARDS,
  },
  LATEST: {
    behind:
      '(g.max_time, g.first_step, g.first_time, g.part) < (n.after_edge, n.after_step, n.after_time, n.after_part)',
    by: 'max_time DESC, first_step DESC, first_time DESC, part DESC',
    time: BACKWARDS,
  },
};

/** Segments of a series lie apart: only the last that begins before the span can reach into it, with those like it. */
export const overlapping = (series: string, low: string, high: string) =>
  `g.run_id = ${series}.run_id AND g.metric = ${series}.metric AND g.attempt = ${series}.attempt
   AND g.first_step <= ${high} AND g.last_step >= ${low}
   AND g.first_step >= coalesce((
     SELECT x.first_step FROM segment x
     WHERE x.run_id = ${series}.run_id AND x.metric = ${series}.metric AND x.attempt = ${series}.attempt
       AND x.first_step < ${low}
     ORDER BY x.first_step DESC LIMIT 1), ${low})`;

export async function fetchSegments(
  database: Database,
  order: SegmentsOrder,
  needs: readonly SegmentsNeed[],
): Promise<Portion[]> {
  const { behind, by, time: within } = ORDERS[order];
  const each = Math.max(1, Math.floor(SEGMENTS_AT_ONCE / needs.length));
  const limits = needs.map(({ limit }) => Math.min(limit, each));
  const { rows } = await database.query({
    name: `segments ${order.toLowerCase()}`,
    rowMode: 'array',
    // The sizes are known without the points being fetched.
    text: `SELECT need, first_step, first_time, part, last_step, min_time, max_time,
                  CASE WHEN sent - octet_length(points) < $12 THEN points END
           FROM (
             SELECT n.need, s.*, sum(octet_length(s.points)) OVER (ORDER BY n.need, s.place) AS sent, s.place AS at
             FROM unnest($1::uuid[], $2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::int[], $10::bigint[], $11::int[])
                    WITH ORDINALITY AS n (run_id, metric, attempt, low, high, after_edge, after_step, after_time,
                                          after_part, time, size, need)
             CROSS JOIN LATERAL (
               SELECT g.first_step, g.first_time, g.part, g.last_step, g.min_time, g.max_time, g.points,
                      row_number() OVER (ORDER BY ${by}) AS place
               FROM segment g
               WHERE ${overlapping('n', 'n.low', 'n.high')}
                 AND (n.after_step IS NULL OR ${behind})
                 AND (n.time IS NULL OR ${within})
               ORDER BY ${by}
               LIMIT n.size
             ) s
           ) found
           ORDER BY need, at`,
    values: [
      ...keysOf(needs),
      needs.map(({ from }) => from),
      needs.map(({ to }) => to),
      needs.map(({ after }) => after && (order === 'LATEST' ? after.maxTime : after.minTime)),
      needs.map(({ after }) => after && after.firstStep),
      needs.map(({ after }) => after && after.firstTime),
      needs.map(({ after }) => after && after.part),
      needs.map(({ time }) => time ?? null),
      limits,
      PORTION_BYTES,
    ],
  });
  const portions = needs.map((): Portion => ({ segments: [], more: false }));
  for (const row of rows as [number, number, number, number, number, number, number, Buffer | null][]) {
    const [need, firstStep, firstTime, part, lastStep, minTime, maxTime, points] = row;
    const portion = portions[need - 1]!;
    if (points === null) portion.more = true;
    else portion.segments.push({ firstStep, firstTime, part, lastStep, minTime, maxTime, points });
    if (portion.segments.length === limits[need - 1]) portion.more = true;
  }
  return portions;
}

function keysOf(needs: readonly { series: Series }[]): unknown[] {
  return [
    needs.map(({ series }) => series.runId),
    needs.map(({ series }) => series.stored!.metric),
    needs.map(({ series }) => series.attempt),
  ];
}
