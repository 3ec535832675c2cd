// The end of a server that was asked to stop, and the start of one that must not: nothing is cut off that was begun,
// nothing is left behind, and whoever stands in the way is named.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { must, request, until } from '../support/client.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { cursorOf } from '../support/exactness.ts';
import { freePort } from '../support/port.ts';
import { testRandom } from '../support/random.ts';
import { makeRun } from '../support/runs.ts';
import { makeHome, MAIN, removeHome, serverEnv, startServerProcess } from '../support/server-process.ts';
import { SOAK, sayProgress } from '../support/soak.ts';
import { write } from '../support/writer.ts';

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted cursor } }';
const WATCH = 'subscription($input: MetricsInput!) { metrics(input: $input) { ... on MetricsAppended { cursor } } }';

/** Processes that have this folder in their command line, or that the given one started. */
async function processesOf(home: string, parent?: number): Promise<number[]> {
  const found = new Set<number>(parent === undefined ? [] : [parent]);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const about = await Promise.all(
    pids.map(async (pid) => {
      const [line, stat] = await Promise.all(
        ['cmdline', 'stat'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')),
      );
      const [state, ppid] = stat!.slice(stat!.lastIndexOf(')') + 2).split(' ');
      return { pid, line: line!, ppid: Number(ppid), gone: state === 'Z' || state === undefined };
    }),
  );
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const { pid, line, ppid, gone } of about)
      if (!gone && pid !== process.pid && (line.includes(home) || found.has(ppid))) found.add(pid);
  }
  return [...found].filter((pid) => about.some((one) => one.pid === pid && !one.gone));
}

/** Resolves with the code it is closed with. */
async function openSocket(url: string, apiKey: string, runId: string): Promise<{ closed: Promise<number> }> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const closed = once(socket, 'close').then(([code]) => code as number);
  await once(socket, 'open');
  const acknowledged = once(socket, 'message');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } }));
  await acknowledged;
  const variables = { input: { runs: [{ id: runId, after: '0' }] } };
  const first = once(socket, 'message');
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: WATCH, variables } }));
  await first;
  return { closed };
}

/** Resolves with how it ends. */
async function openStream(url: string, apiKey: string, runId: string): Promise<{ ended: Promise<string> }> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${apiKey}`,
    },
    body: JSON.stringify({ query: WATCH, variables: { input: { runs: [{ id: runId, after: '0' }] } } }),
  });
  const reader = response.body!.getReader();
  for (let text = ''; !text.includes('cursor');) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the stream ended: ${text}`);
    text += new TextDecoder().decode(value);
  }
  const drain = async () => {
    while (!(await reader.read()).done);
    return 'ended';
  };
  return { ended: drain().catch(() => 'broken off') };
}

/** A server that is expected not to start. */
async function startInVain(home: string, env: Record<string, string> = {}): Promise<{ code: number; output: string }> {
  const child = spawn(process.execPath, [MAIN], { cwd: home, env: serverEnv(home, env) });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, output };
}

describe.for(['SIGTERM', 'SIGINT'] as const)('%s during load, with the embedded PostgreSQL', (signal) => {
  test('ends everything that was begun, within ten seconds, and leaves nothing; the next start goes on', async () => {
    const random = testRandom();
    const home = await makeHome();
    try {
      const server = await startServerProcess({
        home,
        detached: true,
        env: { RUNTIDE_PORT: String(await freePort()) },
      });
      const { url, apiKey, pid } = server;
      const runId = await makeRun(server);
      await must(url, apiKey, LOG, { input: { runId, points: [{ name: 'first', step: 0, value: 0 }] } });
      const socket = await openSocket(url, apiKey, runId);
      const stream = await openStream(url, apiKey, runId);
      const processes = await processesOf(home, pid);
      expect(processes.length).toBeGreaterThan(3);
      let goesOn = true;
      const writers = [0, 1, 2].map((n) =>
        write({
          servers: [server],
          runId,
          id: `w${n}`,
          random,
          points: 50,
          inFlight: 4,
          goesOn: () => goesOn,
          patient: true,
        }),
      );
      await until(async () => (await cursorOf(server, runId)) > 20, 'load');

      const began = performance.now();
      // Ctrl-C in a terminal reaches the whole group.
      if (signal === 'SIGINT') process.kill(-pid, signal);
      expect(await server.end(signal)).toBe(0);
      const seconds = (performance.now() - began) / 1_000;
      expect(seconds).toBeLessThan(5);
      expect(await socket.closed).toBe(1001);
      expect(await stream.ended).toMatch(/ended|broken off/);
      expect(await processesOf(home, pid)).toEqual([]);
      expect(existsSync(join(home, 'data/server.json'))).toBe(false);
      expect(server.output()).not.toMatch(/"level":50/);

      const next = await startServerProcess({ home, env: { RUNTIDE_PORT: new URL(url).port } });
      goesOn = false;
      const written = await Promise.all(writers);
      expect(await cursorOf(next, runId)).toBe(1 + written.reduce((sum, { batches }) => sum + batches, 0));
      expect(await next.end(signal)).toBe(0);
    } finally {
      await removeHome(home);
    }
  });
});

