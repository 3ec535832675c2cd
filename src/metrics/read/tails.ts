// The runs of a read and their tails, for every statement that opens one, within bounds: what is too long for memory is
// folded before it is read.
import { RuntideError } from '../../errors.ts';
import { decodedBytes } from '../codec/columns.ts';
import { isRemoval } from '../codec/removal.ts';
import type { Repeats } from '../columns.ts';
import { type JournalRow, readTail, type TailMetric } from '../tail.ts';
import { LongTails } from './rounds.ts';

/**
 * Each with its place in $1. Parameters are hidden from the planner by standing in a row: what it would make of their
 * values is no better than the plan that it keeps, and took 0.75 ms of 1.4.
 */
export const RUNS = `
run AS MATERIALIZED (
  SELECT n.place::int AS run, h.run_id, h.sequence AS head, h.attempt, coalesce(f.folded, 0) AS folded,
         (extract(epoch FROM coalesce(r.started_at, r.created_at)) * 1000)::bigint AS started
  FROM asked CROSS JOIN LATERAL unnest(asked.run_ids) WITH ORDINALITY AS n (run_id, place)
  JOIN run_head h ON h.run_id = n.run_id
  JOIN run r ON r.id = h.run_id
  LEFT JOIN fold f ON f.run_id = h.run_id
)`;

/** Bounds on the tail of one run; it is folded before it is read where it has more. */
const TAIL_POINTS = 1024 * 1024;
const TAIL_BYTES = 32 * 1024 * 1024;
/** Metadata that repeats itself takes a hundredth of this in the journal. */
const TAIL_DECODED_BYTES = 96 * 1024 * 1024;

/** Of the runs, as `j`: what is not folded yet; without payloads where that is too much. */
export const TAILS = `
CROSS JOIN LATERAL (
  SELECT j.sequence, j.attempt,
         CASE WHEN sum(greatest(j.point_count, 0)) OVER () <= ${TAIL_POINTS}
               AND sum(octet_length(j.payload)) OVER () <= ${TAIL_BYTES} THEN j.payload END AS payload
  FROM journal j WHERE j.run_id = run.run_id AND j.sequence > run.folded OFFSET 0
) j`;

/** What was not brought of a run's tail had no room, or what was would have none once it is decoded. */
export function checkTails(runs: readonly { runId: string; journal: readonly { payload: Buffer | null }[] }[]): void {
  const long = runs.filter(({ journal }) => {
    let bytes = 0;
    for (const { payload } of journal) {
      if (payload === null) return true;
      if (!isRemoval(payload)) bytes += decodedBytes(payload, 0);
    }
    return bytes > TAIL_DECODED_BYTES;
  });
  if (long.length > 0) throw new LongTails(long.map(({ runId }) => runId));
}

/** Damage names the run and the batch. */
export function tailOfRun(
  runId: string,
  journal: readonly JournalRow[],
  wanted: (name: string, tag: string) => boolean,
  stored: (name: string, tag: string) => Repeats | null,
): TailMetric[] | RuntideError {
  try {
    return readTail(
      journal.toSorted((one, other) => one.sequence - other.sequence),
      wanted,
      stored,
    );
  } catch (error) {
    if (!(error instanceof RuntideError)) throw error;
    return new RuntideError('INTERNAL', `run ${runId}, ${error.message}`);
  }
}
