// Console output as it comes: nothing twice, nothing missing, whatever the bus loses and whichever process took it.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { publishSignal } from '../../src/runs/publish.ts';
import { pack } from '../../src/console/pack.ts';
import { type ConsoleEvent, watchConsole } from '../../src/live/watch-console.ts';
import { createSignals, type Signals } from '../../src/live/signals.ts';
import { store } from '../console/written.ts';
import { until } from '../support/client.ts';
import { countSql } from '../support/count-sql.ts';
import { silentLog } from '../support/log.ts';
import { type Random, testRandom } from '../support/random.ts';
import { openRunRows, type RunRows } from '../support/run-rows.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../support/unreliable-bus.ts';

let rows: RunRows;
let bus: UnreliableBus;
let signals: Signals;
let runId: string;
const watching: AsyncIterableIterator<ConsoleEvent>[] = [];
let random: Random;

beforeAll(async () => {
  rows = await openRunRows();
});
beforeEach(async () => {
  runId = await rows.insertRun();
  random = testRandom();
  bus = createUnreliableBus(random, SUNNY);
  signals = createSignals({ pool: rows.pool, bus, log: silentLog });
});
afterEach(async () => {
  for (const one of watching.splice(0)) await one.return!();
  signals.close();
  await bus.close();
});
afterAll(() => rows[Symbol.asyncDispose]());

async function watch(after: number | null): Promise<AsyncIterableIterator<ConsoleEvent>> {
  const one = await watchConsole(signals, rows.pool, runId, after);
  watching.push(one);
  return one;
}

const lengths = new Map<string, number>();
async function write(text: string): Promise<void> {
  const { length, sequence } = await store(rows.pool, runId, lengths.get(runId) ?? 0, text);
  lengths.set(runId, length);
  publishSignal(bus, runId, { console: sequence });
}
const textsOf = (event: IteratorResult<ConsoleEvent>) =>
  event.done ? null : event.value.pieces.map(({ text }) => text);

test('from now on, or from behind a cursor', async () => {
  await write('before');
  const fromNow = await watch(null);
  const fromStart = await watch(0);
  await write('after');
  expect(textsOf(await fromNow.next())).toEqual(['after']);
  expect(textsOf(await fromStart.next())).toEqual(['before', 'after']);
  await expect(watch(3)).rejects.toMatchObject({ code: 'CONFLICT', details: { field: 'after' } });
});

test('what no message tells of is found within a second or so', async () => {
  const one = await watch(null);
  bus.weather = { ...SUNNY, lost: 1 };
  await write('unheard of');
  expect(textsOf(await one.next())).toEqual(['unheard of']);
});

test('who waits is ended at once', async () => {
  const one = await watch(null);
  const waiting = one.next();
  await one.return!();
  expect(await waiting).toEqual({ done: true, value: undefined });
  expect(bus.lost()).toBe(0);
});

test('who comes late gets it in bounded events, and nothing waited for them', async () => {
  const one = await watch(0);
  const text = 'x'.repeat(100_000);
  for (let n = 0; n < 10; n++) await write(text);
  const sizes: number[] = [];
  while (sizes.reduce((sum, size) => sum + size, 0) < 10) sizes.push(textsOf(await one.next())!.length);
  expect(sizes).toEqual([3, 3, 3, 1]);
});

test('those who watch alike are served by one reading', async () => {
  const many = await Promise.all(Array.from({ length: 10 }, () => watch(null)));
  const { statements } = await countSql(rows.pool, async () => {
    const waiting = many.map((one) => one.next());
    await write('for all');
    for (const event of await Promise.all(waiting)) expect(textsOf(event)).toEqual(['for all']);
  });
  const readings = statements.filter((text) => text.includes('FROM unnest'));
  expect(readings).toHaveLength(1);
});

test('cut again and again, with a bus that loses, repeats and delays, and packed meanwhile: each piece once, in order', async () => {
  bus.weather = { lost: 0.3, repeated: 0.2, late: 0.3, lateMs: 50 };
  const COUNT = 300;
  const seen: string[] = [];
  let cursor = 0;
  const follow = async () => {
    while (seen.length < COUNT) {
      const one = await watch(cursor);
      for (let left = random.integer(1, 8); left > 0 && seen.length < COUNT; left--) {
        const { value } = (await one.next()) as { value: ConsoleEvent };
        expect(Number(value.cursor)).toBeGreaterThan(cursor);
        cursor = Number(value.cursor);
        seen.push(...value.pieces.map(({ text }) => text));
      }
      await one.return!();
    }
  };
  const following = follow();
  for (let n = 0; n < COUNT; n++) {
    await write(`${n} `);
    if (n % 50 === 49) await pack(rows.pool, runId);
  }
  await until(() => seen.length >= COUNT, 'all of it was told');
  await following;
  expect(seen).toEqual(Array.from({ length: COUNT }, (_, n) => `${n} `));
}, 60_000);
