// A look at the whole tail, without a lock: how large it is, and which runs want folding that nobody seems to fold. It
// skips from run to run over the journal's key, so it costs by the number of runs in the journal, not of rows, nor of runs
// that there are (OFFSET 0: else all heads are joined at once).
import type pg from 'pg';

export interface Survey {
  /** Of all payloads that are not folded yet. */
  bytes: number;
  /** Runs that have such. */
  waiting: number;
  /** Those that wait for longer than they should, or have rows that the replay window has passed. */
  due: { runId: string; bytes: number }[];
}

/** Runs that one look finds; the next one finds the others. */
const DUE_AT_ONCE = 1_000;

export async function surveyTail(
  pool: pg.Pool,
  about: { windowMs: number; overdueMs: number; smallBytes: number; smallOverdueMs: number },
): Promise<Survey> {
  const { windowMs, overdueMs, smallBytes, smallOverdueMs } = about;
  const { rows } = await pool.query<{ bytes: number; waiting: number; due: { runId: string; bytes: number }[] | null }>(
    {
      name: 'survey of the tail',
      text: `
WITH RECURSIVE runs AS (
  (SELECT run_id FROM journal ORDER BY run_id LIMIT 1)
  UNION ALL
  SELECT (SELECT j.run_id FROM journal j WHERE j.run_id > r.run_id ORDER BY j.run_id LIMIT 1)
  FROM runs r WHERE r.run_id IS NOT NULL
), tails AS (
  SELECT r.run_id, h.bytes - coalesce(f.bytes, 0) AS bytes, h.sequence > coalesce(f.folded, 0) AS waits,
         (SELECT j.accepted_at FROM journal j WHERE j.run_id = r.run_id AND j.sequence > coalesce(f.folded, 0)
          ORDER BY j.sequence LIMIT 1) < clock_timestamp() - interval '1 millisecond' *
           CASE WHEN h.bytes - coalesce(f.bytes, 0) < $3 THEN $4::float8 ELSE $2::float8 END AS overdue,
         (SELECT j.accepted_at FROM journal j
          WHERE j.run_id = r.run_id AND j.sequence = f.oldest_kept AND f.oldest_kept <= f.folded)
         < clock_timestamp() - $1 * interval '1 millisecond' AS passed
  FROM runs r
  CROSS JOIN LATERAL (SELECT * FROM run_head h WHERE h.run_id = r.run_id OFFSET 0) h
  LEFT JOIN LATERAL (SELECT * FROM fold f WHERE f.run_id = r.run_id OFFSET 0) f ON true
)
SELECT coalesce(sum(bytes) FILTER (WHERE waits), 0)::bigint AS bytes, count(*) FILTER (WHERE waits) AS waiting,
       (SELECT json_agg(json_build_object('runId', d.run_id, 'bytes', d.bytes))
        FROM (SELECT * FROM tails WHERE overdue OR passed LIMIT ${DUE_AT_ONCE}) d) AS due
FROM tails`,
      values: [windowMs, overdueMs, smallBytes, smallOverdueMs],
    },
  );
  const [{ bytes, waiting, due }] = rows as [(typeof rows)[number]];
  return { bytes, waiting, due: due ?? [] };
}
