// Whatever subscribers there are and whatever happens to them: what each is told is what the journal holds behind its
// cursor, in order, once.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MetricsEvent, type MetricSelector, selectionOf } from '../../src/live/events.ts';
import { createFeeds, type Feeds } from '../../src/live/feeds.ts';
import { readPayload } from '../../src/live/journal.ts';
import { type Watch, watchMetrics } from '../../src/live/watch-metrics.ts';
import { encodeRemoval, isRemoval } from '../../src/metrics/codec/removal.ts';
import { publishBatch } from '../../src/metrics/append/publish.ts';
import { until } from '../support/client.ts';
import { silentLog } from '../support/log.ts';
import { createRandom } from '../support/random.ts';
import { append, columns, openRunRows, type RunRows } from '../support/run-rows.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../support/unreliable-bus.ts';

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const RUNS = 3;
const NAMES = ['loss', 'acc', 'lr'];
const SELECTORS: (MetricSelector[] | null)[] = [
  null,
  [{ name: 'loss' }],
  [{ name: 'loss' }],
  [{ name: 'acc', tag: '' }, { name: 'lr' }],
];
const STORM = { lost: 0.3, repeated: 0.3, late: 0.3, lateMs: 8 };
const DROUGHT = { ...SUNNY, lost: 1 };

const run = fc.nat(RUNS - 1);
const who = fc.nat(20);
const action = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('log' as const), run, names: fc.subarray(NAMES) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), run, name: fc.constantFrom(...NAMES) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('join' as const),
      runs: fc.subarray([0, 1, 2], { minLength: 1 }),
      selectors: fc.constantFrom(...SELECTORS),
      fromNow: fc.boolean(),
      pushed: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pause' as const), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resume' as const), who }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('weather' as const), now: fc.constantFrom(SUNNY, STORM, DROUGHT) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
);

interface Told {
  from: number;
  event: MetricsEvent;
}

interface Subscriber {
  selectors: MetricSelector[] | null;
  cursors: Map<string, number>;
  told: Told[];
  pause(): void;
  resume(): void;
  /** Ends, and goes on with its cursors. */
  cut(): Promise<void>;
  stop(): Promise<unknown>;
}

/** Reads as a WebSocket does (pushed), or as an event stream. */
function read(watch: Watch, pushed: boolean, tell: (event: MetricsEvent) => void) {
  let paused = false;
  let wake = () => {};
  const reader = {
    onReady() {
      while (!paused) {
        const event = watch.take();
        if (event === null) return;
        tell(event);
      }
    },
  };
  if (pushed) {
    watch.readBy(reader);
    reader.onReady();
  } else
    void (async () => {
      for await (const event of watch) {
        tell(event);
        if (paused) await new Promise<void>((resolve) => (wake = resolve));
      }
    })();
  return {
    pause: () => void (paused = true),
    resume() {
      paused = false;
      if (pushed) reader.onReady();
      else wake();
    },
  };
}

async function join(
  feeds: Feeds,
  selectors: MetricSelector[] | null,
  cursors: Map<string, number>,
  { fromNow, pushed }: { fromNow: boolean; pushed: boolean },
): Promise<Subscriber> {
  const told: Told[] = [];
  const open = async (after: (runId: string) => number | null) => {
    const runs = [...cursors.keys()].map((runId) => ({ runId, after: after(runId) }));
    const watch = await watchMetrics(feeds, runs, selectors);
    const reading = read(watch, pushed, (event) => {
      told.push({ from: cursors.get(event.runId)!, event });
      cursors.set(event.runId, Number(event.cursor));
    });
    return { watch, ...reading };
  };
  let current = await open((runId) => (fromNow ? null : cursors.get(runId)!));
  return {
    selectors,
    cursors,
    told,
    pause: () => current.pause(),
    resume: () => current.resume(),
    async cut() {
      await current.watch.return();
      current = await open((runId) => cursors.get(runId)!);
    },
    stop: () => current.watch.return(),
  };
}

interface Row {
  sequence: number;
  attempt: number;
  payload: Buffer;
}

async function journalOf(runId: string): Promise<Row[]> {
  const { rows: journal } = await rows.pool.query<Row>(
    'SELECT sequence, attempt, payload FROM journal WHERE run_id = $1 ORDER BY sequence',
    [runId],
  );
  return journal;
}

/** By attempt, tag and name: steps and values in their order. */
type Content = Record<string, [number, number][]>;

function contentOf(
  metrics: readonly { attempt: number; name: string; tag: string; steps: Float64Array; values: Float64Array }[],
) {
  const content: Content = {};
  for (const { attempt, name, tag, steps, values } of metrics)
    (content[`${attempt} ${tag} ${name}`] ??= []).push(
      ...Array.from(steps, (step, index): [number, number] => [step, values[index]!]),
    );
  return content;
}

/** What is wrong with what a subscriber was told. */
function faultsIn({ selectors, told, cursors }: Subscriber, journals: Map<string, Row[]>): string[] {
  const selection = selectionOf(selectors);
  const behind = (runId: string, from: number, to: number) => {
    const read = journals
      .get(runId)!
      .filter(({ sequence }) => sequence > from && sequence <= to)
      .map(({ attempt, payload }) => ({ attempt, ...readPayload(payload, selection.wants) }));
    return {
      isRemoved: read.some(({ removes }) => removes(selection)),
      content: contentOf(read.flatMap(({ attempt, columns: all }) => all.map((one) => ({ ...one, attempt })))),
    };
  };
  const faults: string[] = [];
  for (const { from, event } of told) {
    const to = Number(event.cursor);
    const { isRemoved, content } = behind(event.runId, from, to);
    const where = `${event.kind} from ${from} to ${to}`;
    if (to <= from) faults.push(`${where}: goes back`);
    if (isRemoved !== (event.kind === 'reset')) faults.push(`${where}: removed is ${isRemoved}`);
    if (event.kind === 'appended' && !isDeepStrictEqual(contentOf(event.metrics), content))
      faults.push(`${where}: ${JSON.stringify(contentOf(event.metrics))} and not ${JSON.stringify(content)}`);
  }
  for (const [runId, cursor] of cursors) {
    const { isRemoved, content } = behind(runId, cursor, Infinity);
    if (isRemoved || Object.keys(content).length > 0)
      faults.push(`behind ${cursor} there is ${JSON.stringify(content)}`);
  }
  return faults;
}

