// The list of a project's runs: newest first, one row a run, kept right by events.
import type { RunEventType, RunRowFragment } from './generated/graphql.ts';

export type RunRow = RunRowFragment;
export type RunChange = { type: RunEventType; runId: string; run?: RunRow | null };

const newestFirst = (a: RunRow, b: RunRow): number =>
  Date.parse(b.createdAt) - Date.parse(a.createdAt) || (a.id < b.id ? 1 : -1);

/** A known run changes in place, a new one goes where its time says. A change of a run below the loaded pages adds
 *  nothing, unless the list is loaded to its end. */
export function applyRunChange(rows: readonly RunRow[], change: RunChange, allLoaded: boolean): RunRow[] {
  const { run } = change;
  if (change.type === 'DELETED' || !run) return rows.filter((row) => row.id !== change.runId);
  const at = rows.findIndex((row) => row.id === run.id);
  if (at >= 0) return rows.with(at, run);
  const oldest = rows.at(-1);
  if (oldest && !allLoaded && newestFirst(run, oldest) > 0) return [...rows];
  return [...rows, run].toSorted(newestFirst);
}

/** A page that was read, under the changes that came while it was on its way: those are newer. */
export function mergeRead(read: readonly RunRow[], changes: readonly RunChange[], allLoaded: boolean): RunRow[] {
  return changes.reduce<RunRow[]>(
    (rows, change) => applyRunChange(rows, change, allLoaded),
    read.toSorted(newestFirst),
  );
}

export const startOf = (run: RunRow): number => Date.parse(run.startedAt ?? run.createdAt);

/** How long a run has been going, or went. A crashed run ended with its last sign of life. */
export function durationOf(run: RunRow, now: number): number | null {
  if (run.status === 'PENDING') return null;
  const end = run.endedAt ?? (run.status === 'RUNNING' ? null : run.heartbeatAt);
  if (end === null && run.status !== 'RUNNING') return null;
  return Math.max(0, (end === null ? now : Date.parse(end)) - startOf(run));
}
