// Signs of life. Appends carry theirs in their own statement (src/metrics/append/append.ts); this is the call of a process
// that has nothing to log.
import type pg from 'pg';
import { type Access, notFound } from '../access/access.ts';
import type { Bus } from '../bus/bus.ts';
import { transaction } from '../db/pool.ts';
import { invalidInput } from '../errors.ts';
import { publishRun } from './publish.ts';
import type { CommandsFor } from './commands.ts';
import { requireRun, type RunPlace, type RunPlaces } from './find.ts';

export async function heartbeat(
  { pool, bus, places }: { pool: pg.Pool; bus: Bus; places: RunPlaces },
  access: Access,
  input: { runId: string; attempt?: number | null | undefined },
): Promise<{ commandsFor: CommandsFor | null }> {
  const place = await requireRun(places, access, input.runId, 'run.heartbeat');
  const { rows } = await pool.query<{ attempt: number; asleep: boolean; has_commands: boolean }>(
    `UPDATE run_head SET heartbeat_at = CASE WHEN coalesce($2, attempt) = attempt THEN clock_timestamp() ELSE heartbeat_at END
     WHERE run_id = $1
     RETURNING attempt, has_commands, EXISTS (SELECT FROM run WHERE id = $1 AND status IN ('PENDING', 'CRASHED')) AS asleep`,
    [place.runId, input.attempt ?? null],
  );
  // Erased since it was found.
  if (!rows[0]) throw notFound(`run as ${input.runId}`);
  const newest = rows[0].attempt;
  const attempt = input.attempt ?? newest;
  if (attempt < 1 || attempt > newest)
    throw invalidInput(`attempt must be one of 1 to ${newest}; it is ${attempt}`, { field: 'attempt' });
  if (rows[0].asleep && attempt === newest) await markAlive({ pool, bus }, place, attempt);
  return { commandsFor: rows[0].has_commands ? { runId: place.runId, attempt } : null };
}

/**
 * A run that was only announced, or thought dead, runs when its newest attempt speaks. What has ended stays ended, and
 * an attempt that was resumed since speaks for itself alone.
 */
export async function markAlive(
  { pool, bus }: { pool: pg.Pool; bus: Bus },
  place: RunPlace,
  attempt: number,
): Promise<void> {
  const revived = await transaction(pool, async (client) => {
    // As lockRun does it (./find.ts): only behind the lock is it known which attempt is the newest.
    await client.query('SELECT 1 FROM run WHERE id = $1 FOR NO KEY UPDATE', [place.runId]);
    const { rowCount } = await client.query(
      `UPDATE run SET status = 'RUNNING', started_at = coalesce(started_at, now()), ended_at = NULL, updated_at = now()
       WHERE id = $1 AND status IN ('PENDING', 'CRASHED')
         AND (SELECT attempt FROM run_head WHERE run_id = $1) = $2`,
      [place.runId, attempt],
    );
    if (rowCount)
      await client.query(
        `UPDATE attempt SET status = 'RUNNING', started_at = coalesce(started_at, now()), ended_at = NULL
         WHERE run_id = $1 AND number = $2`,
        [place.runId, attempt],
      );
    return rowCount;
  });
  if (revived) publishRun(bus, place.projectId, { type: 'CHANGED', runId: place.runId });
}
