// Ends a run, or one of its attempts. Points that come later are still taken.
import type { Access } from '../access/access.ts';
import type { Bus } from '../bus/bus.ts';
import type { Db } from '../db/prisma.ts';
import { invalidInput } from '../errors.ts';
import { publishRun } from './publish.ts';
import { lockRun, requireRun, type RunPlaces } from './find.ts';

export type FinalStatus = 'COMPLETED' | 'FAILED' | 'CANCELED';

export interface FinishRunInput {
  id: string;
  attempt?: number | null | undefined;
  status?: FinalStatus | null | undefined;
  exitCode?: number | null | undefined;
  endedAt?: Date | null | undefined;
}

/** Repeating it changes nothing. An attempt that was resumed since ends alone: the run goes on. */
export async function finishRun(
  { db, bus, places }: { db: Db; bus: Bus; places: RunPlaces },
  access: Access,
  input: FinishRunInput,
): Promise<void> {
  const place = await requireRun(places, access, input.id, 'run.finish');
  const status = input.status ?? ((input.exitCode ?? 0) === 0 ? 'COMPLETED' : 'FAILED');
  const changed = await db.$transaction(async (tx) => {
    await lockRun(tx, place.runId);
    const run = await tx.run.findUniqueOrThrow({
      where: { id: place.runId },
      select: { status: true, attempts: { orderBy: { number: 'desc' } } },
    });
    const newest = run.attempts[0]?.number ?? 1;
    const attempt = run.attempts.find(({ number }) => number === (input.attempt ?? newest));
    if (!attempt)
      throw invalidInput(`attempt must be one of 1 to ${newest}; it is ${input.attempt}`, { field: 'attempt' });
    if (input.endedAt && attempt.startedAt && input.endedAt < attempt.startedAt)
      throw invalidInput(
        `endedAt must not be before the attempt began, at ${attempt.startedAt.toISOString()}; it is ${input.endedAt.toISOString()}`,
        { field: 'endedAt' },
      );
    const exitCode = input.exitCode ?? attempt.exitCode;
    if (attempt.endedAt && attempt.status === status && attempt.exitCode === exitCode && !input.endedAt) return false;
    const endedAt = input.endedAt ?? attempt.endedAt ?? new Date();
    await tx.attempt.update({
      where: { runId_number: { runId: place.runId, number: attempt.number } },
      data: { status, exitCode, endedAt },
    });
    if (attempt.number === newest) await tx.run.update({ where: { id: place.runId }, data: { status, endedAt } });
    return attempt.number === newest;
  });
  if (changed) publishRun(bus, place.projectId, { type: 'CHANGED', runId: place.runId });
}
