// One subscriber of `commands`: each command that waits for the run, once, until somebody has acknowledged it. What has
// been told is known here alone: after a broken connection, what still waits is told again.
import type pg from 'pg';
import type { RunCommand } from '../generated/prisma/client.ts';
import { type CommandsFor, markDelivered, openCommands } from '../runs/commands.ts';
import { type Signals, watchSignals } from './signals.ts';

export function watchCommands(
  signals: Signals,
  pool: pg.Pool,
  { runId, attempt }: CommandsFor,
): Promise<AsyncIterableIterator<RunCommand>> {
  return watchSignals<RunCommand>(signals, runId, () => {
    let told: string[] = [];
    let seen = -1;
    return async (known) => {
      if (known.commands <= seen) return null;
      // Each time anew, so that what was acknowledged meanwhile is not told.
      const { commands } = await signals.share(`commands ${runId}`, known.commands, () => openCommands(pool, runId));
      const next = commands.find((one) => one.attempt === (attempt ?? one.attempt) && !told.includes(one.id));
      told = told.filter((id) => commands.some((one) => one.id === id));
      if (!next) {
        seen = known.commands;
        return null;
      }
      await markDelivered(pool, [next]);
      told.push(next.id);
      return next;
    };
  });
}
