// One subscriber of `metrics`: whatever the bus does, each batch once, in order, without a gap, and in bounded memory.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { MetricSelector, MetricsEvent } from '../../src/live/events.ts';
import { createFeeds, type Feeds } from '../../src/live/feeds.ts';
import { WAITING_BYTES } from '../../src/live/journal.ts';
import { watchMetrics } from '../../src/live/watch-metrics.ts';
import { decodeColumns } from '../../src/metrics/codec/columns.ts';
import type { MetricColumns } from '../../src/metrics/columns.ts';
import { publishBatch } from '../../src/metrics/append/publish.ts';
import { until } from '../support/client.ts';
import { silentLog } from '../support/log.ts';
import { type Random, testRandom } from '../support/random.ts';
import { append, columns, openRunRows, type RunRows } from '../support/run-rows.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../support/unreliable-bus.ts';

type Watching = AsyncIterableIterator<MetricsEvent>;

let rows: RunRows;
let random: Random;
let bus: UnreliableBus;
let feeds: Feeds;
const watching: Watching[] = [];

beforeAll(async () => {
  rows = await openRunRows();
});
beforeEach(() => {
  random = testRandom();
  bus = createUnreliableBus(random, SUNNY);
  feeds = createFeeds({ pool: rows.pool, bus, log: silentLog });
});
afterEach(async () => {
  for (const one of watching.splice(0)) await one.return!();
  const left = feeds.watchedRuns();
  feeds.close();
  await bus.close();
  if (left > 0) throw new Error(`${left} runs are still watched`);
});
afterAll(() => rows[Symbol.asyncDispose]());

async function watch(
  runs: { runId: string; after: number | null }[],
  selectors: MetricSelector[] | null = null,
): Promise<Watching> {
  const one = await watchMetrics(feeds, runs, selectors);
  watching.push(one);
  return one;
}

/** As `logMetrics` does it. */
async function log(runId: string, metrics: MetricColumns[], attempt?: number): Promise<number> {
  const appended = await append(rows.pool, runId, metrics, attempt === undefined ? {} : { attempt });
  publishBatch(bus, runId, appended);
  return appended.sequence;
}

const point = (step: number) => [columns('loss', [step], [step])];

async function next(from: Watching): Promise<MetricsEvent> {
  const { value, done } = await from.next();
  if (done) throw new Error('the subscription ended');
  return value;
}

interface Seen {
  events: MetricsEvent[];
  /** Of `loss`, as they came. */
  values: number[];
  cursor: number;
}

function readAll(from: Watching): Seen {
  const seen: Seen = { events: [], values: [], cursor: -1 };
  void (async () => {
    for await (const event of from) {
      seen.events.push(event);
      seen.cursor = Number(event.cursor);
      if (event.kind === 'appended')
        for (const { name, values } of event.metrics)
          if (name === 'loss') for (const value of values) seen.values.push(value);
    }
  })();
  return seen;
}

