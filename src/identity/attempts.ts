// How often something may be attempted: sign-ins and their like, by account and by address, for all server processes
// together. Counted before it is known how the attempt ends, so that a thousand at once are no way around it.
import { hash } from 'node:crypto';
import type pg from 'pg';

export interface Bound {
  /** Of whom or what: its hash is stored. */
  key: string;
  most: number;
  seconds: number;
}

/** Counts one attempt under each key. Returns in how many seconds another will be allowed; 0: this one is. */
export async function countAttempt(pool: pg.Pool, bounds: readonly Bound[]): Promise<number> {
  const { rows } = await pool.query<{ seconds: number }>({
    name: 'attempts',
    text: `WITH bound AS (SELECT * FROM unnest($1::text[], $2::int[], $3::int[]) AS bound (key, most, seconds)),
                counted AS (
                  INSERT INTO attempts AS old (key, count, reset_at)
                  SELECT key, 1, clock_timestamp() + seconds * interval '1 second' FROM bound ORDER BY key
                  ON CONFLICT (key) DO UPDATE SET
                    count = CASE WHEN old.reset_at <= clock_timestamp() THEN 1 ELSE least(old.count, 1000000) + 1 END,
                    reset_at = CASE WHEN old.reset_at <= clock_timestamp() THEN excluded.reset_at ELSE old.reset_at END
                  RETURNING key, count, reset_at)
           SELECT coalesce(max(greatest(1, ceil(extract(epoch FROM reset_at - clock_timestamp())))), 0)::int AS seconds
           FROM counted JOIN bound USING (key) WHERE count > most`,
    values: [
      bounds.map(({ key }) => hash('sha256', key)),
      bounds.map(({ most }) => most),
      bounds.map(({ seconds }) => seconds),
    ],
  });
  return rows[0]?.seconds ?? 0;
}

/** Rows whose window is over say nothing. */
export async function forgetAttempts(pool: pg.Pool): Promise<void> {
  await pool.query(`DELETE FROM attempts WHERE reset_at < clock_timestamp() - interval '1 hour'`);
}
