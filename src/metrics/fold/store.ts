// What the fold reads and writes of a run's segments, rollups and series: one statement each, however many rows. Every
// statement binds one run and lies in the fold's transaction. Payloads go in as one bytea that is cut by offsets, since
// arrays of bytea go as text.
import type pg from 'pg';

export interface SeriesKey {
  metric: number;
  attempt: number;
}

/** Steps, inclusive. */
export interface Interval extends SeriesKey {
  low: number;
  high: number;
}

export interface SegmentKey extends SeriesKey {
  firstStep: number;
  firstTime: number;
  part: number;
}

export interface StoredSegment extends SegmentKey {
  lastStep: number;
  lastTime: number;
  count: number;
  /** Of its points as they are stored. */
  bytes: number;
}

export interface NewSegment extends SegmentKey {
  lastStep: number;
  lastTime: number;
  minTime: number;
  maxTime: number;
  count: number;
  entry: Buffer;
  points: Buffer;
}

export interface PageKey extends SeriesKey {
  shift: number;
  page: number;
}

export interface Store {
  client: pg.ClientBase;
  runId: string;
}

export function nameOfSeries({ metric, attempt }: SeriesKey): string {
  return `${metric}.${attempt}`;
}

export function nameOfSegment(key: SegmentKey): string {
  return `${nameOfSeries(key)}.${key.firstStep}.${key.firstTime}.${key.part}`;
}

export function nameOfPage(key: PageKey): string {
  return `${nameOfSeries(key)}.${key.shift}.${key.page}`;
}

const KEY = 's.metric, s.attempt, s.first_step, s.first_time, s.part';
const KEY_COLUMNS = `s.metric, s.attempt, s.first_step AS "firstStep", s.first_time AS "firstTime", s.part`;
const ABOUT = `${KEY_COLUMNS}, s.last_step AS "lastStep", s.last_time AS "lastTime", s.count, octet_length(s.points) AS bytes`;

// Segments follow one another, so of those that begin before an interval only the nearest reaches into it; one that
// begins after it is its neighbour. All that begin with the same step come together. OFFSET 0, here and below: each is
// looked up by its key; else the planner, which knows how many segments a run has on average, may read all of this one's.
const inIntervals = (high: string) => `
SELECT ${ABOUT}
FROM unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[]) AS i (metric, attempt, low, high)
CROSS JOIN LATERAL (
  SELECT * FROM segment s
  WHERE s.run_id = $1 AND s.metric = i.metric AND s.attempt = i.attempt
    AND s.first_step >= coalesce((
      SELECT p.first_step FROM segment p
      WHERE p.run_id = $1 AND p.metric = i.metric AND p.attempt = i.attempt AND p.first_step < i.low
      ORDER BY p.first_step DESC LIMIT 1), i.low)
    AND s.first_step <= ${high}
  OFFSET 0
) s`;

const NEIGHBOUR = `coalesce((
      SELECT n.first_step FROM segment n
      WHERE n.run_id = $1 AND n.metric = i.metric AND n.attempt = i.attempt AND n.first_step > i.high
      ORDER BY n.first_step LIMIT 1), i.high)`;

/** By series, each in the order of the metric; with the neighbours of the intervals on both sides. */
export async function readSegmentsAround(
  store: Store,
  intervals: readonly Interval[],
): Promise<Map<string, StoredSegment[]>> {
  const rows = await readIntervals(store, inIntervals(NEIGHBOUR), intervals);
  return bySeries(rows);
}

/** By series, each in the order of the metric: those that reach into one of the intervals. */
export async function readSegmentsIn(
  store: Store,
  intervals: readonly Interval[],
): Promise<Map<string, StoredSegment[]>> {
  const sql = `${inIntervals('i.high')} WHERE s.last_step >= i.low`;
  return bySeries(await readIntervals(store, sql, intervals));
}

async function readIntervals(
  { client, runId }: Store,
  text: string,
  intervals: readonly Interval[],
): Promise<StoredSegment[]> {
  if (intervals.length === 0) return [];
  const { metric, attempt, low, high } = columnsOf(intervals, ['metric', 'attempt', 'low', 'high']);
  const { rows } = await client.query<StoredSegment>(text, [runId, metric, attempt, low, high]);
  return rows;
}

function bySeries(rows: readonly StoredSegment[]): Map<string, StoredSegment[]> {
  const found = new Map<string, Map<string, StoredSegment>>();
  for (const row of rows) {
    const name = nameOfSeries(row);
    const series = found.get(name) ?? new Map<string, StoredSegment>();
    found.set(name, series.set(nameOfSegment(row), row));
  }
  return new Map([...found].map(([name, series]) => [name, [...series.values()].toSorted(compareSegments)]));
}

export function compareSegments(a: SegmentKey, b: SegmentKey): number {
  return a.firstStep - b.firstStep || a.firstTime - b.firstTime || a.part - b.part;
}

/** Points as they are stored, by the name of the segment. */
export async function readPoints({ client, runId }: Store, keys: readonly SegmentKey[]): Promise<Map<string, Buffer>> {
  if (keys.length === 0) return new Map();
  const { rows } = await client.query<SegmentKey & { points: Buffer }>(
    `SELECT ${KEY_COLUMNS}, s.points FROM ${KEYS} CROSS JOIN LATERAL (SELECT * FROM segment s WHERE ${IS_KEY} OFFSET 0) s`,
    [runId, ...keyParameters(keys)],
  );
  return new Map(rows.map((row) => [nameOfSegment(row), row.points]));
}

const KEYS =
  'unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::int[]) AS k (metric, attempt, first_step, first_time, part)';

