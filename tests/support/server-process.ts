// The server as people start it: a process of its own, that can be killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AUTH_SECRET } from './secret.ts';

export interface ServerProcess {
  url: string;
  apiKey: string;
  /** A folder of its own: home and data. */
  home: string;
  pid: number;
  output(): string;
  /** Sends a signal and waits for the end; returns the exit code, null after a signal. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

export interface ServerProcessOptions {
  /** Of an earlier process, to go on with its data; the caller removes it. */
  home?: string;
  env?: Record<string, string>;
  /** A process group of its own, as a terminal gives to what it runs. */
  detached?: boolean;
}

/** Everything is folded 20 times a second, and gone from the journal half a second later: what seldom meets, meets. */
export const HASTY = {
  RUNTIDE_TEST_RHYTHM: JSON.stringify({
    tickMs: 50,
    waitMs: 50,
    pauseMs: 0,
    tailBytes: 1,
    smallBytes: 0,
    surveyMs: 50,
    windowMs: 500,
  }),
};

/** Also on a machine that is busy, and with a database that has to recover. */
const START_MS = 60_000;

export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export function makeHome(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'runtide-home-'));
}

export async function removeHome(home: string): Promise<void> {
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
}

/** Only what a server needs of the environment, so that a developer's own settings do not change a test. */
export function serverEnv(home: string, env: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    HOME: home,
    RUNTIDE_DATA_DIR: join(home, 'data'),
    RUNTIDE_PORT: '0',
    RUNTIDE_AUTH_SECRET: AUTH_SECRET,
    ...env,
  };
}

export async function startServerProcess({
  home,
  env,
  detached = false,
}: ServerProcessOptions = {}): Promise<ServerProcess> {
  const folder = home ?? (await makeHome());
  const child = spawn(process.execPath, [MAIN], { cwd: folder, env: serverEnv(folder, env), detached });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const url = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the server did not start within ${START_MS} ms:\n${output}`));
    }, START_MS);
    child.once('exit', () => clearTimeout(late));
    const look = () => {
      const found = /Dashboard +(https?:\S+)\/app\/[\s\S]*Data +/.exec(output)?.[1];
      if (!found) return;
      clearTimeout(late);
      resolve(found);
    };
    child.stdout.on('data', look);
    child.once('exit', (code, signal) => reject(new Error(`the server ended (${code ?? signal}):\n${output}`)));
  });
  const credentials = await readCredentials(join(folder, '.config/runtide/credentials.json'));
  return {
    url,
    apiKey: credentials[url]?.apiKey ?? '',
    home: folder,
    pid: child.pid as number,
    output: () => output,
    end: (signal = 'SIGTERM') => endProcess(child, signal),
  };
}

/** Empty where the server could not write them. */
async function readCredentials(path: string): Promise<Record<string, { apiKey: string }>> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Record<string, { apiKey: string }>;
  } catch {
    return {};
  }
}

async function endProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
  return child.exitCode;
}
