// What was sent and what became of it, for the tests of the append.
import type pg from 'pg';
import { decodeColumns } from '../../../src/metrics/codec/columns.ts';
import { readHeads } from '../../../src/metrics/heads.ts';
import { columns } from '../../support/run-rows.ts';

/** One point whose value says which batch it is. */
export const content = (writer: number, batch: number) => [columns('loss', [batch], [writer * 10_000 + batch])];

export const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

interface Stored {
  sequences: number[];
  values: number[];
  head: number;
  writers: { writer: string; base: number; accepted: string }[];
}

/** All of a run. */
export async function storedOf(pool: pg.Pool, runId: string): Promise<Stored> {
  const journal = await pool.query<{ sequence: number; payload: Buffer }>(
    'SELECT sequence, payload FROM journal WHERE run_id = $1 ORDER BY sequence',
    [runId],
  );
  const writers = await pool.query<{ writer: string; base: number; accepted: string }>(
    'SELECT writer, base, accepted::text FROM run_writer WHERE run_id = $1 ORDER BY writer',
    [runId],
  );
  return {
    sequences: journal.rows.map(({ sequence }) => sequence),
    values: journal.rows.flatMap(({ payload }) => decodeColumns(payload).flatMap(({ values }) => [...values])),
    head: (await readHeads(pool, [runId])).get(runId)!.sequence,
    writers: writers.rows,
  };
}
