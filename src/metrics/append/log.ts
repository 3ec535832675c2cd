// What `logMetrics` does: check, append, and only then wake whoever watches.
import type pg from 'pg';
import type { Access } from '../../access/access.ts';
import type { Bus } from '../../bus/bus.ts';
import type { Log } from '../../db/pool.ts';
import { invalidInput } from '../../errors.ts';
import type { Folding } from '../fold/folding.ts';
import type { Pressure } from '../fold/pressure.ts';
import { publishBatch } from './publish.ts';
import type { CommandsFor } from '../../runs/commands.ts';
import { requireRun, type RunPlaces } from '../../runs/find.ts';
import { markAlive } from '../../runs/heartbeat.ts';
import { checkWriter } from '../../runs/text.ts';
import { appendBatch } from './append.ts';
import { makeBatch, type MetricColumnsInput, type PointInput } from './batch.ts';

export interface LogMetricsInput {
  runId: string;
  attempt?: number | null | undefined;
  writer?: string | null | undefined;
  batch?: number | null | undefined;
  late?: boolean | null | undefined;
  metrics?: MetricColumnsInput[] | null | undefined;
  points?: PointInput[] | null | undefined;
}

export interface Logged {
  accepted: number;
  duplicate: boolean;
  cursor: string;
  /** Null: there are none. */
  commandsFor: CommandsFor | null;
}

export interface LogEngines {
  pool: pg.Pool;
  bus: Bus;
  places: RunPlaces;
  folding: Folding;
  pressure: Pressure;
  log: Log;
}

export async function logMetrics(
  { pool, bus, places, folding, pressure, log }: LogEngines,
  access: Access,
  input: LogMetricsInput,
): Promise<Logged> {
  const writer = checkNumbered(input);
  const batch = makeBatch(input.metrics ?? [], input.points ?? []);
  const place = await requireRun(places, access, input.runId, 'points.log');
  pressure.check();
  const alive = input.late !== true;
  const appended = await appendBatch(pool, {
    runId: place.runId,
    attempt: input.attempt ?? null,
    writer,
    alive,
    batch,
  });
  if (!appended.duplicate) {
    publishBatch(bus, place.runId, appended);
    folding.appended(place.runId, appended.payload.length);
    // The batch is stored whatever becomes of this: the next one says again that the run lives.
    if (appended.asleep)
      await markAlive({ pool, bus }, place, appended.attempt).catch((error: unknown) =>
        log.warn({ err: error, runId: place.runId }, 'a run that logs could not be marked as running'),
      );
  }
  return {
    accepted: appended.duplicate ? 0 : batch.pointCount,
    duplicate: appended.duplicate,
    cursor: String(appended.sequence),
    // A spool is not the process.
    commandsFor: alive && appended.hasCommands ? { runId: place.runId, attempt: input.attempt ?? null } : null,
  };
}

function checkNumbered({ writer, batch }: LogMetricsInput): { id: string; batch: number } | null {
  if (writer == null && batch == null) return null;
  if (writer == null || batch == null)
    throw invalidInput('writer and batch go together: send both, or neither', {
      field: writer == null ? 'writer' : 'batch',
    });
  checkWriter(writer);
  if (!Number.isSafeInteger(batch) || batch < 1)
    throw invalidInput(`batch must be an integer from 1 on; it is ${batch}`, { field: 'batch' });
  return { id: writer, batch };
}
