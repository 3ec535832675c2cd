// Work whose database connection ends at one of its statements.
import type { Socket } from 'node:net';
import { createPool, isUnavailable } from '../../src/db/pool.ts';
import { until } from './client.ts';
import { silentLog } from './log.ts';
import type { RunRows } from './run-rows.ts';
import type pg from 'pg';

export interface Cut {
  /** The nth, from 1. */
  statement: number;
  /** Unanswered: it was carried out, and nobody heard of it. */
  when: 'before' | 'unanswered' | 'after';
}

/** On a connection of its own. Answers whether the work came so far, and with what it ended: null where it was cut off. */
export async function cutOff<Result>(
  { databaseUrl, pool: other }: RunRows,
  { statement, when }: Cut,
  work: (pool: pg.Pool) => Promise<Result>,
): Promise<{ isCut: boolean; result: Result | null }> {
  const pool = createPool({ connectionString: databaseUrl, size: 1, log: silentLog });
  const client = await pool.connect();
  let count = 0;
  let isCut = false;
  const query = client.query.bind(client) as (...args: unknown[]) => Promise<unknown>;
  const { processID, connection } = client as unknown as { processID: number; connection: { stream: Socket } };
  const cut = async () => {
    isCut = true;
    const ended = new Promise<void>((resolve) => client.once('end', resolve));
    await other.query('SELECT pg_terminate_backend($1)', [processID]);
    if (when === 'after') await ended;
  };
  const state = async () => {
    const { rows } = await other.query<{ isBusy: boolean; since: string }>(
      `SELECT state = 'active' AND wait_event IS DISTINCT FROM 'ClientWrite' AS "isBusy", state_change::text AS since
       FROM pg_stat_activity WHERE pid = $1`,
      [processID],
    );
    return rows[0];
  };
  const unanswered = async (send: () => Promise<unknown>) => {
    isCut = true;
    const before = await state();
    connection.stream.pause();
    const lose = async () => {
      for (let now = before; now && (now.isBusy || now.since === before?.since); now = await state());
      connection.stream.destroy();
    };
    const [result] = await Promise.all([send(), lose()]);
    return result;
  };
  const cutting = async (...args: unknown[]) => {
    if (++count !== statement) return query(...args);
    if (when === 'unanswered') return unanswered(() => query(...args));
    if (when === 'before') await cut();
    const result = await query(...args);
    if (when === 'after') await cut();
    return result;
  };
  Object.assign(client, { query: cutting });
  client.release();
  try {
    return { result: await work(pool), isCut };
  } catch (error) {
    if (!isCut || !isUnavailable(error)) throw error;
    return { result: null, isCut };
  } finally {
    await pool.end();
    // A connection is told that it ends before it lets go of its locks, and who finds them taken stands back.
    if (isCut && when !== 'unanswered')
      await until(async () => (await state()) === undefined, 'the connection is gone');
  }
}
