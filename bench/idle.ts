// What a subscriber costs that hears nothing, against an idle socket of `ws`: memory of the server's process, after
// garbage collection.
import { setTimeout as pause } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { openLane, bodyOf } from './support/requests.ts';
import {
  openMany,
  openPlain,
  openSubscriber,
  SOCKETS_A_KEY,
  startLiveServer,
  type LiveServer,
} from './support/live-clients.ts';
import type { Memory } from './support/live-server.ts';
import type { Benchmark } from './support/measure.ts';
import { table } from './support/report.ts';

const SOCKETS = 4_000;
/** Opened before those that count: they fill what the start of the process left free. */
const WARM = 2_000;
/** Timers of the protocol run out, credentials are asked again. */
const SETTLE_MS = 8_000;

type Open = (server: LiveServer, n: number, runId: string) => Promise<WebSocket>;

const contenders: [name: string, open: Open][] = [
  ['a subscriber of `metrics`', openSubscriber],
  ['a socket of ws', openPlain],
];

export const idle: Benchmark = {
  about: `an idle subscriber: ${SOCKETS.toLocaleString('en-US')} sockets, each in a server process of its own`,
  async prepare(serverEnv) {
    return {
      async report() {
        const costs = [];
        for (const [name, open] of contenders) costs.push({ name, ...(await costOf(open, serverEnv)) });
        const kb = (bytes: number) => (bytes / SOCKETS / 1024).toFixed(2);
        const rows = costs.map(({ name, heapBytes, externalBytes, rssBytes }) => [
          name,
          kb(heapBytes),
          kb(externalBytes),
          kb(heapBytes + externalBytes),
          kb(rssBytes),
        ]);
        const [work, plain] = costs as unknown as [Memory, Memory];
        const ratio = (of: (one: Memory) => number) => (of(work) / of(plain)).toFixed(2);
        return [
          ...table([['KB a socket', 'heap', 'external', 'together', 'resident'], ...rows]),
          '',
          `  subscriber ÷ ws: ${ratio((one) => one.heapBytes + one.externalBytes)} heap and external, ${ratio((one) => one.rssBytes)} resident`,
        ];
      },
      close: () => Promise.resolve(),
    };
  },
};

async function costOf(open: Open, serverEnv: Record<string, string>): Promise<Memory> {
  const server = await startLiveServer((WARM + SOCKETS) / SOCKETS_A_KEY, serverEnv);
  const lane = openLane(server.url, server.apiKeys[0] as string);
  try {
    const { data } = await lane.send(bodyOf('mutation { createRun(input: {}) { run { id } } }'));
    const runId = (data.createRun as { run: { id: string } }).run.id;
    const warm = await openMany(WARM, (n) => open(server, n, runId));
    await pause(SETTLE_MS);
    const before = await server.ask('memory');
    const sockets = await openMany(SOCKETS, (n) => open(server, WARM + n, runId));
    await pause(SETTLE_MS);
    const after = await server.ask('memory');
    for (const one of [...warm, ...sockets]) one.terminate();
    return {
      heapBytes: after.heapBytes - before.heapBytes,
      externalBytes: after.externalBytes - before.externalBytes,
      rssBytes: after.rssBytes - before.rssBytes,
    };
  } finally {
    lane.close();
    await server.close();
  }
}
