// Processes of this machine: who a pid is (a pid alone says nothing after a reboot or once it is used again), running
// a program to its end, ending one step by step. Knows nothing of PostgreSQL beyond being told its name.
import { execFile, spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { platform } from 'node:os';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorCode } from './files.ts';

/** The user a program runs as, where that is not our own. */
export interface Account {
  uid: number;
  gid: number;
}

/** All a program of ours inherits: no secrets, messages in English (they are read), no surprises from the user's shell. */
export const PLAIN_ENV = { PATH: '/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C', TZ: 'UTC' };

const linux = platform() === 'linux';
const execute = promisify(execFile);

async function ps(pid: number, columns: string): Promise<string | null> {
  try {
    return (await execute('ps', ['-o', columns, '-p', String(pid)], { env: PLAIN_ENV })).stdout.trim() || null;
  } catch (error) {
    if (errorCode(error) === '1') return null; // there is no such process
    throw error;
  }
}

let bootId: Promise<string> | undefined;

/**
 * When the process with this pid was started, as an opaque text that no other process with the same pid has, also not
 * after a reboot; null when there is none, or only its unreaped remains.
 */
export async function processStart(pid: number): Promise<string | null> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  if (!linux) {
    const [state, ...start] = (await ps(pid, 'stat=,lstart='))?.split(/\s+/) ?? [];
    return state === undefined || state.startsWith('Z') ? null : start.join(' ');
  }
  // The second field is the program's name, in parentheses, and may hold anything: count from the last one on.
  const line = await readFile(`/proc/${pid}/stat`, 'latin1').catch((error: unknown) => {
    if (['ENOENT', 'ESRCH'].includes(errorCode(error))) return '';
    throw error; // too many open files, say, does not mean that the process is gone
  });
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  if (line === '' || fields[0] === 'Z' || fields[0] === 'X') return null;
  bootId ??= readFile('/proc/sys/kernel/random/boot_id', 'latin1').then(
    (text) => text.trim(),
    () => '',
  );
  return `${await bootId}:${fields[19]}`;
}

/** Whether this pid is a program of this name at work in this folder (its working directory, or `-D` names it). */
export async function runsIn(pid: number, program: string, folder: string): Promise<boolean> {
  if ((await processStart(pid)) === null) return false;
  if (linux) {
    // Compared by inode: the folder may have been moved since, or be reached by another path.
    const [name, there, here] = await Promise.all([
      readFile(`/proc/${pid}/comm`, 'utf8').catch(() => ''),
      stat(`/proc/${pid}/cwd`).catch(() => null),
      stat(folder).catch(() => null),
    ]);
    return name.trim() === program && there !== null && there.dev === here?.dev && there.ino === here.ino;
  }
  const command = (await ps(pid, 'command=')) ?? '';
  const at = command.indexOf(` -D ${folder} `);
  return at > 0 && basename(command.slice(0, at)) === program;
}

/** Resolves to whether the process came to its end within the time. For processes that are not our children. */
export async function waitGone(pid: number, start: string, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while ((await processStart(pid)) === start) {
    if (Date.now() > deadline) return false;
    await sleep(20);
  }
  return true;
}

/** Sends each signal in turn and waits for its bound; resolves to false when the process outlives them all. */
export async function endProcess(
  steps: [signal: NodeJS.Signals, timeoutMs: number][],
  send: (signal: NodeJS.Signals) => void,
  gone: (timeoutMs: number) => Promise<boolean>,
): Promise<boolean> {
  for (const [signal, timeoutMs] of steps) {
    try {
      send(signal);
    } catch (error) {
      if (errorCode(error) !== 'ESRCH') throw error;
    }
    if (await gone(timeoutMs)) return true;
  }
  return false;
}

export interface Outcome {
  /** 0 is success; null when it was ended by a signal or could not be started. */
  code: number | null;
  /** What it wrote, both streams; or why it could not be started. */
  output: string;
}

/** Runs a program to its end. Never rejects. `cwd` is entered before the account is, so it may lie out of its reach. */
export function run(
  program: string,
  args: string[],
  options: { cwd: string; account?: Account | undefined; input?: string },
): Promise<Outcome> {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, { cwd: options.cwd, env: PLAIN_ENV, detached: true, ...options.account });
    child.on('error', (error) => {
      resolve({ code: null, output: error.message });
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-65_536);
      });
    }
    child.stdin.on('error', () => {}); // it ended without reading: its exit code says why
    child.stdin.end(options.input ?? '');
    child.on('close', (code) => {
      resolve({ code, output });
    });
  });
}
