// What people ask of a run that is at work: to stop, to make a checkpoint, to set something. A command is for the attempt
// that is the newest when it is sent. Each process that logs to it is told, with every answer, until one acknowledges; it
// expires when the attempt ends or a newer one begins. A run that was thought dead may still speak, so that CRASHED ends
// nothing by itself.
//
// Whether there may be any stands in the run's head (`has_commands`), which appends read anyway: only where it is set are
// they looked up. Whoever changes it has locked the run, except for who finds that there are none any more.
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { recordActBySql } from '../access/audit.ts';
import { limits } from '../access/limits.ts';
import { requirePermission } from '../access/permissions.ts';
import type { Bus } from '../bus/bus.ts';
import { type Log, transaction } from '../db/pool.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { RunCommand } from '../generated/prisma/client.ts';
import { requireRun, type RunPlaces } from './find.ts';
import { publishSignal } from './publish.ts';
import { checkObject, checkText, checkWriter, isId } from './text.ts';

export interface SendRunCommandInput {
  runId: string;
  kind: RunCommand['kind'];
  payload?: unknown;
}

interface Engines {
  pool: pg.Pool;
  bus: Bus;
  places: RunPlaces;
}

/** Returns the id of the command. CONFLICT where the run has ended, or does not answer to those that it has. */
export async function sendRunCommand(
  { pool, bus, places }: Engines,
  access: Access,
  input: SendRunCommandInput,
): Promise<string> {
  const payload = checkPayload(input);
  const { runId, workspaceId } = await requireRun(places, access, input.runId, 'run.command');
  const id = uuidv7();
  const sequence = await transaction(pool, async (client) => {
    await client.query('SELECT 1 FROM run WHERE id = $1 FOR NO KEY UPDATE', [runId]);
    const { rows } = await client.query<{ name: string; attempt: number; status: string; open: number }>(
      `SELECT r.name, r.status, h.attempt,
              (SELECT count(*) FROM run_command c
               WHERE c.run_id = r.id AND c.attempt = h.attempt AND c.acknowledged_at IS NULL)::int AS open
       FROM run r JOIN run_head h ON h.run_id = r.id WHERE r.id = $1`,
      [runId],
    );
    const [run] = rows;
    if (!run) throw notFound(`run as ${input.runId}`);
    if (!['PENDING', 'RUNNING', 'CRASHED'].includes(run.status))
      throw new RuntideError('CONFLICT', `the run has ended (${run.status}): nobody is there to do it`);
    if (run.open >= limits.openCommands)
      throw new RuntideError(
        'CONFLICT',
        `${run.open} commands wait for this run already: it takes no more until one is acknowledged`,
      );
    await client.query(
      `INSERT INTO run_command (id, run_id, attempt, kind, payload, sent_by_id, sent_by_name)
       VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      [id, runId, run.attempt, input.kind, payload && JSON.stringify(payload), access.userId, access.name],
    );
    await recordActBySql(client, access, {
      action: 'run.command',
      workspaceId,
      target: { type: 'RUN', id: runId, name: run.name },
      details: { commandId: id, kind: input.kind },
    });
    return moveHead(client, runId, 'true');
  });
  publishSignal(bus, runId, { commands: sequence });
  return id;
}

function checkPayload({ kind, payload }: SendRunCommandInput) {
  if (payload == null) {
    if (kind === 'SET')
      throw invalidInput('SET needs a payload: what to set, such as {"lr": 0.01}', { field: 'payload' });
    return null;
  }
  const checked = checkObject(payload, 'payload');
  const bytes = Buffer.byteLength(JSON.stringify(checked));
  if (bytes > limits.commandBytes)
    throw invalidInput(`payload may have ${limits.commandBytes} bytes as JSON; it has ${bytes}`, { field: 'payload' });
  return checked;
}

export interface AcknowledgeRunCommandInput {
  id: string;
  writer?: string | null | undefined;
  message?: string | null | undefined;
}

/** The first one counts; repeating it changes nothing. Also what has expired may have been done. */
export async function acknowledgeRunCommand(
  { pool, bus, places }: Engines,
  access: Access,
  input: AcknowledgeRunCommandInput,
): Promise<void> {
  const writer = input.writer == null ? null : checkWriter(input.writer);
  const message = input.message == null ? null : checkText(input.message, 'message', limits.commandMessageLength);
  const what = `command as ${input.id.slice(0, 64)}`;
  const { rows } = isId(input.id)
    ? await pool.query<{ run_id: string }>('SELECT run_id FROM run_command WHERE id = $1', [input.id])
    : { rows: [] };
  const runId = rows[0]?.run_id;
  const place = runId === undefined ? undefined : (await places.find([runId])).get(runId);
  if (!place) throw notFound(what);
  requirePermission(access, place, 'command.acknowledge', what);
  const sequence = await transaction(pool, async (client) => {
    await client.query('SELECT 1 FROM run WHERE id = $1 FOR NO KEY UPDATE', [place.runId]);
    const { rowCount } = await client.query(
      `UPDATE run_command
       SET acknowledged_at = now(), delivered_at = coalesce(delivered_at, now()), acknowledged_by = $2, message = $3
       WHERE id = $1 AND acknowledged_at IS NULL`,
      [input.id, writer, message],
    );
    if (!rowCount) return null;
    return moveHead(
      client,
      place.runId,
      'EXISTS (SELECT FROM run_command c WHERE c.run_id = $1 AND c.attempt = h.attempt AND c.acknowledged_at IS NULL)',
    );
  });
  if (sequence !== null) publishSignal(bus, place.runId, { commands: sequence });
}

/** Returns how often something happened to the commands of the run. */
async function moveHead(client: pg.PoolClient, runId: string, hasCommands: string): Promise<number> {
  const { rows } = await client.query<{ command_sequence: number }>(
    `UPDATE run_head h SET command_sequence = command_sequence + 1, has_commands = ${hasCommands}
     WHERE run_id = $1 RETURNING command_sequence`,
    [runId],
  );
  if (!rows[0]) throw notFound(`run as ${runId}`);
  return rows[0].command_sequence;
}

/** For whom there may be commands: a process of this attempt. */
export interface CommandsFor {
  runId: string;
  /** Null: of the newest. */
  attempt: number | null;
}

/** Those that nobody has acknowledged, the oldest first, as delivered. Never throws: whoever asks has stored something. */
export async function receiveCommands(
  { pool, log }: { pool: pg.Pool; log: Log },
  receiver: CommandsFor,
): Promise<RunCommand[]> {
  try {
    const { commands, sequence } = await openCommands(pool, receiver.runId);
    if (commands.length === 0) await clearFlag(pool, receiver.runId, sequence);
    const theirs = commands.filter(({ attempt }) => attempt === (receiver.attempt ?? attempt));
    await markDelivered(pool, theirs);
    return theirs;
  } catch (error) {
    log.warn({ err: error, runId: receiver.runId }, 'commands could not be looked up; the next answer has them');
    return [];
  }
}

/** Of the newest attempt, if it has not ended. `sequence`: as of the same moment. */
export async function openCommands(
  pool: pg.Pool,
  runId: string,
): Promise<{ commands: RunCommand[]; sequence: number }> {
  const { rows } = await pool.query<RunCommand & { id: string | null; sequence: number }>({
    name: 'open commands',
    text: `SELECT h.command_sequence AS sequence, c.id, c.run_id AS "runId", c.attempt, c.kind, c.payload,
                  c.sent_by_id AS "sentById", c.sent_by_name AS "sentByName", c.sent_at AS "sentAt",
                  c.delivered_at AS "deliveredAt", c.acknowledged_at AS "acknowledgedAt",
                  c.acknowledged_by AS "acknowledgedBy", c.message
           FROM run_head h LEFT JOIN (
             run_command c JOIN attempt a
               ON a.run_id = c.run_id AND a.number = c.attempt AND a.status IN ('PENDING', 'RUNNING', 'CRASHED')
           ) ON c.run_id = h.run_id AND c.attempt = h.attempt AND c.acknowledged_at IS NULL
           WHERE h.run_id = $1 ORDER BY c.id`,
    values: [runId],
  });
  return {
    commands: rows.filter(({ id }) => id !== null),
    sequence: rows[0]?.sequence ?? 0,
  };
}

export async function markDelivered(pool: pg.Pool, commands: readonly RunCommand[]): Promise<void> {
  const ids = commands.filter(({ deliveredAt }) => deliveredAt === null).map(({ id }) => id);
  if (ids.length === 0) return;
  const now = new Date();
  await pool.query({
    name: 'commands delivered',
    text: 'UPDATE run_command SET delivered_at = $2 WHERE id = ANY($1::uuid[]) AND delivered_at IS NULL',
    values: [ids, now],
  });
  for (const command of commands) command.deliveredAt ??= now;
}

/** Only if nothing has been sent since it was seen that there are none. */
async function clearFlag(pool: pg.Pool, runId: string, sequence: number): Promise<void> {
  await pool.query({
    name: 'no commands',
    text: 'UPDATE run_head SET has_commands = false WHERE run_id = $1 AND command_sequence = $2 AND has_commands',
    values: [runId, sequence],
  });
}
