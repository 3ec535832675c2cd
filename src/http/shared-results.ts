// Subscriptions whose events are shared: an event of `metrics` is executed and made text once for all who asked for it by
// the same operation, whatever their cursors and runs are. What somebody may not see is refused when they subscribe; what
// is shared afterwards is executed as nobody, so that a field that asks who is asking can only fail.
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  executeSubscriptionEvent,
  mapSourceToResponseEvent,
  TypeInfo,
  type ValidatedSubscriptionArgs,
  validateSubscriptionArgs,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { v7 as uuidv7 } from 'uuid';
import type { MetricsEvent } from '../live/events.ts';
import { type Reader, Watch } from '../live/watch-metrics.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { present } from './present.ts';

/** The one place where a result becomes text. */
export type Stringify = (result: ExecutionResult) => string;

export interface SharedResult extends ExecutionResult {
  /** Yoga's name for it: the text is there already. */
  stringify(): string;
  /** The text, and the brace that closes the message around it. */
  tail(): Buffer;
}

/** One subscriber's results. Either iterated or taken, as its watch. */
export class SharedStream implements AsyncIterableIterator<SharedResult> {
  readonly #watch: Watch;
  readonly #operation: SharedOperation;
  #isOver = false;

  constructor(watch: Watch, operation: SharedOperation) {
    this.#watch = watch;
    this.#operation = operation;
  }

  readBy(reader: Reader): void {
    this.#watch.readBy(reader);
  }

  /** Throws what went wrong. */
  take(): SharedResult | null {
    const event = this.#watch.take();
    return event && this.#operation.resultOf(event);
  }

  end(): void {
    if (!this.#isOver) this.#operation.leave();
    this.#isOver = true;
    this.#watch.end();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<SharedResult>> {
    const { done, value } = await this.#watch.next();
    return done ? { done, value: undefined } : { done: false, value: this.#operation.resultOf(value) };
  }

  async return(): Promise<IteratorResult<SharedResult>> {
    this.end();
    await this.#watch.return();
    return { done: true, value: undefined };
  }
}

/** What the same operation of many subscribers has in common. */
interface SharedOperation {
  subscribers: number;
  resultOf(event: MetricsEvent): SharedResult;
  /** Called by each when it is over. */
  leave(): void;
}

export interface SharedResults {
  /** As GraphQL's own `subscribe`; a stream of `metrics` is a SharedStream. */
  subscribe(args: ExecutionArgs): Promise<ExecutionResult | AsyncIterableIterator<ExecutionResult>>;
  counts: LiveCounts;
}

export interface LiveCounts {
  /** Events that were executed. */
  executed: number;
  /** How often one was handed on. */
  sent: number;
  /** Sockets and streams that were closed because nobody read them. */
  slow: number;
}

export function createSharedResults(engines: Engines, stringify: Stringify): SharedResults {
  const counts: LiveCounts = { executed: 0, sent: 0, slow: 0 };
  const operations = new Map<string, SharedOperation>();
  const nobody: Context = { ...engines, access: null, requestId: '' };

  const execute = (args: ValidatedSubscriptionArgs, event: MetricsEvent): SharedResult => {
    counts.executed++;
    const result = executeSubscriptionEvent({ ...args, rootValue: event });
    if (result instanceof Promise) throw new Error('fields of events that are shared must not wait for anything');
    if (result.errors) {
      const requestId = uuidv7();
      result.errors = result.errors.map((error) => present(error, requestId, engines.log));
    }
    const text = stringify(result);
    let tail: Buffer | undefined;
    return Object.assign(result, { stringify: () => text, tail: () => (tail ??= Buffer.from(`${text}}`)) });
  };
  const join = (key: string, given: ValidatedSubscriptionArgs): SharedOperation => {
    let operation = operations.get(key);
    if (!operation) {
      const args = { ...given, contextValue: nobody };
      // As long as the events: whoever still has one has its result.
      const results = new WeakMap<MetricsEvent, SharedResult>();
      const made: SharedOperation = {
        subscribers: 0,
        resultOf(event) {
          const result = results.get(event) ?? execute(args, event);
          results.set(event, result);
          counts.sent++;
          return result;
        },
        leave() {
          if (--made.subscribers === 0) operations.delete(key);
        },
      };
      operation = made;
      operations.set(key, made);
    }
    operation.subscribers++;
    return operation;
  };

  return {
    counts,
    async subscribe(given) {
      const args = validateSubscriptionArgs(given);
      if (!('schema' in args)) return { errors: args };
      const source = await createSourceEventStream(args);
      if (!(Symbol.asyncIterator in source)) return source;
      if (!(source instanceof Watch)) return mapSourceToResponseEvent(args, source);
      return new SharedStream(source, join(operationKey(given), args));
    },
  };
}

const numbers = new WeakMap<DocumentNode, number>();
let lastNumber = 0;
const shaping = new WeakMap<DocumentNode, readonly string[]>();

/** Of two operations with the same key, the same event gives the same result. */
function operationKey({ document, operationName, variableValues }: ExecutionArgs): string {
  const number = numbers.get(document) ?? ++lastNumber;
  numbers.set(document, number);
  const names = shaping.get(document) ?? shapingVariables(document);
  shaping.set(document, names);
  const values = names.map((name) =>
    variableValues && Object.hasOwn(variableValues, name) ? [variableValues[name]] : [],
  );
  return JSON.stringify([number, operationName ?? null, values]);
}

/** The variables that say what an event is answered with. Those of the root field's arguments say which events come. */
function shapingVariables(document: DocumentNode): string[] {
  const names = new Set<string>();
  const types = new TypeInfo(schema);
  visit(
    document,
    visitWithTypeInfo(types, {
      VariableDefinition: () => false,
      Argument: () =>
        types.getParentType() === schema.getSubscriptionType() && !types.getDirective() ? false : undefined,
      Variable: ({ name }) => void names.add(name.value),
    }),
  );
  return [...names];
}
