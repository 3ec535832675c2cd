// One subscriber of `metrics`: what the journal holds after the cursors, then live batches in the order of their
// sequence, without a gap and without a duplicate. From the bus only the next sequence is taken; whatever else is
// missing is read from the journal. What waits for a slow reader is bounded, as is what one event holds: past the bound
// it is dropped, and read from the journal when the reader comes back. Each has cursors of its own; those that come to
// the same batches at once are given the same event.
//
// Classes, for once: there are thousands of these, and as closures each took 2 KB more.
import { isUnavailable } from '../db/pool.ts';
import { appendedEvent, type MetricSelector, type MetricsEvent, type Selection, selectionOf } from './events.ts';
import type { FeedBatch, FeedListener, Feeds } from './feeds.ts';
import { WAITING_BYTES } from './journal.ts';

export interface Reader {
  /** It is worth asking for the next event again. */
  onReady(): void;
}

/** Between two tries while the database is away. */
const AWAY_MS = 1_000;
const DONE: IteratorResult<MetricsEvent> = { done: true, value: undefined };
const REMOVED = 'points were deleted';

export async function watchMetrics(
  feeds: Feeds,
  runs: readonly { runId: string; after: number | null }[],
  selectors: readonly MetricSelector[] | null,
): Promise<Watch> {
  const watch = new Watch(feeds, selectionOf(selectors), runs);
  try {
    await watch.begin();
  } catch (error) {
    watch.end();
    throw error;
  }
  return watch;
}

class Watched implements FeedListener {
  readonly watch: Watch;
  readonly runId: string;
  delivered: number;
  /** The highest sequence heard of. */
  known = -1;
  /** Ascending, with holes where the bus lost something: those are read from the journal. */
  waiting: FeedBatch[] = NONE;
  /** Read from the journal, to be told next. */
  found: MetricsEvent | null = null;
  /** Why the cursor cannot be served. */
  reset: string | null = null;
  /** It stands in the line of its watch. */
  isDue = false;

  constructor(watch: Watch, runId: string, after: number | null) {
    this.watch = watch;
    this.runId = runId;
    this.delivered = after ?? -1;
  }

  onHead(sequence: number): void {
    if (sequence <= this.known) return;
    this.known = sequence;
    this.watch.hear(this);
  }

  onBatch(batch: FeedBatch): void {
    if (batch.sequence > (this.waiting.at(-1)?.sequence ?? this.delivered) && batch.bytes > 0) {
      if (this.waiting === NONE) this.waiting = [batch];
      else this.waiting.push(batch);
      this.watch.keep(batch.bytes);
    }
    this.onHead(batch.sequence);
  }

  isUpToDate(): boolean {
    return this.found === null && this.reset === null && this.known <= this.delivered;
  }

  drop(count: number): void {
    if (count === 0) return;
    for (let index = 0; index < count; index++) this.watch.waitingBytes -= this.waiting[index]?.bytes ?? 0;
    this.waiting = count === this.waiting.length ? NONE : this.waiting.slice(count);
  }

  dropDelivered(): void {
    const first = this.waiting.findIndex(({ sequence }) => sequence > this.delivered);
    this.drop(first === -1 ? this.waiting.length : first);
  }
}

const NONE: FeedBatch[] = [];

/** Either iterated, or read with `readBy` and `take`. */
export class Watch implements AsyncIterableIterator<MetricsEvent> {
  readonly #feeds: Feeds;
  readonly #selection: Selection;
  readonly #runs: Watched[];
  /** Runs for which there may be something, in the order in which they are served. */
  #due: Watched[] = [];
  waitingBytes = 0;
  /** One at a time. */
  #reading: Watched | null = null;
  #away: NodeJS.Timeout | undefined;
  #failure: { error: unknown } | null = null;
  #isOver = false;
  #reader: Reader | null = null;

  constructor(feeds: Feeds, selection: Selection, runs: readonly { runId: string; after: number | null }[]) {
    this.#feeds = feeds;
    this.#selection = selection;
    this.#runs = runs.map(({ runId, after }) => new Watched(this, runId, after));
  }