const IS_KEY = `s.run_id = $1 AND (${KEY}) = (k.metric, k.attempt, k.first_step, k.first_time, k.part)`;

function keyParameters(keys: readonly SegmentKey[]): unknown[] {
  return Object.values(columnsOf(keys, ['metric', 'attempt', 'firstStep', 'firstTime', 'part']));
}

/** Those of the same key are replaced. */
export async function writeSegments({ client, runId }: Store, segments: readonly NewSegment[]): Promise<void> {
  if (segments.length === 0) return;
  const { lastStep, lastTime, minTime, maxTime, count } = columnsOf(segments, [
    'lastStep',
    'lastTime',
    'minTime',
    'maxTime',
    'count',
  ]);
  const entries = pack(segments.map(({ entry }) => entry));
  const points = pack(segments.map((one) => one.points));
  await client.query(
    `INSERT INTO segment (run_id, metric, attempt, first_step, first_time, part,
                          last_step, last_time, min_time, max_time, count, entry, points)
     SELECT $1, metric, attempt, first_step, first_time, part, last_step, last_time, min_time, max_time, count,
            substring($12::bytea FROM entry_at FOR entry_bytes), substring($15::bytea FROM points_at FOR points_bytes)
     FROM unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::int[], $7::bigint[], $8::bigint[], $9::bigint[],
                 $10::bigint[], $11::int[], $13::int[], $14::int[], $16::int[], $17::int[])
       AS given (metric, attempt, first_step, first_time, part, last_step, last_time, min_time, max_time, count,
                 entry_at, entry_bytes, points_at, points_bytes)
     ON CONFLICT (run_id, metric, attempt, first_step, first_time, part) DO UPDATE
     SET last_step = EXCLUDED.last_step, last_time = EXCLUDED.last_time, min_time = EXCLUDED.min_time,
         max_time = EXCLUDED.max_time, count = EXCLUDED.count, entry = EXCLUDED.entry, points = EXCLUDED.points`,
    [
      runId,
      ...keyParameters(segments),
      lastStep,
      lastTime,
      minTime,
      maxTime,
      count,
      entries.bytes,
      entries.starts,
      entries.lengths,
      points.bytes,
      points.starts,
      points.lengths,
    ],
  );
}

export async function deleteSegments({ client, runId }: Store, keys: readonly SegmentKey[]): Promise<void> {
  if (keys.length === 0) return;
  await client.query(`DELETE FROM segment s USING ${KEYS} WHERE ${IS_KEY}`, [runId, ...keyParameters(keys)]);
}

/** Segments that lie in an interval as a whole, undecoded. */
export async function deleteSegmentsInside({ client, runId }: Store, intervals: readonly Interval[]): Promise<void> {
  if (intervals.length === 0) return;
  const { metric, attempt, low, high } = columnsOf(intervals, ['metric', 'attempt', 'low', 'high']);
  await client.query(
    `DELETE FROM segment s USING unnest($2::int[], $3::int[], $4::bigint[], $5::bigint[]) AS i (metric, attempt, low, high)
     WHERE s.run_id = $1 AND s.metric = i.metric AND s.attempt = i.attempt
       AND s.first_step BETWEEN i.low AND i.high AND s.last_step <= i.high`,
    [runId, metric, attempt, low, high],
  );
}

export interface SegmentEntry extends SegmentKey {
  lastStep: number;
  count: number;
  entry: Buffer;
  /** Where the segment reaches to the step that was asked for, or beyond. */
  points: Buffer | null;
}

/**
 * What series say of themselves: in their order, so many at a time, from `after` on. Those that begin below `below`,
 * which stands for "all" where it is null.
 */
export async function readSegmentEntries(
  { client, runId }: Store,
  series: readonly (SeriesKey & { below: number | null })[],
  after: SegmentKey | null,
  limit: number,
): Promise<SegmentEntry[]> {
  const { metric, attempt, below } = columnsOf(series, ['metric', 'attempt', 'below']);
  const start = after ?? { metric: -1, attempt: 0, firstStep: 0, firstTime: 0, part: 0 };
  const { rows } = await client.query<SegmentEntry>(
    `SELECT ${KEY_COLUMNS}, s.last_step AS "lastStep", s.count, s.entry,
            CASE WHEN s.last_step >= i.below THEN s.points END AS points
     FROM unnest($2::int[], $3::int[], $4::bigint[]) AS i (metric, attempt, below)
     CROSS JOIN LATERAL (
       SELECT * FROM segment s
       WHERE s.run_id = $1 AND s.metric = i.metric AND s.attempt = i.attempt
         AND (i.below IS NULL OR s.first_step < i.below) AND (${KEY}) > ($5, $6, $7, $8, $9)
       ORDER BY ${KEY} LIMIT $10
     ) s
     ORDER BY ${KEY} LIMIT $10`,
    [runId, metric, attempt, below, start.metric, start.attempt, start.firstStep, start.firstTime, start.part, limit],
  );
  return rows;
}

/** Columns of rows, by the names of the row. */
export function columnsOf<Row, Name extends keyof Row>(
  rows: readonly Row[],
  names: readonly Name[],
): { [One in Name]: Row[One][] } {
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])])) as {
    [One in Name]: Row[One][];
  };
}

/** Payloads as one, and where each begins (from 1, as SQL counts) and how long it is. */
export function pack(payloads: readonly Buffer[]): { bytes: Buffer; starts: number[]; lengths: number[] } {
  let at = 1;
  const starts = payloads.map(({ length }) => (at += length) - length);
  return { bytes: Buffer.concat(payloads), starts, lengths: payloads.map(({ length }) => length) };
}