test('any mixture of subscribers is told exactly what the journal holds', { timeout: 60_000 }, async () => {
  let shared = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(action, { minLength: 30, maxLength: 80, size: 'max' }),
      fc.nat(),
      async (actions, seed) => {
        const bus: UnreliableBus = createUnreliableBus(createRandom(seed), SUNNY);
        const feeds = createFeeds({ pool: rows.pool, bus, log: silentLog });
        const runIds = await Promise.all(Array.from({ length: RUNS }, () => rows.insertRun({ attempts: 2 })));
        const heads = new Map(runIds.map((runId) => [runId, 0]));
        const subscribers: Subscriber[] = [];
        const chosen = (index: number) => subscribers[index % subscribers.length];
        let step = 0;
        const log = async (runId: string, names: readonly string[], attempt = 1) => {
          step++;
          const metrics = names.map((name) => columns(name, [step, step + 1], [step, -step]));
          const appended = await append(rows.pool, runId, metrics, { attempt });
          heads.set(runId, appended.sequence);
          publishBatch(bus, runId, appended);
        };
        const remove = async (runId: string, name: string) => {
          const payload = encodeRemoval({ name, tag: '', attempt: null, from: null, to: null });
          const sequence = heads.get(runId)! + 1;
          heads.set(runId, sequence);
          await rows.pool.query(
            `WITH moved AS (UPDATE run_head SET sequence = $2 WHERE run_id = $1)
           INSERT INTO journal (run_id, sequence, attempt, point_count, payload) VALUES ($1, $2, 1, 0, $3)`,
            [runId, sequence, payload],
          );
          publishBatch(bus, runId, { sequence, attempt: 1, pointCount: 0, payload });
        };
        try {
          for (const one of actions) {
            if (one.do === 'log') await log(runIds[one.run]!, one.names, 1 + (step % 2));
            else if (one.do === 'remove') await remove(runIds[one.run]!, one.name);
            else if (one.do === 'join') {
              const cursors = new Map(
                one.runs.map((index) => [runIds[index]!, one.fromNow ? heads.get(runIds[index]!)! : 0]),
              );
              subscribers.push(await join(feeds, one.selectors, cursors, one));
            } else if (one.do === 'weather') bus.weather = one.now;
            else if (one.do === 'wait') await new Promise((resolve) => setTimeout(resolve, 2));
            else await chosen(one.who)?.[one.do]();
          }
          bus.weather = SUNNY;
          for (const one of subscribers) one.resume();
          for (const runId of runIds) await log(runId, NAMES);
          await until(
            () =>
              subscribers.every(({ cursors }) => [...cursors].every(([runId, cursor]) => cursor === heads.get(runId))),
            'all have all',
          );
          const journals = new Map<string, Row[]>();
          for (const runId of runIds) journals.set(runId, await journalOf(runId));
          expect(subscribers.flatMap((one) => faultsIn(one, journals))).toEqual([]);
          const events = subscribers.flatMap(({ told }) => told.map(({ event }) => event));
          shared += events.length - new Set(events).size;
        } finally {
          for (const one of subscribers) await one.stop();
          expect(feeds.watchedRuns()).toBe(0);
          feeds.close();
          await bus.close();
        }
      },
    ),
    { numRuns: 15, endOnFailure: true },
  );
  // What is right for each alone was made once for several.
  expect(shared).toBeGreaterThan(100);
});

test('the check notices what is missing, repeated, altered or out of order', async () => {
  const runId = await rows.insertRun();
  for (const n of [1, 2, 3]) await append(rows.pool, runId, [columns('loss', [n], [n])]);
  const journals = new Map([[runId, await journalOf(runId)]]);
  expect(journals.get(runId)!.some(({ payload }) => isRemoval(payload))).toBe(false);
  const event = (cursor: number, ...values: number[]): MetricsEvent => ({
    kind: 'appended',
    runId,
    cursor: String(cursor),
    metrics: [{ ...columns('loss', values, values), attempt: 1 }],
  });
  const faults = (...told: Told[]) =>
    faultsIn(
      {
        selectors: null,
        told,
        cursors: new Map([[runId, Number(told.at(-1)?.event.cursor ?? 0)]]),
        pause() {},
        resume() {},
        cut: () => Promise.resolve(),
        stop: () => Promise.resolve(),
      },
      journals,
    ).length;
  expect(faults({ from: 0, event: event(1, 1) }, { from: 1, event: event(3, 2, 3) })).toBe(0);
  expect(faults({ from: 0, event: event(1, 1) })).toBe(1);
  expect(faults({ from: 0, event: event(1, 1) }, { from: 1, event: event(3, 3) })).toBe(1);
  expect(faults({ from: 0, event: event(3, 1, 3, 2) })).toBe(1);
  expect(faults({ from: 0, event: event(3, 1, 2, 3) }, { from: 3, event: event(3, 3) })).toBe(2);
  expect(faults({ from: 0, event: { kind: 'reset', runId, cursor: '3', reason: '' } })).toBe(1);
});
