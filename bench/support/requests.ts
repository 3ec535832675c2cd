// A client of the API that costs little itself: one kept socket a lane, one request at a time, heads and bodies made
// beforehand. (Node's own client costs as much as the server's whole work on a small request.)
import { connect, type Socket } from 'node:net';

export interface Lane {
  /** The answer's bytes, for those who do not look into it. Throws what the server did not do. */
  receive(body: Body): Promise<Buffer>;
  /** The answer, read. */
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
  const receive = async ({ type, bytes }: Body): Promise<Buffer> => {
    const answer = answers.next();
    socket.cork();
    socket.write(
      `POST /graphql HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${apiKey}\r\ncontent-type: ${type}\r\ncontent-length: ${bytes.length}\r\n\r\n`,
    );
    socket.write(bytes);
    socket.uncork();
    const { status, body } = await answer;
    // Errors come first in an answer.
    if (status !== 200 || body.subarray(0, 20).includes('"errors"')) throw new Error(`${status}: ${body.toString()}`);
    return body;
  };
  return {
    receive,
    send: async (body) =>
      JSON.parse((await receive(body)).toString()) as { data: Record<string, Record<string, unknown>> },
    close: () => socket.destroy(),
  };
}

export function bodyOf(query: string, variables?: object): Body {
  return { type: 'application/json', bytes: Buffer.from(JSON.stringify({ query, variables })) };
}

interface Answer {
  status: number;
  body: Buffer;
}

const HEAD_END = Buffer.from('\r\n\r\n');

/** In the order of their requests, each with its length, as the server sends what is no stream. */
function readAnswers(socket: Socket): { next(): Promise<Answer> } {
  // Put together once an answer is whole: an answer of megabytes comes in a hundred pieces.
  let pieces: Buffer[] = [];
  let size = 0;
  let needed = 0;
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
    pieces.push(chunk);
    size += chunk.length;
    while (size > 0 && size >= needed) {
      const received = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size);
      pieces = [received];
      const headEnd = received.indexOf(HEAD_END);
      if (headEnd === -1) return;
      const head = received.toString('latin1', 0, headEnd);
      const length = /content-length: (\d+)/i.exec(head)?.[1];
      if (length === undefined) {
        fail(new Error(`an answer without a length: ${head}`));
        return;
      }
      needed = headEnd + HEAD_END.length + Number(length);
      if (size < needed) return;
      waiting.shift()?.resolve({
        status: Number(head.split(' ', 2)[1]),
        body: received.subarray(headEnd + HEAD_END.length, needed),
      });
      pieces = size === needed ? [] : [received.subarray(needed)];
      size -= needed;
      needed = 0;
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