async function journalValues(runId: string, after = 0): Promise<number[]> {
  const { rows: journal } = await rows.pool.query<{ payload: Buffer }>(
    'SELECT payload FROM journal WHERE run_id = $1 AND sequence > $2 ORDER BY sequence',
    [runId, after],
  );
  return journal.flatMap(({ payload }) => decodeColumns(payload).flatMap(({ values }) => [...values]));
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

const STORMY = { lost: 0.15, repeated: 0.2, late: 0.3, lateMs: 25 };

test('on a bus that loses, repeats and reorders, every subscriber gets each batch once and in order', async () => {
  bus.weather = STORMY;
  const runId = await rows.insertRun();
  const fromStart = readAll(await watch([{ runId, after: 0 }]));
  const writers = upTo(4).map(async (writer) => {
    for (const n of upTo(120)) {
      await log(runId, [columns('loss', [n, n + 0.5].map(Math.floor), [writer * 1_000 + n, -n])]);
      if (random.chance(0.05)) await new Promise((resolve) => setTimeout(resolve, random.integer(1, 30)));
    }
  });
  await until(() => fromStart.cursor > 60, 'something comes');
  const joined = fromStart.cursor;
  const fromMiddle = readAll(await watch([{ runId, after: joined }]));
  const fromNow = await watch([{ runId, after: null }]);
  const first = await next(fromNow);
  const rest = readAll(fromNow);
  await Promise.all(writers);
  bus.weather = SUNNY;
  await until(() => [fromStart, fromMiddle, rest].every(({ cursor }) => cursor === 480), 'all have all');
  expect(bus.lost()).toBeGreaterThan(20);
  expect(fromStart.values).toEqual(await journalValues(runId));
  expect(fromMiddle.values).toEqual(await journalValues(runId, joined));
  // From now: from some sequence on, and then all of it.
  const firstValues = first.kind === 'appended' ? [...first.metrics[0]!.values] : [];
  const nowValues = [...firstValues, ...rest.values];
  expect(nowValues).toEqual((await journalValues(runId)).slice(-nowValues.length));
  for (const { events } of [fromStart, fromMiddle, rest]) {
    const cursors = events.map(({ cursor }) => Number(cursor));
    expect(cursors).toEqual([...new Set(cursors)].toSorted((a, b) => a - b));
    expect(events.every(({ kind }) => kind === 'appended')).toBe(true);
  }
});

test('subscribers that stop and go on by cursor, again and again, together miss nothing', async () => {
  bus.weather = STORMY;
  const runId = await rows.insertRun();
  let cuts = 0;
  let total = Infinity;
  const writer = (async () => {
    let n = 0;
    while (cuts < 30) await log(runId, point(++n));
    // Known before the last one comes, so that nobody waits for another.
    total = n + 1;
    await log(runId, point(total));
  })();
  const values: number[] = [];
  for (let after = 0; after < total; cuts++) {
    const one = await watch([{ runId, after }]);
    for (let left = random.integer(1, 6); left > 0 && after < total; left--) {
      const event = await next(one);
      if (event.kind === 'reset') throw new Error(event.reason);
      for (const metric of event.metrics) values.push(...metric.values);
      after = Number(event.cursor);
    }
    await one.return!();
  }
  await writer;
  expect(values).toEqual(upTo(total));
});

test('what the bus lost altogether is covered by the look at the heads within about a second', async () => {
  const runIds = await Promise.all(upTo(3).map(() => rows.insertRun()));
  const one = await watch(runIds.map((runId) => ({ runId, after: null })));
  bus.weather = { ...SUNNY, lost: 1 };
  for (const runId of runIds) await log(runId, point(7));
  const began = performance.now();
  const events = [await next(one), await next(one), await next(one)];
  expect(performance.now() - began).toBeLessThan(2_500);
  expect(new Set(events.map(({ runId }) => runId))).toEqual(new Set(runIds));
});

test('messages that are no messages, or of sequences that there are not, change nothing', async () => {
  const runId = await rows.insertRun();
  const seen = readAll(await watch([{ runId, after: null }]));
  bus.publish(`batches:${runId}`, Buffer.alloc(3));
  bus.publish(`batches:${runId}`, Buffer.alloc(40, 255));
  // Too large to be carried: it says that there is a batch 5.
  publishBatch(bus, runId, { sequence: 5, attempt: 1, pointCount: 1, payload: Buffer.alloc(100_000) });
  // The next one, garbled: it is read from the journal instead.
  const { payload, pointCount } = await append(rows.pool, await rows.insertRun(), point(99));
  const garbled = Buffer.from(payload);
  garbled[12] = garbled[12]! ^ 255;
  await append(rows.pool, runId, point(1));
  publishBatch(bus, runId, { sequence: 1, attempt: 1, pointCount, payload: garbled });
  for (const n of [2, 3, 4]) await log(runId, point(n));
  await until(() => seen.cursor === 4, 'all came');
  expect(seen.values).toEqual([1, 2, 3, 4]);
  expect(seen.events.every(({ kind }) => kind === 'appended')).toBe(true);
});

describe('a cursor that cannot be served', () => {
  test('ahead of the run: a reset to its head, and on from there', async () => {
    const runId = await rows.insertRun();
    for (const n of [1, 2, 3]) await log(runId, point(n));
    const one = await watch([{ runId, after: 10 }]);
    expect(await next(one)).toMatchObject({ kind: 'reset', runId, cursor: '3', reason: /ahead/ });
    await log(runId, point(4));
    expect(await next(one)).toMatchObject({ kind: 'appended', cursor: '4' });
  });

  test('older than the journal: a reset, and on from there', async () => {
    const runId = await rows.insertRun();
    for (const n of upTo(6)) await log(runId, point(n));
    await rows.pool.query('DELETE FROM journal WHERE run_id = $1 AND sequence <= 4', [runId]);
    const old = await watch([{ runId, after: 2 }]);
    expect(await next(old)).toMatchObject({ kind: 'reset', runId, cursor: '6', reason: /older/ });
    const justInside = await watch([{ runId, after: 4 }]);
    expect(await next(justInside)).toMatchObject({ kind: 'appended', cursor: '6' });
    await log(runId, point(7));
    for (const one of [old, justInside]) expect(await next(one)).toMatchObject({ kind: 'appended', cursor: '7' });
    await rows.pool.query('DELETE FROM journal WHERE run_id = $1', [runId]);
    expect(await next(await watch([{ runId, after: 5 }]))).toMatchObject({ kind: 'reset', cursor: '7' });
  });

  test('up to date: nothing, until something comes', async () => {
    const runId = await rows.insertRun();
    await log(runId, point(1));
    await rows.pool.query('DELETE FROM journal WHERE run_id = $1', [runId]);
    const one = await watch([{ runId, after: 1 }]);
    await log(runId, point(2));
    expect(await next(one)).toMatchObject({ kind: 'appended', cursor: '2' });
  });
});

test('a batch that is damaged on disk is said, and holds back neither later ones nor other runs', async () => {
  const [bad, good] = [await rows.insertRun(), await rows.insertRun()];
  for (const n of upTo(5)) for (const runId of [bad, good]) await log(runId, point(n));
  await rows.pool.query('UPDATE journal SET payload = payload || payload WHERE run_id = $1 AND sequence = 3', [bad]);
  const one = await watch([bad, good].map((runId) => ({ runId, after: 0 })));
  const events = [await next(one), await next(one), await next(one), await next(one)];
  expect(events.filter(({ runId }) => runId === good)).toMatchObject([{ kind: 'appended', cursor: '5' }]);
  expect(events.filter(({ runId }) => runId === bad)).toMatchObject([
    { kind: 'appended', cursor: '2' },
    { kind: 'reset', cursor: '3', reason: expect.stringContaining('batch 3') },
    { kind: 'appended', cursor: '5' },
  ]);
});

describe('a slow reader', () => {
  const constant = (n: number, count: number) => [
    columns(
      'loss',
      Array.from({ length: count }, (_, i) => i),
      Array<number>(count).fill(n),
    ),
  ];
  const collect = (setFlagsFromString('--expose-gc'), runInNewContext('gc') as () => void);
  const buffers = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };

  test('costs bounded memory, also where few bytes stand for many points, and still gets everything', async () => {
    const runId = await rows.insertRun();
    const slow = await watch([{ runId, after: 0 }]);
    const fast = await watch([{ runId, after: 0 }]);
    const before = buffers();
    // 60 × 40,000 points, decoded 60 MB, as payloads a few KB.
    let delivered = 0;
    for (const n of upTo(60)) {
      await log(runId, constant(n, 40_000));
      delivered = Number((await next(fast)).cursor);
    }
    expect(delivered).toBe(60);
    // What was let go is given back by and by.
    await until(() => buffers() - before < 4 * WAITING_BYTES, `${before} bytes at first, now ${buffers()}`);
    const seen: number[] = [];
    for (let cursor = 0; cursor < 60;) {
      const event = await next(slow);
      if (event.kind === 'reset') throw new Error(event.reason);
      cursor = Number(event.cursor);
      const [metric] = event.metrics;
      expect(metric!.values.length).toBeLessThanOrEqual(Math.max(40_000, WAITING_BYTES / 24));
      seen.push(...new Set(metric!.values));
    }
    expect(seen).toEqual(upTo(60));
  });

  test('of ordinary batches, gets them merged, in order and in pieces', async () => {
    const runId = await rows.insertRun();
    const slow = await watch([{ runId, after: 0 }]);
    const batch = (n: number) => {
      const steps = upTo(1_000).map((i) => n * 1_000 + i);
      return [columns('loss', steps, steps.map(Math.sqrt))];
    };
    for (const n of upTo(400)) await log(runId, batch(n));
    const seen = readAll(slow);
    await until(() => seen.cursor === 400, 'all came');
    expect(seen.values).toEqual(await journalValues(runId));
    expect(seen.events.length).toBeLessThan(100);
    const sizes = seen.events.map((event) => (event.kind === 'appended' ? event.metrics[0]!.values.length : 0));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(WAITING_BYTES / 24);
  });
});

