// `npm run dev`: the server on the same data folder, started again when its sources change; what is generated and the
// dashboard are made again first, when theirs did. The page is the server's own, so reload it to see a change.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, watch } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { Interrupted, Refused, projectEnv, root } from './setup/process.js';
import { bringUpToDate } from './setup/plan.js';
import { digest } from './setup/step.js';

const stopWithinMs = 12_000;
const settleMs = 200;

let server: ChildProcess | undefined;
let ending = false;

function start(): void {
  // In a group of its own: a Ctrl-C reaches it once, from here, and it is not taken for an impatient second one.
  const child = spawn('node', ['src/main.ts'], { cwd: root, env: projectEnv, stdio: 'inherit', detached: true });
  server = child;
  child.on('exit', (code, signal) => {
    if (server !== child) return;
    server = undefined;
    if (!ending)
      console.log(`The server ended (${signal ?? `exit code ${code}`}); it starts again at the next change.`);
  });
}

async function stop(): Promise<void> {
  const child = server;
  if (!child) return;
  server = undefined;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), stopWithinMs);
  await ended;
  clearTimeout(force);
}

/** What a running server has read: when it is the same as before, a change was none of its business. */
const runningOn = () => digest(['src', 'prisma', 'package-lock.json', '.env', 'web/build/index.html']);

let seen = '';

async function refresh(): Promise<void> {
  try {
    await bringUpToDate('dev');
  } catch (error) {
    if (error instanceof Refused) console.error(error.message);
    else if (!(error instanceof Interrupted)) throw error;
    return; // the server that runs goes on, as it was
  }
  const now = runningOn();
  if (now === seen && server) return;
  const again = seen !== '';
  seen = now;
  await stop();
  if (again) console.log('Starting again…');
  if (!ending) start();
}

/** One refresh at a time, and one more when something changed meanwhile. */
let queued: Promise<void> | undefined;
let turn: Promise<void> = Promise.resolve();
function refreshSoon(): Promise<void> {
  queued ??= turn.then(() => {
    queued = undefined;
    return ending ? undefined : (turn = refresh());
  });
  return queued;
}

async function end(exitCode: number): Promise<never> {
  ending = true;
  await stop();
  process.exit(exitCode);
}

for (const [signal, exitCode] of [
  ['SIGINT', 0],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.once(signal, () => void end(exitCode));
  process.on(signal, () => {}); // npm passes on what the terminal sent already
}

let timer: NodeJS.Timeout | undefined;
for (const folder of ['src', 'prisma', 'web/src', 'web/static', '.'].filter((path) => existsSync(join(root, path)))) {
  watch(join(root, folder), { recursive: folder !== '.' }, (_event, file) => {
    // What we generate ourselves must not wake us; and the root holds the data folder and much else.
    if (file?.startsWith('generated') || file?.includes('/generated/')) return;
    if (folder === '.' && !/^(\.env|package-lock\.json|schema\.graphql|codegen\.ts)$/.test(file ?? '')) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      void refreshSoon();
    }, settleMs);
  });
}
await refreshSoon();
