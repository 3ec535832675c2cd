// What the fold reads and writes of a run's pages of rollups. As store.ts: one statement each, one run.
import { columnsOf, nameOfPage, pack, type PageKey, type SeriesKey, type Store } from './store.ts';

const KEYS = 'unnest($2::int[], $3::int[], $4::int[], $5::bigint[]) AS k (metric, attempt, shift, page)';
const IS_KEY = '(r.metric, r.attempt, r.shift, r.page) = (k.metric, k.attempt, k.shift, k.page)';

function keyParameters(keys: readonly PageKey[]): unknown[] {
  return Object.values(columnsOf(keys, ['metric', 'attempt', 'shift', 'page']));
}

/** Those that are there, by the name of the page. */
export async function readPages({ client, runId }: Store, keys: readonly PageKey[]): Promise<Map<string, Buffer>> {
  if (keys.length === 0) return new Map();
  const { rows } = await client.query<PageKey & { entries: Buffer }>(
    `SELECT r.metric, r.attempt, r.shift, r.page, r.entries
     FROM ${KEYS} CROSS JOIN LATERAL (SELECT * FROM rollup r WHERE r.run_id = $1 AND ${IS_KEY} OFFSET 0) r`,
    [runId, ...keyParameters(keys)],
  );
  return new Map(rows.map((row) => [nameOfPage(row), row.entries]));
}

export async function writePages(
  { client, runId }: Store,
  pages: readonly (PageKey & { entries: Buffer })[],
): Promise<void> {
  if (pages.length === 0) return;
  const entries = pack(pages.map((page) => page.entries));
  await client.query(
    `INSERT INTO rollup (run_id, metric, attempt, shift, page, entries)
     SELECT $1, metric, attempt, shift, page, substring($6::bytea FROM entries_at FOR entries_bytes)
     FROM unnest($2::int[], $3::int[], $4::int[], $5::bigint[], $7::int[], $8::int[])
       AS given (metric, attempt, shift, page, entries_at, entries_bytes)
     ON CONFLICT (run_id, metric, attempt, shift, page) DO UPDATE SET entries = EXCLUDED.entries`,
    [runId, ...keyParameters(pages), entries.bytes, entries.starts, entries.lengths],
  );
}

export async function deletePages({ client, runId }: Store, keys: readonly PageKey[]): Promise<void> {
  if (keys.length === 0) return;
  await client.query(`DELETE FROM rollup r USING ${KEYS} WHERE r.run_id = $1 AND ${IS_KEY}`, [
    runId,
    ...keyParameters(keys),
  ]);
}

export interface PageRange extends SeriesKey {
  lowShift: number;
  highShift: number;
  low: number;
  high: number;
}

/** Of levels and pages, both inclusive. */
export async function deletePageRanges({ client, runId }: Store, ranges: readonly PageRange[]): Promise<void> {
  if (ranges.length === 0) return;
  const columns = columnsOf(ranges, ['metric', 'attempt', 'lowShift', 'highShift', 'low', 'high']);
  await client.query(
    `DELETE FROM rollup r
     USING unnest($2::int[], $3::int[], $4::int[], $5::int[], $6::bigint[], $7::bigint[])
       AS g (metric, attempt, low_shift, high_shift, low, high)
     WHERE r.run_id = $1 AND r.metric = g.metric AND r.attempt = g.attempt
       AND r.shift BETWEEN g.low_shift AND g.high_shift AND r.page BETWEEN g.low AND g.high`,
    [runId, ...Object.values(columns)],
  );
}

/** Which of them have a page, of whatever level, by the name of the series. */
export async function readSeriesWithPages(
  { client, runId }: Store,
  series: readonly SeriesKey[],
): Promise<SeriesKey[]> {
  if (series.length === 0) return [];
  const { metric, attempt } = columnsOf(series, ['metric', 'attempt']);
  const { rows } = await client.query<SeriesKey>(
    `SELECT g.metric, g.attempt FROM unnest($2::int[], $3::int[]) AS g (metric, attempt)
     WHERE EXISTS (SELECT FROM rollup r WHERE r.run_id = $1 AND r.metric = g.metric AND r.attempt = g.attempt)`,
    [runId, metric, attempt],
  );
  return rows;
}
