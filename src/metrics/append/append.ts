// The append: one statement and one commit for a group of batches, each of another run, in which the writer's row
// accepts the batch number if it is new, the run's head moves, and the journal row is inserted. Whole or not at all; the
// answer leaves after the commit, to each batch its own. Who is in a group with whom is said by groups.ts.
import type pg from 'pg';
import { notFound } from '../../access/access.ts';
import { invalidInput, RuntideError } from '../../errors.ts';
import type { Batch } from './batch.ts';
import { encodeColumns } from '../codec/columns.ts';
import { ALONE, createGroups, type Member } from './groups.ts';

export interface AppendInput {
  runId: string;
  /** Default: the run's newest. */
  attempt: number | null;
  /** With its number the batch counts once, however often and in whatever order it is sent. */
  writer: { id: string; batch: number } | null;
  /** Sent by the process itself, now, and so a sign of life; a delivery from a spool is none. */
  alive: boolean;
  batch: Batch;
}

export interface Appended {
  duplicate: boolean;
  /** Of this batch; for a duplicate, the run's newest. */
  sequence: number;
  attempt: number;
  /** The run is only announced, or thought dead, and this says that it lives. */
  asleep: boolean;
  /** There may be commands for who sent it. */
  hasCommands: boolean;
  pointCount: number;
  payload: Buffer;
}

/** Numbers above a writer's base that are taken before the base itself has come. */
export const WINDOW = 64;

export async function appendBatch(pool: pg.Pool, input: AppendInput): Promise<Appended> {
  const payload = encodeColumns(input.batch.columns);
  const { runId, attempt, writer } = input;
  const { pointCount } = input.batch;
  // Again where the reason is gone by now: a number that was above a writer's window may have come into it meanwhile.
  for (let tries = 0; tries < 3; tries++) {
    const accepted = await groupsOf(pool)({
      runId,
      values: [runId, writer?.id ?? null, writer?.batch ?? null, attempt, input.alive, pointCount, payload],
      bytes: payload.length,
    });
    if (accepted) return { duplicate: false, ...accepted, pointCount, payload };
    const refused = await explain(pool, input);
    if (refused) return { duplicate: true, ...refused, asleep: false, pointCount, payload };
  }
  throw new RuntideError('UNAVAILABLE', 'the batch could not be placed: send it again', { retryAfterMs: 100 });
}

interface Accepted {
  sequence: number;
  attempt: number;
  asleep: boolean;
  hasCommands: boolean;
}

interface Row extends Member {
  values: unknown[];
}

const groups = new WeakMap<pg.Pool, (row: Row) => Promise<Accepted | null>>();

function groupsOf(pool: pg.Pool): (row: Row) => Promise<Accepted | null> {
  const found = groups.get(pool) ?? createGroups<Row, Accepted | null>((group) => appendGroup(pool, group));
  groups.set(pool, found);
  return found;
}

/** Of batches of different runs, for each what it became, or null where nothing was inserted. */
async function appendGroup(pool: pg.Pool, group: readonly Row[]): Promise<(Accepted | null | typeof ALONE)[]> {
  const [only] = group;
  // Measured: a payload in an array goes as text, and is slow past a few KB.
  const { rows } = await pool.query<Partial<Accepted> & { run_id: string }>(
    group.length === 1
      ? { name: 'append', text: APPEND_ONE, values: only!.values }
      : {
          name: 'append group',
          text: APPEND_MANY,
          values: only!.values.map((_, column) => group.map(({ values }) => values[column])),
        },
  );
  const byRun = new Map(rows.map((row) => [row.run_id, row]));
  return group.map(({ runId }) => {
    const { sequence, attempt, asleep, hasCommands } = byRun.get(runId) ?? {};
    if (sequence != null && attempt != null)
      return { sequence, attempt, asleep: asleep === true, hasCommands: hasCommands === true };
    // Somebody else had its head, or it has none.
    return group.length > 1 && !byRun.has(runId) ? ALONE : null;
  });
}

/** Why nothing was inserted: a duplicate is returned, a wrong batch thrown, and null means that it is right by now. */
async function explain(pool: pg.Pool, input: AppendInput): Promise<Omit<Accepted, 'asleep'> | null> {
  const { writer, attempt } = input;
  const { rows } = await pool.query<{
    sequence: number;
    attempt: number;
    hasCommands: boolean;
    base: number | null;
    accepted: string | null;
  }>(
    `SELECT h.sequence, h.attempt, h.has_commands AS "hasCommands", w.base, w.accepted
     FROM run_head h LEFT JOIN run_writer w ON w.run_id = h.run_id AND w.writer = $2
     WHERE h.run_id = $1`,
    [input.runId, writer?.id ?? null],
  );
  const head = rows[0];
  if (!head) throw notFound(`run as ${input.runId}`);
  if (attempt !== null && (attempt < 1 || attempt > head.attempt))
    throw invalidInput(`attempt must be one of 1 to ${head.attempt}; it is ${attempt}`, { field: 'attempt' });
  if (!writer) return null;
  const base = head.base ?? 1;
  if (writer.batch >= base + WINDOW)
    throw new RuntideError(
      'CONFLICT',
      `batch ${writer.batch} is too far ahead: send batch ${base} first (up to ${base + WINDOW - 1} may be under way)`,
      { field: 'batch', base },
    );
  const known = writer.batch < base || head.accepted?.[writer.batch - base] === '1';
  const { sequence, hasCommands } = head;
  return known ? { sequence, attempt: head.attempt, hasCommands } : null;
}

