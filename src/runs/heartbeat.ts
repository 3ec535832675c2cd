// Signs of life. Appends carry theirs in their own statement (src/metrics/append.ts); this is the call of a process
// that has nothing to log.
import type pg from 'pg';
import type { Access } from '../access/access.ts';
import type { Bus } from '../bus/bus.ts';
import { invalidInput } from '../errors.ts';
import { publishRun } from './publish.ts';
import { requireRun, type RunPlace, type RunPlaces } from './find.ts';

export async function heartbeat(
  { pool, bus, places }: { pool: pg.Pool; bus: Bus; places: RunPlaces },
  access: Access,
  input: { runId: string; attempt?: number | null | undefined },
): Promise<void> {
  const place = await requireRun(places, access, input.runId, 'WRITE');
  const { rows } = await pool.query<{ attempt: number }>(
    `UPDATE run_head SET heartbeat_at = CASE WHEN coalesce($2, attempt) = attempt THEN clock_timestamp() ELSE heartbeat_at END
     WHERE run_id = $1 RETURNING attempt`,
    [place.runId, input.attempt ?? null],
  );
  const newest = rows[0]?.attempt ?? 1;
  const attempt = input.attempt ?? newest;
  if (attempt < 1 || attempt > newest)
    throw invalidInput(`attempt must be one of 1 to ${newest}; it is ${attempt}`, { field: 'attempt' });
  if (attempt === newest) await markAlive({ pool, bus }, place);
}

/** A run that was only announced, or thought dead, runs when it speaks. What has ended stays ended. */
export async function markAlive({ pool, bus }: { pool: pg.Pool; bus: Bus }, place: RunPlace): Promise<void> {
  const { rowCount } = await pool.query(
    `WITH revived AS (
       UPDATE run SET status = 'RUNNING', started_at = coalesce(started_at, now()), ended_at = NULL, updated_at = now()
       WHERE id = $1 AND status IN ('PENDING', 'CRASHED') RETURNING id
     )
     UPDATE attempt a SET status = 'RUNNING', started_at = coalesce(a.started_at, now()), ended_at = NULL
     FROM revived WHERE a.run_id = revived.id AND a.number = (SELECT max(number) FROM attempt WHERE run_id = revived.id)`,
    [place.runId],
  );
  if (rowCount) publishRun(bus, place.projectId, { type: 'CHANGED', runId: place.runId });
}
