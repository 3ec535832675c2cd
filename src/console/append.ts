// What `appendConsole` does. A stream of a process in an attempt has a length, in bytes of UTF-8; text goes where it
// ends. One statement and one commit: the run's head gives the piece its number, the stream's row its place. So a retry,
// however often and from wherever, counts once, and pieces have the order in which they came. Heads are locked before
// the rows of streams, as by the append of points.
import type pg from 'pg';
import { type Access, notFound } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Pressure } from '../metrics/fold/pressure.ts';
import { readHeads } from '../metrics/heads.ts';
import type { CommandsFor } from '../runs/commands.ts';
import { requireRun, type RunPlaces } from '../runs/find.ts';
import { markAlive } from '../runs/heartbeat.ts';
import { publishSignal } from '../runs/publish.ts';
import { checkWriter } from '../runs/text.ts';
import { pack, PACK_BYTES, PACK_PIECES } from './pack.ts';
import { encodePieces, type Source } from './piece.ts';

export interface AppendConsoleInput {
  runId: string;
  attempt?: number | null | undefined;
  writer: string;
  stream: Source['stream'];
  offset: number;
  text: string;
  /** When it was written; default: now. */
  time?: Date | null | undefined;
  late?: boolean | null | undefined;
}

export interface AppendedConsole {
  /** Bytes that this request stored: 0 for what was there already. */
  accepted: number;
  /** The length of the stream: where its next text goes. */
  offset: number;
  /** Of this piece; of a repetition, the run's newest. */
  cursor: string;
  /** Null: there are none. */
  commandsFor: CommandsFor | null;
}

export interface ConsoleEngines {
  pool: pg.Pool;
  bus: Bus;
  places: RunPlaces;
  pressure: Pressure;
  log: Log;
}

export async function appendConsole(
  { pool, bus, places, pressure, log }: ConsoleEngines,
  access: Access,
  input: AppendConsoleInput,
): Promise<AppendedConsole> {
  checkWriter(input.writer);
  if (input.offset < 0) throw invalidInput(`offset must be 0 or more; it is ${input.offset}`, { field: 'offset' });
  const bytes = checkText(input.text);
  const place = await requireRun(places, access, input.runId, 'console.append');
  pressure.checkDisk();
  const { runId } = place;
  const alive = input.late !== true;
  const stored = await storeText(pool, {
    runId,
    source: {
      attempt: input.attempt ?? (await newestAttempt(pool, runId)),
      writer: input.writer,
      stream: input.stream,
    },
    offset: input.offset,
    bytes,
    time: input.time?.getTime() ?? Date.now(),
    alive,
  });
  if (stored.accepted > 0) {
    publishSignal(bus, runId, { console: stored.sequence });
    // Nobody waits for it, and what it leaves is packed with what comes next.
    if (stored.isPackable)
      void pack(pool, runId).catch((error: unknown) =>
        log.warn({ err: error, runId }, 'console output was not packed'),
      );
    if (stored.asleep)
      await markAlive({ pool, bus }, place, stored.attempt).catch((error: unknown) =>
        log.warn({ err: error, runId }, 'a run that writes could not be marked as running'),
      );
  }
  return {
    accepted: stored.accepted,
    offset: stored.length,
    cursor: String(stored.sequence),
    commandsFor: alive && stored.hasCommands ? { runId, attempt: stored.attempt } : null,
  };
}

/** Half a surrogate pair becomes U+FFFD, as everywhere where text becomes UTF-8; everything else is kept, NUL too. */
function checkText(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length === 0 || bytes.length > limits.consoleTextBytes)
    throw invalidInput(
      `text must have 1 to ${limits.consoleTextBytes} bytes of UTF-8; it has ${bytes.length}: send it in several calls`,
      { field: 'text' },
    );
  return bytes;
}

async function newestAttempt(pool: pg.Pool, runId: string): Promise<number> {
  const head = (await readHeads(pool, [runId])).get(runId);
  if (!head) throw notFound(`run as ${runId}`);
  return head.attempt;
}

export interface StoreInput {
  runId: string;
  source: Source;
  /** Of the first byte, in its source. */
  offset: number;
  bytes: Buffer;
  time: number;
  /** Written by the process itself, now, and so a sign of life. */
  alive: boolean;
}

export interface StoredText {
  accepted: number;
  /** Of the stream, now. */
  length: number;
  sequence: number;
  attempt: number;
  asleep: boolean;
  /** There may be commands for who sent it. */
  hasCommands: boolean;
  /** There is enough that is not packed. */
  isPackable: boolean;
}