test('a batch larger than what the bus carries comes whole', async () => {
  const runId = await rows.insertRun();
  const seen = readAll(await watch([{ runId, after: null }]));
  const steps = upTo(150_000);
  await log(runId, [
    columns(
      'loss',
      steps,
      steps.map(() => random.next()),
    ),
  ]);
  await log(runId, point(1));
  await until(() => seen.cursor === 2, 'both came');
  expect(seen.values).toEqual(await journalValues(runId));
});

test('an event never has a part of a batch', async () => {
  bus.weather = STORMY;
  const runId = await rows.insertRun({ attempts: 2 });
  const seen = readAll(await watch([{ runId, after: 0 }]));
  await Promise.all(
    upTo(3).map(async (writer) => {
      for (const n of upTo(60)) {
        const steps = upTo(random.integer(1, 50)).map((i) => writer * 1e6 + n * 1_000 + i);
        const names = ['loss', 'a', 'b'];
        await log(
          runId,
          names.map((name) => columns(name, steps, steps)),
          random.integer(1, 2),
        );
      }
    }),
  );
  await until(() => seen.cursor === 180, 'all came');
  for (const event of seen.events) {
    if (event.kind === 'reset') throw new Error(event.reason);
    for (const attempt of [1, 2]) {
      const [loss, a, b] = ['loss', 'a', 'b'].map(
        (name) => event.metrics.find((one) => one.name === name && one.attempt === attempt)?.steps,
      );
      expect(a).toEqual(loss);
      expect(b).toEqual(loss);
    }
  }
});

