// A WebSocket to the server as it is on the wire: messages as they are said and heard.
import { once } from 'node:events';
import { WebSocket } from 'ws';

export const PROTOCOL = 'graphql-transport-ws';

export interface Message {
  type: string;
  id?: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- of whatever form the server sends
  payload?: any;
}

export interface Socket extends AsyncDisposable {
  say(message: Message | string): void;
  /** The next message, pings of the protocol aside. */
  hear(): Promise<Message>;
  closed: Promise<{ code: number; reason: string }>;
  ws: WebSocket;
}

export async function connect(
  url: string,
  options: { headers?: Record<string, string>; protocols?: string[] } = {},
): Promise<Socket> {
  const ws = new WebSocket(
    `${url.replace('http', 'ws')}/graphql`,
    options.protocols ?? [PROTOCOL],
    options.headers ? { headers: options.headers } : {},
  );
  const heard: Message[] = [];
  const waiting: ((message: Message) => void)[] = [];
  ws.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Message;
    const next = waiting.shift();
    if (next) next(message);
    else heard.push(message);
  });
  const closed = once(ws, 'close').then(([code, reason]: unknown[]) => ({
    code: code as number,
    reason: String(reason),
  }));
  await once(ws, 'open');
  return {
    ws,
    closed,
    say: (message) => ws.send(typeof message === 'string' ? message : JSON.stringify(message)),
    hear() {
      const next = heard.shift();
      if (next) return Promise.resolve(next);
      return Promise.race([
        new Promise<Message>((resolve) => waiting.push(resolve)),
        closed.then(({ code, reason }) => {
          throw new Error(`closed ${code} ${reason}`);
        }),
      ]);
    },
    async [Symbol.asyncDispose]() {
      ws.close();
      await closed;
    },
  };
}

/** Connected and acknowledged. */
export async function open(
  url: string,
  params: unknown,
  options: { headers?: Record<string, string> } = {},
): Promise<Socket> {
  const socket = await connect(url, options);
  socket.say({ type: 'connection_init', payload: params });
  const heard = await socket.hear();
  if (heard.type !== 'connection_ack') throw new Error(`not acknowledged: ${JSON.stringify(heard)}`);
  return socket;
}

export const subscribe = (id: string, query: string, variables?: object): Message => ({
  type: 'subscribe',
  id,
  payload: { query, variables },
});