/** `mostBytes`: of a run. What would be more is refused whole. */
export async function storeText(
  pool: pg.Pool,
  given: StoreInput,
  mostBytes: number = limits.consoleBytes,
): Promise<StoredText> {
  let { offset, bytes } = given;
  const { runId, source, time, alive } = given;
  const { attempt, writer, stream } = source;
  // Again with what is new of it, or where the reason is gone by now: what was missing may have come meanwhile.
  for (let tries = 0; tries < 4; tries++) {
    const payload = encodePieces([{ ...source, offset, time, text: bytes.toString() }]);
    const { rows } = await pool.query<{
      sequence: number;
      console_bytes: number;
      asleep: boolean;
      has_commands: boolean;
    }>({
      name: 'append console',
      text: APPEND,
      values: [runId, attempt, writer, stream, offset, bytes.length, mostBytes, alive, payload],
    });
    const [row] = rows;
    if (row)
      return {
        accepted: bytes.length,
        length: offset + bytes.length,
        sequence: row.sequence,
        attempt,
        asleep: row.asleep,
        hasCommands: row.has_commands,
        isPackable:
          row.sequence % PACK_PIECES === 0 ||
          Math.floor(row.console_bytes / PACK_BYTES) > Math.floor((row.console_bytes - bytes.length) / PACK_BYTES),
      };
    const { hasCommands, ...now } = await lookUp(pool, runId, source);
    if (attempt < 1 || attempt > now.attempt)
      throw invalidInput(`attempt must be one of 1 to ${now.attempt}; it is ${attempt}`, { field: 'attempt' });
    if (offset + bytes.length <= now.length)
      return { accepted: 0, ...now, attempt, asleep: false, hasCommands, isPackable: false };
    if (offset > now.length)
      throw new RuntideError(
        'CONFLICT',
        `offset ${offset} is ahead of what is there: this stream has ${now.length} bytes, send what follows them first`,
        { field: 'offset', offset: now.length },
      );
    if (offset < now.length) {
      bytes = bytes.subarray(now.length - offset);
      offset = now.length;
      // A byte of UTF-8 that goes on with a character.
      if ((bytes[0]! & 0xc0) === 0x80)
        throw invalidInput(
          `text is not what was sent before: the ${offset} bytes that are there end within a character of it`,
          { field: 'text' },
        );
    }
    if (now.bytes + bytes.length > mostBytes)
      throw invalidInput(
        `the console output of a run may have ${mostBytes} bytes (consoleBytes of the server's limits): this one has ${now.bytes}, and nothing more is stored`,
        { field: 'text' },
      );
  }
  throw new RuntideError('UNAVAILABLE', 'the text could not be placed: send it again', { retryAfterMs: 100 });
}

async function lookUp(pool: pg.Pool, runId: string, { attempt, writer, stream }: Source) {
  const { rows } = await pool.query<{
    attempt: number;
    sequence: number;
    bytes: number;
    length: number;
    hasCommands: boolean;
  }>({
    name: 'console length',
    text: `SELECT h.attempt, h.console_sequence AS sequence, h.console_bytes AS bytes, coalesce(w.length, 0) AS length,
                  h.has_commands AS "hasCommands"
           FROM run_head h LEFT JOIN console_writer w
             ON w.run_id = h.run_id AND w.attempt = $2 AND w.writer = $3 AND w.stream = $4::console_stream
           WHERE h.run_id = $1`,
    values: [runId, attempt, writer, stream],
  });
  const [found] = rows;
  if (!found) throw notFound(`run as ${runId}`);
  return found;
}

// A stream that is not there yet begins at 0. Who waited for the head sees in its row, and in the stream's, what the one
// before did.
const APPEND = `
WITH locked AS (
  SELECT run_id, attempt FROM run_head
  WHERE run_id = $1::uuid AND $2::int BETWEEN 1 AND attempt AND console_bytes + $6::int <= $7::bigint
  FOR NO KEY UPDATE
), counted AS (
  INSERT INTO console_writer AS w (run_id, attempt, writer, stream, length)
  SELECT run_id, $2::int, $3::text, $4::console_stream, $5::bigint + $6::int FROM locked
  WHERE $5::bigint = 0
     OR (SELECT true FROM console_writer x
         WHERE x.run_id = $1::uuid AND x.attempt = $2::int AND x.writer = $3::text AND x.stream = $4::console_stream)
  ON CONFLICT (run_id, attempt, writer, stream) DO UPDATE SET length = EXCLUDED.length WHERE w.length = $5::bigint
  RETURNING run_id
), moved AS (
  UPDATE run_head h
  SET console_sequence = h.console_sequence + 1,
      console_bytes = h.console_bytes + $6::int,
      heartbeat_at = CASE WHEN $8::boolean AND $2::int = h.attempt THEN clock_timestamp() ELSE h.heartbeat_at END
  FROM counted c
  WHERE h.run_id = c.run_id
  RETURNING h.run_id, h.console_sequence, h.console_bytes, h.has_commands, $8::boolean AND $2::int = h.attempt AS alive
), written AS (
  INSERT INTO console_chunk (run_id, sequence, pieces, bytes, payload)
  SELECT run_id, console_sequence, 1, $6::int, $9::bytea FROM moved
)
SELECT console_sequence AS sequence, console_bytes, has_commands,
       alive AND (SELECT r.status IN ('PENDING', 'CRASHED') FROM run r WHERE r.id = $1::uuid) AS asleep
FROM moved`;