test('selectors pick metrics by name and tag, and others bring no event', async () => {
  const runId = await rows.insertRun();
  const tagged = (name: string, tag: string, step: number) => columns(name, [step], [step], { tag });
  const all = readAll(await watch([{ runId, after: 0 }]));
  const some = readAll(await watch([{ runId, after: 0 }], [{ name: 'loss' }, { name: 'acc', tag: 'val' }]));
  const bare = readAll(await watch([{ runId, after: 0 }], [{ name: 'loss', tag: '' }]));
  const none = readAll(await watch([{ runId, after: 0 }], []));
  await log(runId, [tagged('loss', '', 1), tagged('loss', 'val', 1), tagged('acc', 'val', 1)]);
  await log(runId, [tagged('acc', 'train', 2), tagged('acc', '', 2)]);
  await log(runId, [tagged('loss', 'val', 3)]);
  await log(runId, []);
  await log(runId, [tagged('loss', '', 5)]);
  await until(() => [all, some, bare].every(({ cursor }) => cursor === 5), 'all came');
  const names = ({ events }: Seen) =>
    events.flatMap((event) =>
      event.kind === 'appended'
        ? event.metrics.flatMap(({ name, tag, steps }) => [...steps].map((step) => `${step} ${name}/${tag}`))
        : [],
    );
  expect(names(all).toSorted()).toEqual([
    '1 acc/val',
    '1 loss/',
    '1 loss/val',
    '2 acc/',
    '2 acc/train',
    '3 loss/val',
    '5 loss/',
  ]);
  expect(names(some).toSorted()).toEqual(['1 acc/val', '1 loss/', '1 loss/val', '3 loss/val', '5 loss/']);
  expect(names(bare)).toEqual(['1 loss/', '5 loss/']);
  expect(none.events).toEqual([]);
});

test('of many runs, one with a long past does not keep the others waiting', async () => {
  const [long, ...others] = await Promise.all(upTo(8).map(() => rows.insertRun()));
  for (const n of upTo(1_500)) await append(rows.pool, long!, point(n));
  for (const runId of others) await log(runId, point(1));
  const one = await watch([long!, ...others].map((runId) => ({ runId, after: 0 })));
  const events: MetricsEvent[] = [];
  for (let n = 0; n < 8; n++) events.push(await next(one));
  expect(new Set(events.map(({ runId }) => runId)).size).toBe(8);
  let cursor = 0;
  while (cursor < 1_500) {
    const event = await next(one);
    expect(event.runId).toBe(long);
    cursor = Number(event.cursor);
  }
});

describe('the end', () => {
  test('comes at once, to whoever waits for an event', async () => {
    const runId = await rows.insertRun();
    const one = await watch([{ runId, after: null }]);
    const pending = [one.next(), one.next()];
    const began = performance.now();
    await one.return!();
    expect(await Promise.all(pending)).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
    expect(performance.now() - began).toBeLessThan(50);
    expect(feeds.watchedRuns()).toBe(0);
    expect(await one.next()).toEqual({ done: true, value: undefined });
  });

  test('comes at once, to whoever waits for the database', async () => {
    const runId = await rows.insertRun();
    await log(runId, point(1));
    const one = await watch([{ runId, after: 0 }]);
    const clients = await Promise.all(upTo(10).map(() => rows.pool.connect()));
    try {
      const pending = one.next();
      const began = performance.now();
      await one.return!();
      expect(await pending).toEqual({ done: true, value: undefined });
      expect(performance.now() - began).toBeLessThan(50);
    } finally {
      for (const client of clients) client.release();
    }
  });

  test('of one subscriber is not the end of another', async () => {
    const runId = await rows.insertRun();
    const [one, other] = [await watch([{ runId, after: null }]), await watch([{ runId, after: null }])];
    await one.return!();
    await log(runId, point(1));
    expect(await next(other)).toMatchObject({ kind: 'appended', cursor: '1' });
    expect(feeds.watchedRuns()).toBe(1);
  });
});
