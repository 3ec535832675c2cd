// What the watchdog closes, and what it leaves alone: a database that is stopped, or slow, or busy, and a process that is
// busy itself.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { createPool, isUnavailable } from '../../src/db/pool.ts';
import { watchDatabase } from '../../src/db/watchdog.ts';
import { until } from '../support/client.ts';
import { type LogLine, recordingLog, silentLog } from '../support/log.ts';

let postgres: EmbeddedPostgres;
let root: string;
/** Watched by nobody. */
let aside: pg.Pool;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'runtide-watchdog-'));
  postgres = await startEmbeddedPostgres({ dataDir: join(root, 'postgres'), log: silentLog });
  aside = createPool({ connectionString: postgres.connectionString, size: 1, log: silentLog });
});
afterAll(async () => {
  await aside.end();
  await postgres.stop();
  await rm(root, { recursive: true, force: true });
});

/** With so many connections that nobody uses. */
async function watched(connections: number, url = postgres.connectionString) {
  const pool = createPool({ connectionString: url, size: connections, log: silentLog });
  onTestFinished(() => pool.end());
  const log = recordingLog();
  await until(async () => (await probes()) === 0, 'those of other tests are gone');
  const end = watchDatabase(pool, log);
  onTestFinished(end);
  // It is asked for the first time half a second from here.
  await openAll(pool, connections);
  return { pool, end, cuts: () => log.lines.filter(isCut).length };
}

const isCut = ({ message }: LogLine) => message.includes('closing its connections');

async function openAll(pool: pg.Pool, connections: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: connections }, () => pool.connect()));
  for (const client of clients) client.release();
}

const probes = async () =>
  (await aside.query("SELECT FROM pg_stat_activity WHERE application_name = 'runtide watchdog'")).rowCount;

// The processes of a server are found in /proc.
describe.runIf(process.platform === 'linux')('a database that has stopped answering', () => {
  async function whileStopped<Result>(work: () => Promise<Result>): Promise<Result> {
    const postmaster = postgres.pid();
    const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8');
    const all = [postmaster, ...children.trim().split(/\s+/).map(Number)];
    const signal = (name: NodeJS.Signals) => {
      for (const pid of all) process.kill(pid, name);
    };
    signal('SIGSTOP');
    try {
      return await work();
    } finally {
      signal('SIGCONT');
    }
  }

  test('is told to those who wait for it, and it heals when the database goes on', async () => {
    const { pool } = await watched(2);
    await until(async () => (await probes()) === 1, 'it is watched');
    // Without the watchdog only the time limit of the test would end this.
    const outcome = await whileStopped(() =>
      pool.query('SELECT 1').then(
        () => 'an answer',
        (error: unknown) => error,
      ),
    );
    expect(isUnavailable(outcome)).toBe(true);
    const asked = () =>
      pool.query('SELECT 1').then(
        () => true,
        () => false,
      );
    await until(asked, 'an answer');
  });

  test('leaves no connection behind that fails whoever uses it next', async () => {
    const { pool, cuts } = await watched(4);
    await whileStopped(() => until(() => cuts() > 0, 'it is noticed'));
    const asked = await Promise.allSettled(Array.from({ length: 4 }, () => pool.query('SELECT 1')));
    expect(asked.map(({ status }) => status)).toEqual(Array(4).fill('fulfilled'));
  });
});

/** Lets in the first `quick` connections at once, and the others as late as it is told. */
async function door(quick: number, ms: number) {
  const url = new URL(postgres.connectionString);
  const target = { host: url.hostname, port: Number(url.port) };
  const sockets = new Set<Socket>();
  let came = 0;
  let isClosed = false;
  const server = createServer((client) => {
    const letIn = () => {
      const inner = connect(target);
      sockets.add(inner);
      inner.on('error', () => client.destroy());
      client.pipe(inner).pipe(client);
    };
    sockets.add(client);
    client.on('error', () => client.destroy());
    came++;
    if (isClosed) client.destroy();
    else if (came <= quick) letIn();
    else setTimeout(letIn, ms);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  url.host = `127.0.0.1:${(server.address() as { port: number }).port}`;
  return { url: url.href, came: () => came, close: () => void (isClosed = true) };
}

describe('a healthy database', () => {
  test('that is slow to let in is not cut off, and is asked on one connection', async () => {
    const { url, came } = await door(1, 1_500);
    const { cuts } = await watched(1, url);
    await until(async () => (await probes()) === 1, 'it was let in');
    expect(cuts()).toBe(0);
    expect(came()).toBe(2);
  });

  test('is not cut off by a process that is busy itself, whatever it was waiting for', async () => {
    const { url, came } = await door(4, 10);
    const { pool, cuts } = await watched(4, url);
    const busy = (ms: number) => {
      for (const end = performance.now() + ms; performance.now() < end;);
    };
    await until(() => came() === 5, 'it asks to be let in');
    // That takes several turns.
    for (let n = 0; n < 2; n++) {
      busy(1_500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(async () => (await probes()) === 1, 'it was let in');
    for (let n = 0; n < 2; n++) {
      busy(1_500);
      await pool.query('SELECT 1');
    }
    expect([cuts(), came()]).toEqual([0, 5]);
  });

  test('is not cut off while it is as busy as it can be', async () => {
    const { pool, cuts } = await watched(10);
    const heavy = () => pool.query('SELECT count(*) FROM generate_series(1, 4000000) a WHERE sqrt(a) > 3');
    const lock = await pool.connect();
    await lock.query('BEGIN; SELECT pg_advisory_xact_lock(1)');
    const waiting = pool.query('SELECT pg_advisory_xact_lock(1)');
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 8 }, heavy));
    await lock.query('COMMIT');
    lock.release();
    await waiting;
    expect(cuts()).toBe(0);
  });
});

test('one that lets nobody in any more says so itself, and is not cut off', async () => {
  const { url, came, close } = await door(1, 0);
  const { pool, cuts } = await watched(1, url);
  close();
  const from = came();
  await until(async () => (await pool.query('SELECT 1')) && came() > from + 2, 'it is refused again and again');
  expect(cuts()).toBe(0);
});

test('a watch that ends while it is being let in leaves nothing behind', async () => {
  const { url, came } = await door(1, 300);
  const { end } = await watched(1, url);
  await until(() => came() === 2, 'it asks to be let in');
  await end();
  // Who comes later is let in later.
  const other = createPool({ connectionString: url, size: 1, log: silentLog });
  onTestFinished(() => other.end());
  await openAll(other, 1);
  expect(await probes()).toBe(0);
});
