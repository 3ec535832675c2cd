// Live to a thousand subscribers: from the commit of a batch until each of them has it, against `ws` sending the same
// bytes to as many plain sockets of the same process.
import type { WebSocket } from 'ws';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type LiveServer,
  openMany,
  openPlain,
  openSubscriber,
  SOCKETS_A_KEY,
  startLiveServer,
} from './support/live-clients.ts';
import type { Benchmark, Contender, Prepared } from './support/measure.ts';
import { bodyOf, type Lane, openLane } from './support/requests.ts';

const SUBSCRIBERS = 1_000;
const METRICS = 10;
const STEPS = 10;
/** Ten batches a second. */
const PACE_MS = 100;

const CREATE_RUN = 'mutation { createRun(input: {}) { run { id } } }';
const LOG_METRICS = 'mutation ($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';

export const live: Benchmark = {
  about: `from commit to receipt: ${SUBSCRIBERS.toLocaleString('en-US')} subscribers of one run, 10 batches a second of ${METRICS * STEPS} points (${METRICS} metrics × ${STEPS} steps)`,

  async prepare(serverEnv) {
    const server = await startLiveServer(SUBSCRIBERS / SOCKETS_A_KEY, serverEnv);
    try {
      return await prepareOn(server);
    } catch (error) {
      await server.close();
      throw error;
    }
  },
};

async function prepareOn(server: LiveServer): Promise<Prepared> {
  const lane = openLane(server.url, server.apiKeys[0] as string);
  const { data } = await lane.send(bodyOf(CREATE_RUN));
  const runId = (data.createRun as { run: { id: string } }).run.id;
  const subscribers = await openMany(SUBSCRIBERS, (n) => openSubscriber(server, n, runId));
  const plain = await openMany(SUBSCRIBERS, () => openPlain(server));
  const heard = { subscribers: receipts(subscribers), plain: receipts(plain) };
  const log = logging(server, lane, runId, heard.subscribers);
  // What the plain sockets are sent: what one of the others was.
  const first = log.prepare(0);
  const message = new Promise<string>((resolve) => {
    subscribers[0]?.once('message', (bytes: Buffer) => resolve(bytes.toString()));
  });
  await first();
  const text = await message;
  return {
    serverPid: server.pid,
    series: [
      {
        name: `${SUBSCRIBERS} sockets, messages of ${text.length.toLocaleString('en-US')} bytes`,
        paced: true,
        contenders: [log, broadcasting(server, text, heard.plain)],
      },
    ],
    async close() {
      for (const one of [...subscribers, ...plain]) one.terminate();
      lane.close();
      await server.close();
    },
  };
}

interface Receipts {
  /** When each socket got the message that comes next. */
  next(): Promise<bigint[]>;
}

function receipts(sockets: readonly WebSocket[]): Receipts {
  let times: bigint[] = [];
  let all: ((times: bigint[]) => void) | undefined;
  for (const socket of sockets)
    socket.on('message', () => {
      times.push(process.hrtime.bigint());
      if (times.length === sockets.length) all?.(times);
    });
  return {
    next() {
      times = [];
      return new Promise((resolve) => (all = resolve));
    },
  };
}

let due = 0;
async function pace(): Promise<void> {
  due = Math.max(due + PACE_MS, performance.now());
  await pause(Math.max(0, due - performance.now()));
}

function logging(server: LiveServer, lane: Lane, runId: string, heard: Receipts): Contender {
  let step = 0;
  return {
    name: 'live',
    lanes: 1,
    operations: 20,
    points: METRICS * STEPS,
    messages: SUBSCRIBERS,
    prepare() {
      const steps = Array.from({ length: STEPS }, () => step++);
      const metrics = Array.from({ length: METRICS }, (_, metric) => ({
        name: `train/loss_${metric}`,
        steps,
        times: steps.map((at) => Date.UTC(2026, 0, 1) + 100 * at),
        values: steps.map((at) => Math.fround(2 * Math.exp(-at / 5_000) + 0.1 * Math.random() + metric)),
      }));
      const body = bodyOf(LOG_METRICS, { input: { runId, metrics } });
      return async () => {
        await pace();
        const received = heard.next();
        await lane.send(body);
        return latencies(await received, await server.ask('committedAt'));
      };
    },
  };
}

function broadcasting(server: LiveServer, text: string, heard: Receipts): Contender {
  return {
    name: 'ws',
    lanes: 1,
    operations: 20,
    messages: SUBSCRIBERS,
    prepare: () => async () => {
      await pace();
      const received = heard.next();
      const at = await server.ask('broadcast', text);
      return latencies(await received, at);
    },
  };
}

const latencies = (times: readonly bigint[], at: string) => times.map((time) => Number(time - BigInt(at)) / 1e6);
