// Somebody who watches a run over WebSocket, whose connection breaks again and again, and who goes on by cursor each
// time, on whichever server there is.
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { must } from './client.ts';
import { readStored } from './exactness.ts';
import type { Random } from './random.ts';
import type { Server } from './writer.ts';

export interface Subscriber {
  /** Breaks the connection as a network does: without a word. */
  cut(): void;
  /** How often it was cut and went on. */
  cuts(): number;
  cursor(): number;
  /** `tag step` of each point of `loss` and `acc`, with its value, in the order in which they came. */
  seen: { metric: string; tag: string; step: number; value: number }[];
  /** What must not happen: an older cursor, an error of the subscription, a reset unless it may be. */
  faults: string[];
  /** How often it was told to read again, and did. */
  resets(): number;
  stop(): Promise<void>;
}

const WATCH = `subscription($input: MetricsInput!) { metrics(input: $input) {
  ... on MetricsAppended { runId cursor metrics { name tag steps values } }
  ... on MetricsReset { runId cursor reason } } }`;

interface Event {
  cursor: string;
  reason?: string;
  metrics: { name: string; tag: string; steps: number[]; values: number[] }[];
}

/** With `restMs` it comes back so late now and then that the journal may not reach back to its cursor any more. */
export function subscribe(
  servers: readonly Server[],
  runId: string,
  random: Random,
  { restMs = 0 }: { restMs?: number } = {},
): Subscriber {
  let socket: WebSocket | null = null;
  let cursor = 0;
  let cuts = 0;
  let stopped = false;
  let resets = 0;
  const seen: Subscriber['seen'] = [];
  const faults: string[] = [];
  /** Of what was read again: batches behind the reset's cursor may be in it already. */
  let read = new Set<string>();
  // graphql-ws makes its sockets itself: this keeps the one it made last.
  const Socket = new Proxy(WebSocket, {
    construct: (target, args: ConstructorParameters<typeof WebSocket>) => (socket = new target(...args)),
  });

  const keyOf = (metric: string, tag: string, step: number) => JSON.stringify([metric, tag, step]);
  const readAgain = async (server: Server) => {
    const query = 'query($id: ID!) { run(id: $id) { metrics(first: 100) { nodes { name tag } } } }';
    const { run } = await must(server.url, server.apiKey, query, { id: runId });
    const again: Subscriber['seen'] = [];
    for (const { name: metric, tag } of run.metrics.nodes as { name: string; tag: string }[]) {
      const { steps, values } = await readStored(server, runId, metric, tag, 100_000);
      for (const [index, step] of steps.entries()) again.push({ metric, tag, step, value: values[index]! });
    }
    seen.splice(0, seen.length, ...again);
    read = new Set(again.map(({ metric, tag, step }) => keyOf(metric, tag, step)));
    resets++;
  };

  const take = async ({ cursor: next, reason, metrics }: Event, server: Server) => {
    if (reason !== undefined && restMs === 0) faults.push(`reset at ${cursor}: ${reason}`);
    if (reason !== undefined && restMs > 0) await readAgain(server);
    if (Number(next) <= cursor) faults.push(`cursor ${next} after ${cursor}`);
    cursor = Number(next);
    for (const { name, tag, steps, values } of metrics ?? [])
      for (const [index, step] of steps.entries())
        if (!read.has(keyOf(name, tag, step))) seen.push({ metric: name, tag, step, value: values[index]! });
  };

  const follow = async () => {
    while (!stopped) {
      const server = servers[random.integer(0, servers.length - 1)]!;
      const { url, apiKey } = server;
      const client = createClient({
        url: `${url.replace('http', 'ws')}/graphql`,
        webSocketImpl: Socket,
        retryAttempts: 0,
        connectionParams: { authorization: `Bearer ${apiKey}` },
      });
      try {
        const input = { runs: [{ id: runId, after: String(cursor) }] };
        for await (const { data, errors } of client.iterate<{ metrics: Event }>({
          query: WATCH,
          variables: { input },
        })) {
          if (errors) faults.push(JSON.stringify(errors));
          if (data) await take(data.metrics, server);
        }
      } catch (error) {
        // What was cut ends so. An answer of the server comes as a list of errors.
        if (Array.isArray(error)) faults.push(JSON.stringify(error));
      }
      await client.dispose();
      const awayMs = random.chance(0.1) ? restMs : 0;
      if (!stopped) await new Promise((resolve) => setTimeout(resolve, awayMs + random.integer(0, 10)));
    }
  };
  const following = follow();

  return {
    cut() {
      if (socket?.readyState !== WebSocket.OPEN) return;
      cuts++;
      socket.terminate();
    },
    cuts: () => cuts,
    cursor: () => cursor,
    seen,
    faults,
    resets: () => resets,
    async stop() {
      stopped = true;
      socket?.terminate();
      await following;
    },
  };
}
