// One life of a postmaster, from choosing its port to its end. Settings go on its command line, so that a newer
// Runtide's reach an older data folder.
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RuntideError } from '../errors.ts';
import { boundLog, logPath, postgresError, readPostmaster, whereabouts } from './cluster.ts';
import { folderError } from './files.ts';
import type { PostgresProgram } from './postgres-program.ts';
import { PLAIN_ENV, endProcess } from './process.ts';

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '50',
  superuser_reserved_connections: '0', // the superuser cannot connect
  shared_buffers: '256MB',
  wal_compression: 'on',
  // Bounds the recovery after a kill to a few seconds, and what the log of changes takes of a laptop's disk.
  min_wal_size: '128MB',
  max_wal_size: '1GB',
  jit: 'off', // its compiler is not in the package
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_destination: 'stderr',
  log_line_prefix: '%m [%p] ',
  cluster_name: 'runtide',
};

// The whole of a clean stop is promised in 10 s; an immediate one loses nothing either, the next start recovers.
export const STOP_STEPS: [NodeJS.Signals, number][] = [
  ['SIGINT', 6_000],
  ['SIGQUIT', 2_000],
  ['SIGKILL', 2_000],
];
const READY_TIMEOUT_MS = 300_000;
const ORPHANS_TIMEOUT_MS = 10_000;

export interface Postmaster {
  child: ChildProcess;
  pid: number;
  /** Never rejects: how it ended. */
  ended: Promise<string>;
}

export interface Launch {
  program: PostgresProgram;
  dataDir: string;
  port: number;
  settings: Record<string, string>;
  say: (line: string) => void;
  stopping: AbortSignal;
}

/** Chooses `launch.port`: again, when it was taken before PostgreSQL had it. */
export async function startOnFreePort(launch: Launch, choose: () => Promise<number> = freePort): Promise<Postmaster> {
  for (let attempt = 1; ; attempt++) {
    launch.port = await choose();
    try {
      return await startPatiently(launch);
    } catch (error) {
      const taken = error instanceof FailedStart && /could not bind|Address already in use/.test(error.output);
      if (!taken || attempt === 10) throw error instanceof FailedStart ? error.said : error;
    }
  }
}

/** Below the ports that systems give to outgoing connections: while PostgreSQL restarts, none of them takes its place. */
async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const wanted = attempt <= 20 ? 20_000 + Math.floor(Math.random() * 10_000) : 0;
    const port = await new Promise<number>((resolve) => {
      const server = createServer();
      server.once('error', () => {
        resolve(0);
      });
      server.listen({ port: wanted, host: '127.0.0.1', exclusive: true }, () => {
        const address = server.address();
        server.close(() => {
          resolve(typeof address === 'object' && address !== null ? address.port : 0);
        });
      });
    });
    if (port !== 0) return port;
    if (attempt > 25) throw postgresError('no free port on 127.0.0.1', '');
  }
}

/** A start that failed, with what PostgreSQL wrote meanwhile. */
class FailedStart extends Error {
  readonly output: string;
  readonly said: RuntideError;
  constructor(output: string, said: RuntideError) {
    super(said.message);
    this.output = output;
    this.said = said;
  }
}

/** After a kill of the postmaster its backends need a moment to notice; until then PostgreSQL refuses to start. */
export async function startPatiently(launch: Launch): Promise<Postmaster> {
  const deadline = Date.now() + ORPHANS_TIMEOUT_MS;
  for (;;) {
    try {
      return await start(launch);
    } catch (error) {
      const orphans = error instanceof FailedStart && error.output.includes('shared memory block');
      if (!orphans || Date.now() > deadline || launch.stopping.aborted) throw error;
      await pause(100, launch.stopping);
    }
  }
}

async function start(launch: Launch): Promise<Postmaster> {
  const { program, dataDir, port, settings, say, stopping } = launch;
  await boundLog(dataDir).catch(() => {}); // said later, by the regular check; a start matters more
  const flags = constants.O_APPEND | constants.O_CREAT | constants.O_RDWR | constants.O_NOFOLLOW;
  const logFile = await open(logPath(dataDir), flags, 0o600).catch((error: unknown) => {
    throw folderError(dataDir, error);
  });
  try {
    const from = (await logFile.stat()).size;
    const postmaster = spawnPostmaster(program, dataDir, { ...SETTINGS, port: String(port), ...settings }, logFile.fd);
    let how: string | undefined;
    void postmaster.ended.then((text) => (how = text));
    let patience = Date.now() + 3_000;
    for (const deadline = Date.now() + READY_TIMEOUT_MS; Date.now() < deadline && !stopping.aborted; await sleep(10)) {
      if (how !== undefined) break;
      const seen = await readPostmaster(dataDir);
      if (seen?.pid === postmaster.pid && seen.ready) return postmaster;
      if (Date.now() > patience) {
        say('the database is recovering from an unclean stop…');
        patience = Infinity;
      }
    }
    const what = how === undefined ? 'PostgreSQL did not get ready' : `PostgreSQL did not start: ${how}`;
    if (how === undefined) await endPostmaster(postmaster);
    const output = Buffer.alloc(65_536);
    const { bytesRead } = await logFile.read(output, 0, output.length, from);
    const written = output.toString('utf8', 0, bytesRead);
    throw new FailedStart(written, postgresError(what, `${how ?? ''}\n${written}`));
  } finally {
    await logFile.close();
  }
}

/** In a session of its own: Ctrl-C in the terminal is for the server, which stops PostgreSQL last. */
function spawnPostmaster(
  program: PostgresProgram,
  dataDir: string,
  settings: Record<string, string>,
  logFd: number,
): Postmaster {
  const args = whereabouts(dataDir, program.account);
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`);
  const child = spawn(program.postgres, args, {
    cwd: dataDir,
    detached: true,
    env: PLAIN_ENV,
    stdio: ['ignore', logFd, logFd],
    ...program.account,
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('exit', (code, signal) => {
      resolve(signal === null ? `exit code ${code}` : `killed by ${signal}`);
    });
  });
  return { child, pid: child.pid ?? 0, ended };
}

export async function endPostmaster(postmaster: Postmaster): Promise<void> {
  const gone = async (timeoutMs: number) => {
    const timer = new AbortController();
    try {
      const ended = postmaster.ended.then(() => true);
      return await Promise.race([ended, pause(timeoutMs, timer.signal).then(() => false)]);
    } finally {
      timer.abort();
    }
  };
  await endProcess(STOP_STEPS, (signal) => postmaster.child.kill(signal), gone);
}

/** Waits, but not once the signal is given. */
export async function pause(timeoutMs: number, signal: AbortSignal): Promise<void> {
  await sleep(timeoutMs, undefined, { signal }).catch(() => {});
}
