// Somebody who watches a run over WebSocket, whose connection breaks again and again, and who goes on by cursor each
// time, on whichever server there is.
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
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
  /** What must not happen: a reset, an older cursor, an error of the subscription. */
  faults: string[];
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

export function subscribe(servers: readonly Server[], runId: string, random: Random): Subscriber {
  let socket: WebSocket | null = null;
  let cursor = 0;
  let cuts = 0;
  let stopped = false;
  const seen: Subscriber['seen'] = [];
  const faults: string[] = [];
  // graphql-ws makes its sockets itself: this keeps the one it made last.
  const Socket = new Proxy(WebSocket, {
    construct: (target, args: ConstructorParameters<typeof WebSocket>) => (socket = new target(...args)),
  });

  const take = ({ cursor: next, reason, metrics }: Event) => {
    if (reason !== undefined) faults.push(`reset at ${cursor}: ${reason}`);
    if (Number(next) <= cursor) faults.push(`cursor ${next} after ${cursor}`);
    cursor = Number(next);
    for (const { name, tag, steps, values } of metrics ?? [])
      for (const [index, step] of steps.entries()) seen.push({ metric: name, tag, step, value: values[index]! });
  };

  const follow = async () => {
    while (!stopped) {
      const { url, apiKey } = servers[random.integer(0, servers.length - 1)]!;
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
          if (data) take(data.metrics);
        }
      } catch (error) {
        // What was cut ends so. An answer of the server comes as a list of errors.
        if (Array.isArray(error)) faults.push(JSON.stringify(error));
      }
      await client.dispose();
      if (!stopped) await new Promise((resolve) => setTimeout(resolve, random.integer(0, 10)));
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
    async stop() {
      stopped = true;
      socket?.terminate();
      await following;
    },
  };
}
