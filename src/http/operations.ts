// The operations that are open on one WebSocket, and how their results leave by it.
import type { ExecutionResult, GraphQLError } from 'graphql';
import { MessageType } from 'graphql-ws';
import type { WatchedPlace } from '../access/permissions.ts';
import type { Reader } from '../live/watch-metrics.ts';
import type { Connection } from './connection.ts';
import { SharedStream, type Stringify } from './shared-results.ts';

export type Results = ExecutionResult | AsyncIterableIterator<ExecutionResult>;

const NOWHERE: readonly WatchedPlace[] = [];

/** What is open for hours holds its id and its stream, and nothing of the request. */
export class Operation implements Reader {
  readonly id: string;
  /** Where what it tells of is. */
  places: readonly WatchedPlace[] = NOWHERE;
  readonly #connection: Connection;
  #results: SharedStream | AsyncIterableIterator<ExecutionResult> | null = null;
  #isWaiting = false;
  #isOver = false;

  constructor(id: string, connection: Connection) {
    this.id = id;
    this.#connection = connection;
  }

  deliver(results: Results, textOf: Stringify): void {
    if (!(Symbol.asyncIterator in results)) {
      if (this.#isOver) return;
      this.#send(results, textOf);
      this.#complete();
      return;
    }
    this.#results = results;
    if (this.#isOver) this.#endResults();
    else if (results instanceof SharedStream) {
      results.readBy(this);
      this.onReady();
    } else void this.#pull(results, textOf);
  }

  /** Of shared events: all that are there, as fast as the client takes them. */
  onReady(): void {
    const { outbox } = this.#connection;
    try {
      while (this.#results instanceof SharedStream && !this.#isWaiting) {
        if (outbox.isFull()) {
          this.#isWaiting = true;
          outbox.onDrained(() => {
            this.#isWaiting = false;
            this.onReady();
          });
          return;
        }
        const result = this.#results.take();
        if (result === null) return;
        outbox.send(this.#head(), result.tail());
      }
    } catch (error) {
      this.fail([this.#connection.around.present(error)]);
    }
  }

  fail(errors: readonly GraphQLError[]): void {
    if (this.#isOver) return;
    this.#connection.outbox.say({ id: this.id, type: MessageType.Error, payload: errors });
    this.#connection.remove(this);
  }

  /** At once, and without a word. */
  end(): void {
    this.#isOver = true;
    this.#endResults();
  }

  #complete(): void {
    this.#connection.outbox.say({ id: this.id, type: MessageType.Complete });
    this.#connection.remove(this);
  }

  async #pull(results: AsyncIterableIterator<ExecutionResult>, textOf: Stringify): Promise<void> {
    const { outbox } = this.#connection;
    try {
      for await (const result of results) {
        if (this.#isOver) return;
        this.#send(result, textOf);
        while (outbox.isFull()) await new Promise<void>((resolve) => outbox.onDrained(resolve));
      }
      if (!this.#isOver) this.#complete();
    } catch (error) {
      this.fail([this.#connection.around.present(error)]);
    }
  }

  #send(result: ExecutionResult, textOf: Stringify): void {
    this.#connection.outbox.send(this.#head(), Buffer.from(`${textOf(result)}}`));
  }

  #head(): string {
    return `{"id":${JSON.stringify(this.id)},"type":"next","payload":`;
  }

  #endResults(): void {
    const results = this.#results;
    this.#results = null;
    if (results instanceof SharedStream) results.end();
    else results?.return?.().catch(() => {});
  }
}