  /** The bus first, then the heads: what is accepted in between is heard, what was accepted before is below the head. */
  async begin(): Promise<void> {
    for (const run of this.#runs) await this.#feeds.listen(run.runId, run);
    const heads = await this.#feeds.readHeads(this.#runs.map(({ runId }) => runId));
    for (const run of this.#runs) {
      const sequence = heads.get(run.runId)?.sequence;
      if (sequence === undefined) continue;
      if (run.delivered === -1) {
        // From now on. What the bus brought since is above the head, or in it.
        run.delivered = sequence;
        run.dropDelivered();
      } else if (run.delivered > sequence) run.reset = 'the cursor is ahead of the run: the server was set back';
      run.known = Math.max(run.known, sequence);
      if (!run.isUpToDate()) this.hear(run);
    }
  }

  /** Who is told when there may be something. */
  readBy(reader: Reader): void {
    this.#reader = reader;
  }

  /**
   * The next event if it is there, else null: the reader is told when it is worth asking again. Throws what went wrong,
   * and is over then. Whoever does not ask is a slow reader.
   */
  take(): MetricsEvent | null {
    if (this.#failure) {
      this.end();
      throw this.#failure.error;
    }
    for (let left = this.#due.length; left > 0 && !this.#isOver; left--) {
      const run = this.#due.shift() as Watched;
      const event = this.#takeFrom(run);
      // Whoever was served goes to the end of the line.
      if (run.isUpToDate()) run.isDue = false;
      else this.#due.push(run);
      if (event) return event;
    }
    return null;
  }

  hear(run: Watched): void {
    if (this.#isOver) return;
    if (!run.isDue) this.#due.push(run);
    run.isDue = true;
    this.#reader?.onReady();
  }

  /** Takes note of what waits. */
  keep(bytes: number): void {
    this.waitingBytes += bytes;
    if (this.waitingBytes > WAITING_BYTES) for (const run of this.#runs) run.drop(run.waiting.length);
  }

  /** At once. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#away);
    for (const run of this.#runs) {
      this.#feeds.stop(run.runId, run);
      run.waiting = NONE;
      run.found = null;
    }
    this.#due = [];
  }

  /** What is there for one run. What has to be read first is on its way when this returns. */
  #takeFrom(run: Watched): MetricsEvent | null {
    if (run.found) {
      const { found } = run;
      run.found = null;
      return found;
    }
    if (this.#reading === run) return null;
    while (run.reset === null && run.known > run.delivered) {
      run.dropDelivered();
      const batches = this.#countNext(run);
      if (batches === 0) break;
      const event = this.#eventOf(run, batches);
      run.drop(batches);
      if (event) return event;
    }
    if (!run.isUpToDate() && this.#reading === null) void this.#read(run);
    return null;
  }

  /** How many batches from the bus come next without a hole. */
  #countNext(run: Watched): number {
    let count = 0;
    for (const batch of run.waiting) {
      if (batch.sequence !== run.delivered + 1 + count) break;
      const payload = batch.read();
      if (payload === null) break;
      if (payload.removes(this.#selection)) {
        if (count === 0) run.reset = REMOVED;
        break;
      }
      count++;
    }
    return count;
  }

  #eventOf(run: Watched, count: number): MetricsEvent | null {
    const last = run.waiting[count - 1] as FeedBatch;
    const key = `${run.delivered} ${this.#selection.key}`;
    run.delivered = last.sequence;
    const made = last.made?.get(key);
    if (made !== undefined) return made;
    const batches = run.waiting.slice(0, count);
    const payloads = batches.map((one) => ({ attempt: one.attempt, columns: one.read()?.columns ?? [] }));
    const event = appendedEvent(run.runId, last.sequence, payloads, this.#selection);
    last.made?.set(key, event);
    return event;
  }

  async #read(run: Watched): Promise<void> {
    this.#reading = run;
    try {
      run.found = await this.#find(run);
    } catch (error) {
      if (isUnavailable(error)) {
        // The database is away: the cursor stands, and the subscriber waits with it.
        await new Promise<void>((resolve) => (this.#away = setTimeout(resolve, AWAY_MS)));
      } else this.#failure = { error };
    }
    this.#reading = null;
    if (!this.#isOver) this.#reader?.onReady();
  }

  /** What the journal has next for one run. Moves `delivered` past it. */
  async #find(run: Watched): Promise<MetricsEvent | null> {
    if (run.reset === null) {
      let page = await this.#feeds.readJournal(run.runId, run.delivered, run.known);
      if (page.first !== run.delivered + 1) {
        if ((await this.#head(run)) <= run.delivered) {
          run.known = run.delivered;
          return null;
        }
        // What was heard of was not there yet, or is there no more: what is accepted by now would be found.
        page = await this.#feeds.readJournal(run.runId, run.delivered, Infinity);
      }
      if (page.first === run.delivered + 1) {
        const part = page.part(this.#selection);
        if (!part.isRemoval) {
          run.delivered = part.upTo;
          run.known = Math.max(run.known, part.upTo);
          return part.event;
        }
        run.reset = REMOVED;
      }
    }
    const reason = run.reset ?? 'the cursor is older than what the journal keeps';
    const sequence = await this.#head(run);
    run.reset = null;
    run.delivered = sequence;
    return { kind: 'reset', runId: run.runId, cursor: String(sequence), reason };
  }

  async #head({ runId }: Watched): Promise<number> {
    return (await this.#feeds.readHeads([runId])).get(runId)?.sequence ?? 0;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<MetricsEvent>> {
    this.#reader ??= new Pending(this);
    return (this.#reader as Pending).next();
  }

  /** Ends what waits in `next` at once, rather than after another event or an answer of the database. */
  return(): Promise<IteratorResult<MetricsEvent>> {
    this.end();
    this.#reader?.onReady();
    return Promise.resolve(DONE);
  }

  isOver(): boolean {
    return this.#isOver;
  }
}

/** Those who wait in `next`, in order. */
class Pending implements Reader {
  readonly #watch: Watch;
  readonly #calls: { resolve(result: IteratorResult<MetricsEvent>): void; reject(error: unknown): void }[] = [];

  constructor(watch: Watch) {
    this.#watch = watch;
  }

  next(): Promise<IteratorResult<MetricsEvent>> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ resolve, reject });
      this.onReady();
    });
  }

  onReady(): void {
    try {
      while (this.#calls.length > 0 && !this.#watch.isOver()) {
        const value = this.#watch.take();
        if (value === null) break;
        this.#calls.shift()?.resolve({ done: false, value });
      }
    } catch (error) {
      // The watch is over; the others are told so.
      this.#calls.shift()?.reject(error);
    }
    if (this.#watch.isOver()) for (const call of this.#calls.splice(0)) call.resolve(DONE);
  }
}
