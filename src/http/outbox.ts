// What leaves by one WebSocket, message by message, and when it has to wait. A message of an event is a head of its own
// and a tail that thousands may share: its frame is built here and written below `ws`, which would copy the tail for each
// of them (docs/performance.md). `ws` writes frames whole too, so that the two may take turns.
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** RFC 6455: the last frame of a message, text. */
const TEXT = 0x81;

/** A class, as there are thousands. */
export class Outbox {
  readonly client: WebSocket;
  readonly socket: Socket;
  #fullSince = 0;
  #resumes: (() => void)[] | null = null;

  constructor(client: WebSocket, socket: Socket) {
    this.client = client;
    this.socket = socket;
  }

  isOpen(): boolean {
    return this.client.readyState === this.client.OPEN;
  }

  /** A message of the protocol. Nothing once the socket is closing. */
  say(message: object): void {
    if (!this.isOpen()) return;
    this.client.send(JSON.stringify(message));
    this.#seeWhetherFull();
  }

  /** A message out of two parts. */
  send(head: string, tail: Buffer): void {
    if (!this.isOpen()) return;
    this.socket.cork();
    this.socket.write(frameHead(head, tail.length));
    this.socket.write(tail);
    this.socket.uncork();
    this.#seeWhetherFull();
  }

  #seeWhetherFull(): void {
    if (!this.socket.writableNeedDrain || this.isFull()) return;
    this.#fullSince = performance.now();
    this.socket.once('drain', () => {
      const resumes = this.#resumes ?? [];
      this.#fullSince = 0;
      this.#resumes = null;
      for (const resume of resumes) resume();
    });
  }

  /** The socket holds what the client has not taken yet: nothing more is to be sent before it is drained. */
  isFull(): boolean {
    return this.#fullSince > 0;
  }

  fullForMs(): number {
    return this.isFull() ? performance.now() - this.#fullSince : 0;
  }

  onDrained(resume: () => void): void {
    (this.#resumes ??= []).push(resume);
  }
}

/** The header of a frame, and what its payload begins with. */
function frameHead(head: string, tailBytes: number): Buffer {
  const headBytes = Buffer.byteLength(head);
  const length = headBytes + tailBytes;
  const at = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const bytes = Buffer.allocUnsafe(at + headBytes);
  bytes[0] = TEXT;
  if (at === 2) bytes[1] = length;
  else if (at === 4) {
    bytes[1] = 126;
    bytes.writeUInt16BE(length, 2);
  } else {
    bytes[1] = 127;
    bytes.writeUInt32BE(0, 2);
    bytes.writeUInt32BE(length, 6);
  }
  bytes.write(head, at);
  return bytes;
}