describe('on a database of its own', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  test('requests in flight get their answer, and no new ones are begun', async () => {
    const server = await startServerProcess({ env: { DATABASE_URL: database.url } });
    // Two: in a transaction, what is asked of the statistics a second time is what it was.
    const [holder, watcher] = [1, 2].map(() => new pg.Client({ connectionString: database.url }));
    await holder!.connect();
    await watcher!.connect();
    try {
      const { url, apiKey } = server;
      const runId = await makeRun(server);
      // Whoever appends waits for the head's row.
      await holder!.query('BEGIN');
      await holder!.query('SELECT 1 FROM run_head WHERE run_id = $1 FOR UPDATE', [runId]);
      const accepts = ['application/json', 'application/json, text/event-stream'];
      const answers = Array.from({ length: 4 }, async (_, step) => {
        const response = await fetch(`${url}/graphql`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            accept: accepts[step % 2]!,
            authorization: `Bearer ${apiKey}`,
          },
          body: JSON.stringify({
            query: LOG,
            variables: { input: { runId, points: [{ name: 'a', step, value: 1 }] } },
          }),
        });
        return (await response.text()).includes('"accepted":1');
      }).map((answer) => answer.catch((error: unknown) => error));
      await until(async () => {
        const { rows } = await watcher!.query(
          `SELECT count(*)::int AS waiting FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        return (rows[0] as { waiting: number }).waiting === 4;
      }, 'all wait');
      const ended = server.end('SIGTERM');
      await until(() => server.output().includes('Stopping'), 'it stops');
      await until(
        () =>
          request(url, apiKey, '{ server { version } }').then(
            () => false,
            () => true,
          ),
        'it is closed',
      );
      await holder!.query('COMMIT');
      const released = performance.now();
      expect(await Promise.all(answers)).toEqual(Array(4).fill(true));
      expect(await ended).toBe(0);
      // Connections that are kept alive do not hold it up.
      expect(performance.now() - released).toBeLessThan(2_000);
    } finally {
      await holder!.end();
      await watcher!.end();
      await server.end('SIGKILL');
      await removeHome(server.home);
    }
  });

  test('clients that go on sending over connections that are kept alive are not cut off in the middle', async () => {
    const random = testRandom();
    const server = await startServerProcess({ env: { DATABASE_URL: database.url } });
    try {
      const runId = await makeRun(server);
      const failures: string[] = [];
      let accepted = 0;
      let stopped = false;
      const sender = async (id: number) => {
        for (let step = 0; !stopped; step++) {
          const input = { runId, points: [{ name: `s${id}`, step, value: random.next() }] };
          try {
            const answer = await request(server.url, server.apiKey, LOG, { input });
            if (answer.errors) failures.push(JSON.stringify(answer.errors));
            else accepted++;
          } catch (error) {
            stopped ||= (error as { cause?: { code?: string } }).cause?.code === 'ECONNREFUSED';
          }
        }
      };
      const senders = Array.from({ length: 8 }, (_, id) => sender(id));
      await until(() => accepted > 50, 'load');
      const began = performance.now();
      expect(await server.end('SIGTERM')).toBe(0);
      expect(performance.now() - began).toBeLessThan(3_000);
      await Promise.all(senders);
      expect(failures).toEqual([]);
    } finally {
      await removeHome(server.home);
    }
  });

  test('a second server on the folder is refused, and told who has it', async () => {
    const server = await startServerProcess({ env: { DATABASE_URL: database.url } });
    try {
      const { code, output } = await startInVain(server.home, { DATABASE_URL: database.url });
      expect(code).toBe(1);
      expect(output).toContain(
        `another Runtide server (pid ${server.pid}, ${server.url}) uses this data folder: stop it, or set RUNTIDE_DATA_DIR to another folder`,
      );
      expect((await request(server.url, server.apiKey, '{ server { version } }')).errors).toBeUndefined();
    } finally {
      expect(await server.end()).toBe(0);
      await removeHome(server.home);
    }
  });
});

test('a port in use: who has it is said, and nothing is left', async () => {
  const home = await makeHome();
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  try {
    const { code, output } = await startInVain(home, { RUNTIDE_PORT: String(port) });
    expect(code).toBe(1);
    expect(output).toMatch(
      new RegExp(`port ${port} is in use by .*\\(pid ${process.pid}\\): stop that, or set RUNTIDE_PORT`),
    );
    expect(await processesOf(home)).toEqual([]);
    expect(existsSync(join(home, 'data/server.json'))).toBe(false);
  } finally {
    other.close();
    await removeHome(home);
  }
});

const ROUNDS = SOAK ? 60 : 6;

test('told to stop at any moment of its start, it leaves nothing either', { timeout: ROUNDS * 10_000 }, async () => {
  const random = testRandom();
  const home = await makeHome();
  try {
    let round = 0;
    using _ = sayProgress('clean-stop', () => `${round} of ${ROUNDS} starts`);
    // The first start, which makes the database, and later ones.
    for (; round < ROUNDS; round++) {
      const child = spawn(process.execPath, [MAIN], { cwd: home, env: serverEnv(home) });
      child.stdout.resume();
      let errors = '';
      child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
      const closed = once(child, 'close');
      // When it can have heard of signals at all: it has a folder.
      await until(() => existsSync(join(home, 'data/server.json')), 'the lock', 10_000);
      await new Promise((resolve) => setTimeout(resolve, random.integer(0, 1_200)));
      child.kill(round % 2 ? 'SIGINT' : 'SIGTERM');
      const began = performance.now();
      const [code] = (await closed) as [number];
      expect({ round, code, errors }).toEqual({ round, code: 0, errors: '' });
      expect(performance.now() - began).toBeLessThan(10_000);
      expect(await processesOf(home, child.pid)).toEqual([]);
      expect(existsSync(join(home, 'data/server.json'))).toBe(false);
    }
  } finally {
    await removeHome(home);
  }
});
