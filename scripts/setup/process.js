// Runs tools with their output kept back, and passes a Ctrl-C or TERM on to them before we go.
import { spawn } from 'node:child_process';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(fileURLToPath(import.meta.url), '../../..');
const bin = join(root, 'node_modules', '.bin');

/** Something is missing that only a person can mend; the message says what to do and is all they need to see. */
export class Refused extends Error {}

/** A signal ended the set-up. */
export class Interrupted extends Error {
  /** @param {NodeJS.Signals} signal */
  constructor(signal) {
    super(signal);
    this.exitCode = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }[/** @type {'SIGHUP' | 'SIGINT' | 'SIGTERM'} */ (signal)];
  }
}

const { NODE_ENV: _, ...inherited } = process.env; // tools choose their own; `production` would leave out vite
const path = (inherited.PATH ?? '').split(delimiter).filter((folder) => folder !== bin);

/** The machine's own PATH: `npm ci` deletes the Node in our node_modules and so must not run on it. */
export const machineEnv = { ...inherited, PATH: path.join(delimiter) };

/** Node 24 and the project's tools first. */
export const projectEnv = {
  ...inherited,
  PATH: [bin, ...path].join(delimiter),
  CHECKPOINT_DISABLE: '1',
  PRISMA_HIDE_UPDATE_MESSAGE: '1',
  // Any file that exists keeps Prisma from downloading an engine that we never use.
  PRISMA_SCHEMA_ENGINE_BINARY: join(root, 'package.json'),
};

/** @type {NodeJS.Signals | undefined} */
let stopping;
/** @typedef {(signal: NodeJS.Signals) => void} Kill */
/** @type {Set<Kill>} */
const running = new Set();

const graceMs = 5_000;
/** For what a program left behind and its output, once it has ended itself. */
const stragglersMs = 1_000;

/** @param {NodeJS.Signals} signal */
function stop(signal) {
  if (stopping) return; // Ctrl-C arrives twice under npm: from the terminal and from npm
  stopping = signal;
  for (const kill of running) kill(signal);
  setTimeout(() => running.forEach((kill) => kill('SIGKILL')), graceMs).unref();
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @param {boolean} leads  a group of its own
 * @returns {Kill}
 */
function killer(child, leads) {
  return (signal) => {
    try {
      if (leads && child.pid !== undefined) process.kill(-child.pid, signal);
      else child.kill(signal);
    } catch {
      // All of the group have ended.
    }
  };
}

/**
 * Ends with the tool's exit code and everything it printed; an absent program is exit code 127. With a limit, the tool
 * and all that it starts are a group, which is ended when the time is up: exit code 124. A process that outlives the
 * tool and holds its output is not waited for. Throws Interrupted when a signal came meanwhile.
 * @param {string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, limitMs?: number }} [options]
 * @returns {Promise<{ code: number, output: string }>}
 */
export async function run([program = '', ...args], { cwd = root, env = projectEnv, limitMs } = {}) {
  for (const signal of /** @type {const} */ (['SIGHUP', 'SIGINT', 'SIGTERM'])) {
    if (!process.listeners(signal).includes(stop)) process.on(signal, stop);
  }
  const detached = limitMs !== undefined;
  const child = spawn(program, args, { cwd, env, detached, stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = killer(child, detached);
  running.add(kill);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
  let late = false;
  /** @type {NodeJS.Timeout[]} */
  const timers = [];
  const limit = () => {
    late = true;
    kill('SIGINT'); // as Ctrl-C: a suite says where it was, and stops the servers that it started
    timers.push(setTimeout(() => kill('SIGKILL'), graceMs));
  };
  if (limitMs !== undefined) timers.push(setTimeout(limit, limitMs));
  const leave = () => {
    kill('SIGKILL');
    child.stdout.destroy();
    child.stderr.destroy();
  };
  child.on('exit', () => timers.push(setTimeout(leave, stragglersMs)));
  const code = await new Promise((done) => {
    child.on('error', (error) => {
      output += `${program}: ${error.message}\n`;
      done(127);
    });
    child.on('close', (status) => done(status ?? 1));
  });
  timers.forEach(clearTimeout);
  running.delete(kill);
  if (stopping) throw new Interrupted(stopping);
  if (!late) return { code, output };
  return { code: 124, output: `${output.trimEnd()}\n${program} did not end within ${Number(limitMs) / 1000} s\n` };
}

/**
 * @param {string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 */
export async function mustRun(command, options) {
  const { code, output } = await run(command, options);
  if (code !== 0) throw new Refused(output.trimEnd() || `${command.join(' ')} ended with exit code ${code}`);
}
