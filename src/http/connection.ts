// One WebSocket and what is known of it. Classes, for there are thousands: what an idle socket holds is counted in bytes
// (bench/idle.ts).
import type { IncomingMessage } from 'node:http';
import type { GraphQLError } from 'graphql';
import { WebSocket } from 'ws';
import type { Access } from '../access/access.ts';
import type { WatchedPlace } from '../access/permissions.ts';
import type { Presented } from '../access/credentials/authenticate.ts';
import type { EndReason, OpenStream } from './open-streams.ts';
import type { Operation } from './operations.ts';
import type { Outbox } from './outbox.ts';

/** A socket that knows its connection, so that one listener serves all. */
export class Client extends WebSocket {
  connection: Connection | null = null;
}

export class Connection implements OpenStream {
  readonly outbox: Outbox;
  /** Of the turns of the timer, the one in which it is looked at. */
  readonly turn: number;
  /** Until it said who it is. */
  request: IncomingMessage | null;
  isAcknowledged = false;
  presented: Presented | null = null;
  access: Access | null = null;
  operations: readonly Operation[] = NONE;
  /** What had come from the client when it was last asked for a sign of life; −1: it was not. */
  bytesAtPing = -1;
  readonly around: Around;

  constructor(outbox: Outbox, request: IncomingMessage, turn: number, around: Around) {
    this.outbox = outbox;
    this.request = request;
    this.turn = turn;
    this.around = around;
  }

  *watched(): Iterable<WatchedPlace> {
    for (const { places } of this.operations) yield* places;
  }

  find(id: string): Operation | undefined {
    return this.operations.find((one) => one.id === id);
  }

  add(operation: Operation): void {
    this.operations = [...this.operations, operation];
  }

  remove(operation: Operation): void {
    const others = this.operations.filter((one) => one !== operation);
    this.operations = others.length > 0 ? others : NONE;
    operation.end();
  }

  /** Nothing leaves any more, also while the other side does not answer. */
  close(code: number, reason: string): void {
    this.outbox.client.close(code, within(reason, MOST_REASON));
    this.endOperations();
  }

  end(why: EndReason): void {
    this.close(...this.around.ends[why]);
  }

  endOperations(): void {
    const { operations } = this;
    this.operations = NONE;
    for (const operation of operations) operation.end();
  }
}

/** The same for all connections. */
export interface Around {
  /** How sockets are closed, by why. */
  ends: Record<EndReason, readonly [code: number, reason: string]>;
  /** What is said of what was thrown. */
  present(thrown: unknown): GraphQLError;
}

const NONE: readonly Operation[] = [];
/** Bytes that a frame of RFC 6455 which closes has for it. */
const MOST_REASON = 123;

function within(text: string, bytes: number): string {
  let cut = text.slice(0, bytes);
  while (Buffer.byteLength(cut) > bytes) cut = cut.slice(0, -1);
  return cut;
}
