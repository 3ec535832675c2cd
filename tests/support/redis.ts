// A Redis (or Valkey) of the test's own: loopback, a free port, a temporary folder, nothing kept on disk.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  readonly socketPath: string;
  /** Ends it and removes its folder. Idempotent. */
  stop(): Promise<void>;
  /** SIGKILL, as a crash would; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it on the same port, stopping it first when it still runs. */
  restart(): Promise<void>;
  /** Freezes it: connections stay open and nothing is answered, until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** One command without a client, and Redis' raw answer: `PUBLISH a b` → `:1`. */
  command(line: string): Promise<string>;
}

export interface TestRedisOptions {
  /** Of the default user; goes into the address. */
  password?: string;
  /** More of the command line, such as `['--user', 'ann', 'on', '>secret', '&lab:*', '+publish']`. */
  args?: string[];
}

const START_TIMEOUT_MS = 10_000;

export async function startRedis({ password, args = [] }: TestRedisOptions = {}): Promise<TestRedis> {
  const program = findServer();
  const folder = await mkdtemp(join(tmpdir(), 'runtide-redis-'));
  const socketPath = join(folder, 'redis.sock');
  let child: ChildProcess | undefined;
  let port = 0;

  const killAtExit = () => void child?.kill('SIGKILL');
  process.once('exit', killAtExit);

  async function start(): Promise<void> {
    const line = ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--unixsocket', socketPath];
    line.push('--save', '', '--appendonly', 'no', ...(password ? ['--requirepass', password] : []), ...args);
    const started = spawn(program, line, { stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    let output = '';
    started.stdout.on('data', (text: Buffer) => (output = (output + text.toString()).slice(-4_000)));
    started.stderr.on('data', (text: Buffer) => (output = (output + text.toString()).slice(-4_000)));
    const failed = new Promise<never>((_, reject) => started.once('error', reject));
    await Promise.race([failed, waitUntilReady(started, port, password, () => output)]);
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const gone = once(running, 'exit');
    running.kill(signal);
    const late = setTimeout(() => running.kill('SIGKILL'), 5_000);
    await gone;
    clearTimeout(late);
  }

  async function stop(): Promise<void> {
    await end('SIGTERM');
    process.off('exit', killAtExit);
    await rm(folder, { recursive: true, force: true });
  }

  // Another test may take the port between finding it and using it.
  for (let attempt = 1; port === 0; attempt += 1) {
    port = await findPort();
    try {
      await start();
    } catch (error) {
      await end('SIGKILL');
      port = 0;
      if (attempt < 5) continue;
      await stop();
      throw error;
    }
  }

  return {
    url: `redis://${password ? `:${encodeURIComponent(password)}@` : ''}127.0.0.1:${port}`,
    port,
    socketPath,
    stop,
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await start();
    },
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    command: async (line) => (await ask(port, password, line)).replace(/(^|\r\n)\+OK\r\n$/, ''),
  };
}

function findServer(): string {
  const named = process.env['RUNTIDE_TEST_REDIS_SERVER'];
  if (named) return named;
  for (const name of ['redis-server', 'valkey-server']) {
    for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // not here
      }
    }
  }
  throw new Error(
    'these tests need a Redis: install the package redis-server (or valkey), ' +
      'or name the program in RUNTIDE_TEST_REDIS_SERVER',
  );
}

/**
 * Below the ports that the system gives to outgoing connections: a client that tries again and again would otherwise
 * one day be given the port it calls, connect to itself, and keep the server from coming back.
 */
async function findPort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

async function waitUntilReady(
  child: ChildProcess,
  port: number,
  password: string | undefined,
  output: () => string,
): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`Redis did not start:\n${output()}`);
    // The process id tells ours from another's that was faster on the port.
    const info = await ask(port, password, 'INFO server');
    if (info.includes(`process_id:${child.pid}\r\n`)) return;
    await delay(20);
  }
  throw new Error(`Redis did not answer within ${START_TIMEOUT_MS} ms:\n${output()}`);
}

/** Sends a command and QUIT, and resolves with all that came back: nothing, when nobody listens. */
function ask(port: number, password: string | undefined, command: string): Promise<string> {
  const lines = [...(password ? [`AUTH ${password}`] : []), command, 'QUIT', ''].join('\r\n');
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(lines));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('data', (data) => (answer += data.toString()));
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}
