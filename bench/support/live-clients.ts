// The other side of live-server.ts: starts it, asks it, and opens sockets to it that cost little themselves.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import type { LiveServerCalls } from './live-server.ts';

export interface LiveServer {
  pid: number;
  url: string;
  rawPort: number;
  apiKeys: string[];
  ask<Name extends keyof LiveServerCalls>(name: Name, argument?: string): Promise<ReturnType<LiveServerCalls[Name]>>;
  close(): Promise<void>;
}

/** The server takes so many sockets of one key. */
export const SOCKETS_A_KEY = 100;

export async function startLiveServer(keys: number, env: Record<string, string> = {}): Promise<LiveServer> {
  const child = fork(fileURLToPath(new URL('live-server.ts', import.meta.url)), [String(keys)], {
    execArgv: ['--expose-gc'],
    env: { ...process.env, ...env },
  });
  const ended = once(child, 'exit');
  let turn: Promise<unknown> = Promise.race([
    once(child, 'message'),
    ended.then(() => Promise.reject(new Error('the server did not start'))),
  ]);
  const ask: LiveServer['ask'] = (name, argument = '') => {
    const answer = turn.then(async () => {
      const answered = once(child, 'message');
      child.send({ name, argument });
      return (await answered)[0] as never;
    });
    turn = answer;
    return answer;
  };
  return {
    pid: child.pid ?? 0,
    ...(await ask('begin')),
    ask,
    async close() {
      child.disconnect();
      await ended;
    },
  };
}

const WATCH = `subscription Live($input: MetricsInput!) {
  metrics(input: $input) {
    __typename
    ... on MetricsAppended { runId cursor metrics { name tag attempt repeats steps times values } }
    ... on MetricsReset { runId cursor reason }
  }
}`;

/** What a dashboard opens: a socket with one subscription. Resolves when it is subscribed. */
export async function openSubscriber(server: LiveServer, n: number, runId: string): Promise<WebSocket> {
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', OPTIONS);
  await once(ws, 'open');
  const say = (message: object) => ws.send(JSON.stringify(message));
  const apiKey = server.apiKeys[Math.floor(n / SOCKETS_A_KEY)];
  say({ type: 'connection_init', payload: { authorization: `Bearer ${apiKey}` } });
  await once(ws, 'message');
  const variables = { input: { runs: [{ id: runId, after: '0' }] } };
  const payload = { query: WATCH, operationName: 'Live', variables };
  say({ type: 'subscribe', id: crypto.randomUUID(), payload });
  return ws;
}

export async function openPlain(server: LiveServer): Promise<WebSocket> {
  const ws = new WebSocket(`ws://127.0.0.1:${server.rawPort}`, OPTIONS);
  await once(ws, 'open');
  return ws;
}

const OPTIONS = { perMessageDeflate: false };

/** So many at a time, in order. */
export async function openMany<Socket>(count: number, open: (n: number) => Promise<Socket>): Promise<Socket[]> {
  const opened: Socket[] = [];
  for (let n = 0; n < count; n += 50)
    opened.push(...(await Promise.all(Array.from({ length: Math.min(50, count - n) }, (_, i) => open(n + i)))));
  return opened;
}
