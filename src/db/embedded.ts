// The embedded PostgreSQL while the server runs: starts it on a free loopback port, starts it again on the same port
// when it dies, stops it. The caller holds the data folder's lock: a PostgreSQL found running here has lost its server,
// and is stopped.
import { resolve } from 'node:path';
import {
  boundLog,
  connectionString,
  disownPostmaster,
  logPath,
  openCluster,
  postgresError,
  readPostmaster,
} from './cluster.ts';
import { errorCode, folderError } from './files.ts';
import { findPostgres } from './postgres-program.ts';
import { type Launch, STOP_STEPS, endPostmaster, pause, startOnFreePort, startPatiently } from './postmaster.ts';
import { endProcess, processStart, runsIn, waitGone } from './process.ts';
import type { Log as PoolLog } from './pool.ts';

type Log = Pick<PoolLog, 'info' | 'warn' | 'error'>;

export interface EmbeddedPostgres {
  /** Stays good over restarts: PostgreSQL comes back on the same port with the same password. */
  connectionString: string;
  /** Of the postmaster; while it is being started again, of the last one. */
  pid(): number;
  /** Ends every session and waits until all its processes are gone. Idempotent, never rejects. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  /** PostgreSQL's own folder, inside the data folder: `.runtide/postgres`. Its log goes beside it. */
  dataDir: string;
  log: Log;
  /** For people: what a start that takes its time is doing. */
  say?: (line: string) => void;
  /** More settings of PostgreSQL, over ours. */
  settings?: Record<string, string>;
  /** Ends a start that is under way, which may be recovering for minutes; the start then rejects. */
  signal?: AbortSignal;
}

const LOG_CHECK_MS = 60_000;
// Short enough to heal within 5 s of the cause going away, also when it is killed again and again.
const LONGEST_PAUSE_MS = 1_000;
const STABLE_MS = 30_000;

export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const { log, say = () => {}, settings = {} } = options;
  const dataDir = resolve(options.dataDir);
  const stopping = new AbortController();
  const program = await findPostgres(dataDir);
  await stopLeftover(dataDir, log, say);
  const password = await openCluster(program, dataDir, () => {
    say('Making the database…');
  });
  const launch: Launch = { program, dataDir, port: 0, settings, say, stopping: stopping.signal };
  const giveUp = () => stopping.abort();
  options.signal?.addEventListener('abort', giveUp);
  if (options.signal?.aborted) giveUp();
  let current = await startOnFreePort(launch).finally(() => options.signal?.removeEventListener('abort', giveUp));
  log.info({ pid: current.pid, port: launch.port, log: logPath(dataDir) }, 'PostgreSQL is running');

  // A process that exits without a stop (an uncaught error) takes PostgreSQL with it; only SIGKILL leaves it behind.
  const onExit = () => current.child.kill('SIGINT');
  process.once('exit', onExit);
  const logCheck = setInterval(() => {
    boundLog(dataDir).catch((err: unknown) => {
      log.warn({ err }, "PostgreSQL's log could not be shortened");
    });
  }, LOG_CHECK_MS).unref();

  async function keepRunning(): Promise<void> {
    for (let failures = 0; ;) {
      const since = Date.now();
      const how = await current.ended;
      if (stopping.signal.aborted) return;
      if (Date.now() - since > STABLE_MS) failures = 0;
      log.error({ pid: current.pid, how }, 'PostgreSQL ended unexpectedly: starting it again');
      for (let started = false; !started; failures++) {
        if (failures > 0) await pause(Math.min(50 * 2 ** failures, LONGEST_PAUSE_MS), stopping.signal);
        if (stopping.signal.aborted) return;
        try {
          current = await startPatiently(launch);
          started = true;
          log.info({ pid: current.pid, port: launch.port }, 'PostgreSQL is running again');
        } catch (err) {
          if (!stopping.signal.aborted) log.error({ err }, 'PostgreSQL could not be started again');
        }
      }
    }
  }
  const keeping = keepRunning();

  let stopped: Promise<void> | undefined;
  async function stop(): Promise<void> {
    stopping.abort();
    clearInterval(logCheck);
    await endPostmaster(current);
    await keeping;
    process.off('exit', onExit);
    log.info({ pid: current.pid }, 'PostgreSQL is stopped');
  }
  return {
    connectionString: connectionString(launch.port, password),
    pid: () => current.pid,
    stop: () => (stopped ??= stop()),
  };
}

/** A postmaster outlives a server that was killed; what `postmaster.pid` names may by now also be something else. */
async function stopLeftover(dataDir: string, log: Log, say: (line: string) => void): Promise<void> {
  const named = await readPostmaster(dataDir).catch((error: unknown) => {
    throw folderError(dataDir, error);
  });
  const start = named && (await processStart(named.pid));
  if (named !== null && start !== null && (await runsIn(named.pid, 'postgres', dataDir))) {
    say('stopping the database that a killed server left running…');
    log.warn({ pid: named.pid }, 'stopping a PostgreSQL that outlived its server');
    const gone = await endProcess(
      STOP_STEPS,
      (signal) => process.kill(named.pid, signal),
      (timeoutMs) => waitGone(named.pid, start, timeoutMs),
    );
    if (!gone) throw postgresError(`the PostgreSQL with pid ${named.pid} on ${dataDir} cannot be stopped`, '');
    return;
  }
  // A pid of nothing at all is left to PostgreSQL, which looks for orphans of that postmaster before it goes on.
  if (named === null || start !== null || exists(named.pid)) await disownPostmaster(dataDir);
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return errorCode(error) !== 'ESRCH';
  }
}
