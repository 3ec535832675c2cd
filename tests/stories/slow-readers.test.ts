// People whose connections stand still while a run logs: the server's memory does not grow with what they have not
// read, who reads misses nothing, and who comes back gets it all, or was told why not. `npm run test:soak` has it in full.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { must, until } from '../support/client.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { cursorOf, expectSeen, expectStored } from '../support/exactness.ts';
import { testRandom } from '../support/random.ts';
import { makeRun } from '../support/runs.ts';
import { removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { allParts, SOAK, sayProgress } from '../support/soak.ts';
import { subscribe } from '../support/subscriber.ts';
import { write } from '../support/writer.ts';

const READERS = SOAK ? 100 : 20;
const LASTS_MS = SOAK ? 600_000 : 4_000;
/** What each of them has not read, at the least: together far more than the server may take. */
const UNREAD_BYTES = 40 * 1024 * 1024;
const METADATA_BYTES = 12 * 1024;
const POINTS = 2;
const BATCH_BYTES = 2 * POINTS * METADATA_BYTES;
/** 2 MB wait for each and 2 MB are on their way; the rest is what V8 has not collected. */
const GROWTH_BYTES = READERS * 4 * 1024 * 1024 + 256 * 1024 * 1024;

let database: TestDatabase | undefined;
let server: ServerProcess | undefined;
const sockets: WebSocket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  await server?.end();
  if (server) await removeHome(server.home);
  await database?.drop();
});

const WATCH = `subscription($input: MetricsInput!) { metrics(input: $input) {
  ... on MetricsAppended { cursor metrics { name tag steps values metadata } } ... on MetricsReset { cursor reason } } }`;

interface Reader {
  socket: WebSocket;
  cursor: number;
  /** Of all metrics. */
  points: number;
  /** Why it was told to begin anew. */
  resets: string[];
  /** What must not happen. */
  faults: string[];
  isOpen: boolean;
}

/** Reads from the beginning, or goes on where another socket of the reader was cut. */
async function read({ url, apiKey }: ServerProcess, runId: string, before?: Reader): Promise<Reader> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  sockets.push(socket);
  const reader: Reader = { cursor: 0, points: 0, resets: [], faults: [], ...before, socket, isOpen: true };
  socket.on('close', () => (reader.isOpen = false));
  await once(socket, 'open');
  const acknowledged = once(socket, 'message', { signal: AbortSignal.timeout(30_000) });
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } }));
  await acknowledged;
  socket.on('message', (data: Buffer) => {
    const { type, payload } = JSON.parse(data.toString()) as {
      type: string;
      payload?: { data?: { metrics: { cursor: string; reason?: string; metrics?: { steps: number[] }[] } } };
    };
    if (type === 'ping') return socket.send('{"type":"pong"}');
    const event = payload?.data?.metrics;
    if (!event) return void reader.faults.push(data.toString().slice(0, 500));
    if (event.reason !== undefined) reader.resets.push(event.reason);
    if (Number(event.cursor) <= reader.cursor) reader.faults.push(`cursor ${event.cursor} after ${reader.cursor}`);
    reader.cursor = Number(event.cursor);
    for (const { steps } of event.metrics ?? []) reader.points += steps.length;
  });
  const variables = { input: { runs: [{ id: runId, after: String(reader.cursor) }] } };
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: WATCH, variables } }));
  return reader;
}

/** All of it, on the socket that stood still, or where the server has given that up, on another. */
async function comeBack(server: ServerProcess, runId: string, reader: Reader, head: number): Promise<Reader> {
  let current = reader;
  current.socket.resume();
  while (current.cursor < head) {
    await until(() => current.cursor >= head || !current.isOpen, `it reads up to ${head}`, 120_000);
    if (current.cursor < head) current = await read(server, runId, current);
  }
  return current;
}

async function makeKey({ url, apiKey }: ServerProcess): Promise<string> {
  const query = 'mutation { createApiKey(input: { name: "readers", scopes: [READ] }) { secret } }';
  return (await must(url, apiKey, query)).createApiKey.secret as string;
}

async function residentBytes(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)]);
  return Number(stdout) * 1024;
}

test(
  `${READERS} readers that stand still cost bounded memory, and harm nobody`,
  { timeout: LASTS_MS + 120_000 },
  async () => {
    const random = testRandom();
    database = await createDatabase();
    const running = (server = await startServerProcess({ env: { DATABASE_URL: database.url } }));
    const runId = await makeRun(running);
    const healthy = subscribe([running], runId, random);
    // A credential may have 100 sockets, and the healthy one has its own.
    const theirs = { ...running, apiKey: await makeKey(running) };
    const readers = await Promise.all(Array.from({ length: READERS }, () => read(theirs, runId)));
    let acknowledged = 0;
    let before = 0;
    let most = 0;
    const unread = () => (acknowledged / POINTS / 2) * BATCH_BYTES;
    const inMegabytes = (bytes: number) => `${Math.round(bytes / 1024 / 1024)} MB`;
    using _ = sayProgress(
      'slow-readers',
      () =>
        `${inMegabytes(unread())} unread by each, the server took ${inMegabytes(before)} and takes up to ${inMegabytes(most)}`,
    );
    try {
      const ends = Date.now() + LASTS_MS;
      let writers = 2;
      const writing = [0, 1].map(
        (n) => (isOver: () => boolean) =>
          write({
            servers: [running],
            runId,
            id: `w${n}`,
            random,
            points: POINTS,
            inFlight: 3,
            goesOn: () => !isOver() && (Date.now() < ends || unread() < UNREAD_BYTES),
            patient: false,
            pauseMs: SOAK ? 500 : 20,
            metadataBytes: METADATA_BYTES,
            onAcknowledged: (points) => (acknowledged += points),
          }).finally(() => writers--),
      );
      const standingStill = async (isOver: () => boolean) => {
        await until(() => readers.every(({ cursor }) => cursor > 0) || isOver(), 'all of them read', 30_000);
        for (const { socket } of readers) socket.pause();
        before = await residentBytes(running.pid);
        while (writers > 0 && !isOver()) {
          const now = await residentBytes(running.pid);
          // The first tenth is what the load itself takes.
          if (unread() < UNREAD_BYTES / 10) before = Math.max(before, now);
          else most = Math.max(most, now);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      };
      const [, ...written] = await allParts(standingStill, ...writing);

      const head = await cursorOf(running, runId);
      await until(() => healthy.cursor() === head || healthy.faults.length > 0, 'the healthy one has all', 30_000);
      expectSeen([healthy], await expectStored(running, runId, written, random));
      expect(unread()).toBeGreaterThan(UNREAD_BYTES);
      expect(most).toBeGreaterThan(0);
      expect(most - before).toBeLessThan(GROWTH_BYTES);

      // A few of them come back.
      for (const { socket } of readers.slice(3)) socket.terminate();
      const back = await Promise.all(readers.slice(0, 3).map((one) => comeBack(theirs, runId, one, head)));
      for (const { faults, points, resets } of back) {
        expect(faults).toEqual([]);
        // What the journal keeps no longer is read from the charts, and they are told.
        expect(resets.every((reason) => reason.includes('older'))).toBe(true);
        expect(points).toBe(resets.length > 0 ? points : acknowledged);
      }
      console.log(
        `${READERS} slow readers, ${inMegabytes(unread())} unread by each: the server took ${inMegabytes(before)}, then up to ${inMegabytes(most)}`,
      );
    } finally {
      await healthy.stop();
    }
  },
);
