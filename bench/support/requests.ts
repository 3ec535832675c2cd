// A client of the API that costs little itself: one kept socket a lane, one request at a time, heads and bodies made
// beforehand. (Node's own client costs as much as the server's whole work on a small request.)
import { connect, type Socket } from 'node:net';

export interface Lane {
  /** Throws what the server did not do. */
  send(body: Body): Promise<{ data: Record<string, Record<string, unknown>> }>;
  close(): void;
}

export interface Body {
  type: string;
  bytes: Buffer;
}

export function openLane(url: string, apiKey: string): Lane {
  const { hostname, port, host } = new URL(url);
  // One address, and not both of `localhost` in turn.
  const socket = connect({
    host: hostname === 'localhost' ? '127.0.0.1' : hostname,
    port: Number(port),
    noDelay: true,
  });
  const answers = readAnswers(socket);
  return {
    async send({ type, bytes }) {
      const answer = answers.next();
      socket.cork();
      socket.write(
        `POST /graphql HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${apiKey}\r\ncontent-type: ${type}\r\ncontent-length: ${bytes.length}\r\n\r\n`,
      );
      socket.write(bytes);
      socket.uncork();
      const { status, text } = await answer;
      if (status !== 200 || text.includes('"errors"')) throw new Error(`${status}: ${text}`);
      return JSON.parse(text) as { data: Record<string, Record<string, unknown>> };
    },
    close: () => socket.destroy(),
  };
}

export function bodyOf(query: string, variables?: object): Body {
  return { type: 'application/json', bytes: Buffer.from(JSON.stringify({ query, variables })) };
}

interface Answer {
  status: number;
  text: string;
}

const HEAD_END = Buffer.from('\r\n\r\n');

/** In the order of their requests, each with its length, as the server sends what is no stream. */
function readAnswers(socket: Socket): { next(): Promise<Answer> } {
  let received = Buffer.alloc(0);
  let failure: Error | null = null;
  const waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = [];
  const fail = (error: Error) => {
    failure ??= error;
    for (const { reject } of waiting.splice(0)) reject(failure);
    socket.destroy();
  };
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the server has closed the connection')));
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    for (;;) {
      const headEnd = received.indexOf(HEAD_END);
      if (headEnd === -1) return;
      const head = received.toString('latin1', 0, headEnd);
      const length = /content-length: (\d+)/i.exec(head)?.[1];
      if (length === undefined) {
        fail(new Error(`an answer without a length: ${head}`));
        return;
      }
      const end = headEnd + HEAD_END.length + Number(length);
      if (received.length < end) return;
      const text = received.toString('utf8', headEnd + HEAD_END.length, end);
      received = received.subarray(end);
      waiting.shift()?.resolve({ status: Number(head.split(' ', 2)[1]), text });
    }
  });
  return {
    next: () =>
      new Promise((resolve, reject) => {
        if (failure) reject(failure);
        else waiting.push({ resolve, reject });
      }),
  };
}
