// Runs that are gone for good, with everything that is kept of them.
import type pg from 'pg';

/** The tables that hold something by run and have no foreign key that would clear them. */
export const TABLES_OF_RUNS = [
  'run_head',
  'run_writer',
  'journal',
  'fold',
  'metric',
  'series',
  'segment',
  'rollup',
  'console_writer',
  'console_chunk',
];

/** In the transaction of `client`, so that it is all or nothing. */
export async function eraseRuns(client: pg.PoolClient, runIds: readonly string[]): Promise<void> {
  for (const table of TABLES_OF_RUNS)
    await client.query(`DELETE FROM ${table} WHERE run_id = ANY($1::uuid[])`, [runIds]);
  await client.query('DELETE FROM run WHERE id = ANY($1::uuid[])', [runIds]);
}
