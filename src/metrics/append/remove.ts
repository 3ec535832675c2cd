// What `deletePoints` does: a removal goes into the journal with a sequence of its own, so that its place among the
// batches decides what it covers: what was accepted before it, and nothing after. Points are not looked at here; who
// reads them, and the fold, leave out what was removed. It is no sign of life, and takes no writer's number: a batch
// that was accepted before stays a duplicate, and does not bring its points back.
import type pg from 'pg';
import { type Access, notFound } from '../../access/access.ts';
import { recordActBySql } from '../../access/audit.ts';
import type { Bus } from '../../bus/bus.ts';
import { transaction } from '../../db/pool.ts';
import { invalidInput } from '../../errors.ts';
import { requireRun, type RunPlaces } from '../../runs/find.ts';
import { checkMetricName } from './batch.ts';
import { encodeRemoval, type Removal } from '../codec/removal.ts';
import type { Folding } from '../fold/folding.ts';
import { readHeads } from '../heads.ts';
import { publishBatch } from './publish.ts';

export interface DeletePointsInput {
  runId: string;
  name: string;
  /** Default: the untagged metric. */
  tag?: string | null | undefined;
  /** Default: in all attempts, and of later ones nothing. */
  attempt?: number | null | undefined;
  /** Inclusive steps. */
  from?: number | null | undefined;
  to?: number | null | undefined;
}

export interface Removed {
  runId: string;
  cursor: string;
}

/** What has no such points is left as it is, and is no error: whoever had no answer asks again. */
export async function deletePoints(
  { pool, bus, places, folding }: { pool: pg.Pool; bus: Bus; places: RunPlaces; folding: Folding },
  access: Access,
  input: DeletePointsInput,
): Promise<Removed> {
  const removal = checkRemoval(input);
  const { runId, workspaceId } = await requireRun(places, access, input.runId, 'points.delete');
  const payload = encodeRemoval(removal);
  const stored = await transaction(pool, async (client) => {
    const appended = await appendRemoval(client, runId, removal.attempt, payload);
    if (appended)
      await recordActBySql(client, access, {
        action: 'points.delete',
        workspaceId,
        target: { type: 'RUN', id: runId, name: runId },
        details: { ...removal },
      });
    return appended;
  });
  if (!stored) throw await whyRefused(pool, runId, removal);
  folding.appended(runId, payload.length);
  // Without what it says: subscribers read it from the journal, as they do large batches.
  publishBatch(bus, runId, { ...stored, pointCount: 0, payload: null });
  return { runId, cursor: String(stored.sequence) };
}

function checkRemoval({ name, tag, attempt, from, to }: DeletePointsInput): Removal {
  if (from != null && to != null && from > to)
    throw invalidInput(`from must not be above to: ${from} is above ${to}`, { field: 'from' });
  return {
    name: checkMetricName(name, 'name', 1),
    tag: checkMetricName(tag ?? '', 'tag', 0),
    attempt: attempt ?? null,
    from: from ?? null,
    to: to ?? null,
  };
}

/** Null where there is no such attempt. */
async function appendRemoval(
  client: pg.PoolClient,
  runId: string,
  /** Null: the newest. */
  attempt: number | null,
  payload: Buffer,
): Promise<{ sequence: number; attempt: number } | null> {
  const { rows } = await client.query<{ sequence: number; attempt: number }>({
    name: 'remove',
    text: REMOVE,
    values: [runId, attempt, payload],
  });
  return rows[0] ?? null;
}

async function whyRefused(pool: pg.Pool, runId: string, removal: Removal): Promise<Error> {
  const head = (await readHeads(pool, [runId])).get(runId);
  if (!head) return notFound(`run as ${runId}`);
  return invalidInput(`attempt must be one of 1 to ${head.attempt}; it is ${removal.attempt}`, { field: 'attempt' });
}

// The head is taken as appends take it: whoever comes second gets the next sequence. Of which attempts points are
// removed is said by the payload; the row's own is the newest where that is all of them.
const REMOVE = `
WITH moved AS (
  UPDATE run_head
  SET sequence = sequence + 1, bytes = bytes + octet_length($3::bytea)
  WHERE run_id = $1::uuid AND coalesce($2::int, attempt) BETWEEN 1 AND attempt
  RETURNING sequence, coalesce($2::int, attempt) AS attempt
), written AS (
  INSERT INTO journal (run_id, sequence, attempt, point_count, payload)
  SELECT $1::uuid, sequence, attempt, 0, $3::bytea FROM moved
)
SELECT sequence, attempt FROM moved`;
