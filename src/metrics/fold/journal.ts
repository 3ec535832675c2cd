// The fold's side of the journal: the rows that come next, in bounded portions, and the end of those that nobody needs
// any more. A row that is damaged can never be read: it is passed over, marked, and left where it is.
import { RuntideError } from '../../errors.ts';
import { decodeColumns, decodedBytes } from '../codec/columns.ts';
import { decodeRemoval, isRemoval } from '../codec/removal.ts';
import type { JournalRow } from '../tail.ts';
import type { Store } from './store.ts';

const ROWS_AT_ONCE = 4096;
/** As much of a payload as says how large it is decoded. */
const HEAD_BYTES = 10;

export interface JournalPortion {
  rows: (JournalRow & { pointCount: number })[];
  /** Sequences of those that cannot be read, once somebody has tried. */
  damaged: number[];
  /** The last sequence that is in it, damaged or not; where it began, when it has none. */
  until: number;
  /** Of the payloads. */
  bytes: number;
  /** There is more behind it. */
  hasMore: boolean;
}

export function nameOfMetric(name: string, tag: string): string {
  return JSON.stringify([name, tag]);
}

/** Rows after a sequence that are about so many bytes decoded; one at least, where there is one. */
export async function readPortion({ client, runId }: Store, after: number, most: number): Promise<JournalPortion> {
  const { rows: heads } = await client.query<{ sequence: number; pointCount: number; bytes: number; head: Buffer }>(
    `SELECT sequence, point_count AS "pointCount", octet_length(payload) AS bytes, substring(payload FOR ${HEAD_BYTES}) AS head
     FROM journal WHERE run_id = $1 AND sequence > $2 ORDER BY sequence LIMIT ${ROWS_AT_ONCE}`,
    [runId, after],
  );
  const taken: typeof heads = [];
  let decoded = 0;
  for (const one of heads) {
    decoded += isRemoval(one.head) ? one.bytes : decodedBytes(one.head, one.pointCount);
    if (taken.length > 0 && decoded > most) break;
    taken.push(one);
  }
  const until = taken.at(-1)?.sequence ?? after;
  const portion: JournalPortion = {
    rows: [],
    damaged: [],
    until,
    bytes: taken.reduce((sum, { bytes }) => sum + bytes, 0),
    hasMore: taken.length < heads.length || heads.length === ROWS_AT_ONCE,
  };
  if (taken.length === 0) return portion;
  const { rows } = await client.query<JournalRow & { pointCount: number }>(
    `SELECT sequence, attempt, point_count AS "pointCount", payload
     FROM journal WHERE run_id = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence`,
    [runId, after, until],
  );
  portion.rows = rows;
  return portion;
}

/** Whether one of its batches names the metric, with points or without. */
export function isLogged({ rows }: JournalPortion, name: string, tag: string): boolean {
  return rows.some(({ payload }) => {
    let isFound = false;
    if (!isRemoval(payload))
      decodeColumns(payload, (one, other) => {
        isFound ||= one === name && other === tag;
        return false;
      });
    return isFound;
  });
}

/** Moves the rows that cannot be read from `rows` to `damaged`. */
export function setDamagedAside(portion: JournalPortion): void {
  const isSound = (row: JournalRow) => {
    try {
      if (isRemoval(row.payload)) decodeRemoval(row.payload);
      else decodeColumns(row.payload);
      return true;
    } catch (error) {
      if (error instanceof RuntideError) return false;
      throw error;
    }
  };
  const sound = portion.rows.filter(isSound);
  const kept = new Set(sound);
  portion.damaged = portion.rows.filter((row) => !kept.has(row)).map(({ sequence }) => sequence);
  portion.rows = sound;
}

/** So that they stay when those around them go: a count of points below 0 says so. */
export async function markDamaged({ client, runId }: Store, sequences: readonly number[]): Promise<void> {
  if (sequences.length === 0) return;
  await client.query(
    'UPDATE journal SET point_count = -1 - point_count WHERE run_id = $1 AND sequence = ANY($2::bigint[]) AND point_count >= 0',
    [runId, sequences],
  );
}

/**
 * Moves the fold, and deletes rows that are folded and older than the replay window, by the database's clock. What is
 * left is without a hole from `oldest_kept` on. Writes nothing where nothing moves.
 */
export async function finishFold(
  { client, runId }: Store,
  { until, bytes, windowMs }: { until: number; bytes: number; windowMs: number },
): Promise<{ deleted: number; oldestKept: number }> {
  const { rows } = await client.query<{ deleted: number; oldestKept: number }>(
    `WITH fold_before AS (
       SELECT folded, oldest_kept FROM fold WHERE run_id = $1
     ), young AS (
       SELECT j.sequence FROM journal j, fold_before f
       WHERE j.run_id = $1 AND j.sequence >= f.oldest_kept AND j.sequence <= $2
         AND j.accepted_at >= clock_timestamp() - $4 * interval '1 millisecond'
       ORDER BY j.sequence LIMIT 1
     ), kept AS (
       SELECT greatest(f.oldest_kept, coalesce((SELECT sequence FROM young), $2 + 1)) AS oldest FROM fold_before f
     ), gone AS (
       DELETE FROM journal j USING fold_before f, kept k
       WHERE j.run_id = $1 AND j.sequence >= f.oldest_kept AND j.sequence < k.oldest AND j.point_count >= 0
       RETURNING 1
     ), moved AS (
       UPDATE fold f
       SET folded = $2, bytes = f.bytes + $3, oldest_kept = k.oldest,
           folded_at = CASE WHEN $2 > f.folded THEN clock_timestamp() ELSE f.folded_at END
       FROM kept k
       WHERE f.run_id = $1 AND (f.folded < $2 OR f.oldest_kept < k.oldest)
     )
     SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT oldest FROM kept) AS "oldestKept"`,
    [runId, until, bytes, windowMs],
  );
  return rows[0]!;
}