// `accepted` is 64 bits from `base` on, the leftmost is `base` itself. (bit(64), because >> on bigint extends the sign.)
// The upsert waits for another one of the same writer and then sees what it did: of the same number sent twice at
// once one is accepted. A writer that is not there yet may begin with any number of its first window; a row is never
// deleted, so a look in the statement's snapshot is enough for the others. (As EXISTS the look may be planned as a hash of
// the whole table, and a plan is kept: 4 ms a batch instead of 0.1 with 20,000 writers not yet analyzed.)
// The heads are locked first. A group passes over those that others have, so that nobody in it waits for them.
const append = (input: string, which: string, lock: string) => `
WITH input AS (
  ${input}
), locked AS (
  SELECT h.run_id, h.attempt, h.has_commands FROM run_head h WHERE h.run_id ${which}
  FOR NO KEY UPDATE ${lock}
), valid AS (
  SELECT i.run_id, i.writer, i.batch, coalesce(i.attempt, h.attempt) AS attempt, i.alive, i.point_count, i.payload
  FROM input i JOIN locked h ON h.run_id = i.run_id
  WHERE coalesce(i.attempt, h.attempt) BETWEEN 1 AND h.attempt
), counted AS (
  INSERT INTO run_writer AS w (run_id, writer, base, accepted, batch)
  SELECT v.run_id, v.writer,
         CASE WHEN v.batch = 1 THEN 2 ELSE 1 END,
         CASE WHEN v.batch BETWEEN 2 AND ${WINDOW} THEN set_bit(0::bigint::bit(64), v.batch::int - 1, 1) ELSE 0::bigint::bit(64) END,
         v.batch
  FROM valid v
  WHERE v.writer IS NOT NULL
    AND (v.batch <= ${WINDOW} OR (SELECT true FROM run_writer x WHERE x.run_id = v.run_id AND x.writer = v.writer))
  ON CONFLICT (run_id, writer) DO UPDATE SET (base, accepted, batch) = (
    SELECT w.base + ones, marked << ones, EXCLUDED.batch
    FROM (SELECT set_bit(w.accepted, (EXCLUDED.batch - w.base)::int, 1) AS marked) m,
         LATERAL (SELECT coalesce(nullif(position(B'0' IN marked), 0) - 1, ${WINDOW}) AS ones) o
  )
  WHERE CASE WHEN EXCLUDED.batch BETWEEN w.base AND w.base + ${WINDOW - 1}
             THEN get_bit(w.accepted, (EXCLUDED.batch - w.base)::int) = 0 ELSE false END
  RETURNING w.run_id, w.writer
), moved AS (
  UPDATE run_head h
  SET sequence = h.sequence + 1,
      bytes = h.bytes + octet_length(v.payload),
      heartbeat_at = CASE WHEN v.alive AND v.attempt = h.attempt THEN clock_timestamp() ELSE h.heartbeat_at END
  FROM valid v
  WHERE h.run_id = v.run_id
    AND (v.writer IS NULL OR EXISTS (SELECT FROM counted c WHERE c.run_id = v.run_id AND c.writer = v.writer))
  RETURNING h.run_id, h.sequence, v.attempt, v.point_count, v.payload, v.alive AND v.attempt = h.attempt AS alive
), written AS (
  INSERT INTO journal (run_id, sequence, attempt, point_count, payload)
  SELECT run_id, sequence, attempt, point_count, payload FROM moved
)
SELECT l.run_id, m.sequence, m.attempt, l.has_commands AS "hasCommands",
       m.alive AND (SELECT r.status IN ('PENDING', 'CRASHED') FROM run r WHERE r.id = l.run_id) AS asleep
FROM locked l LEFT JOIN moved m ON m.run_id = l.run_id`;

const APPEND_ONE = append(
  `SELECT $1::uuid AS run_id, $2::text AS writer, $3::bigint AS batch, $4::int AS attempt,
         $5::boolean AS alive, $6::int AS point_count, $7::bytea AS payload`,
  '= $1',
  '',
);

const APPEND_MANY = append(
  `SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::int[], $5::boolean[], $6::int[], $7::bytea[])
         AS given (run_id, writer, batch, attempt, alive, point_count, payload)`,
  '= ANY($1)',
  'SKIP LOCKED',
);
