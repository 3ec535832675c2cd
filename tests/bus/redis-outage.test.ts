// What happens to the bus while Redis is away, and after: nothing is thrown, nothing is hoarded, and listeners hear
// again without doing anything for it.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { Bus } from '../../src/bus/bus.ts';
import { createRedisBus } from '../../src/bus/redis.ts';
import { startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

const MB = 1024 * 1024;
const log = {
  warn: vi.fn<(fields: object, message: string) => void>(),
  info: vi.fn<(fields: object, message: string) => void>(),
};
const unhandled: unknown[] = [];
const keepUnhandled = (reason: unknown) => unhandled.push(reason);
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
let collectGarbage: () => void;
let redis: TestRedis;
let bus: Bus;

beforeAll(async () => {
  process.on('unhandledRejection', keepUnhandled);
  setFlagsFromString('--expose-gc');
  collectGarbage = runInNewContext('gc');
  redis = await startRedis();
});

beforeEach(async () => {
  log.warn.mockClear();
  log.info.mockClear();
  bus = createRedisBus({ url: redis.url, prefix: 'test:', log });
  await vi.waitUntil(() => bus.connected());
});

afterEach(async () => {
  await bus.close();
  if (unhandled.length > 0) throw new AggregateError(unhandled.splice(0), 'promises were rejected and not caught');
});

afterAll(async () => {
  await redis.stop();
  process.off('unhandledRejection', keepUnhandled);
});

function memory(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Publishes and runs `meanwhile` at its messages; returns the highest memory above that of the beginning. */
async function publishMany(total: number, bytes: number, meanwhile: Record<number, () => void>): Promise<number> {
  const before = memory();
  let peak = 0;
  for (let n = 1; n <= total; n += 1) {
    bus.publish('run', Buffer.alloc(bytes, n % 256));
    meanwhile[n]?.();
    if (n % 100 === 0) await nextTurn();
    if (n % 10_000 === 0) peak = Math.max(peak, memory() - before);
  }
  return peak;
}

/** Resolves once `heard` has a message that was published after Redis came back. */
async function untilHeard(heard: string[], timeoutMs: number): Promise<void> {
  await expect
    .poll(
      () => {
        bus.publish('run', Buffer.from('again'));
        return heard.includes('again');
      },
      { timeout: timeoutMs, interval: 20 },
    )
    .toBe(true);
}

test('Redis dies while 100,000 messages are published and comes back: listeners hear again within 5 s', async () => {
  const heard: string[] = [];
  await bus.subscribe('run', (message) => heard.push(message.length === 5 ? message.toString() : 'batch'));
  const killing = Promise.withResolvers<void>();
  const peak = await publishMany(100_000, 1_000, { 30_000: () => killing.resolve(redis.kill()) });
  await killing.promise;

  await expect.poll(() => bus.counts.published + bus.counts.failed).toBe(100_000);
  expect(bus.connected()).toBe(false);
  expect(bus.counts.published).toBeGreaterThan(0);
  expect(bus.counts.failed).toBeGreaterThan(50_000);
  expect(bus.counts.received).toBeGreaterThan(0);
  // 100 MB were published; what is in flight and what was heard is all that may be kept.
  expect(peak).toBeLessThan(48 * MB);
  expect(log.warn).toHaveBeenCalledTimes(1);

  // Several attempts to connect fail before Redis is back, and none of them is said.
  await redis.restart();
  await untilHeard(heard, 5_000);
  await expect.poll(() => log.info.mock.calls.length).toBe(1);
  expect(log.warn).toHaveBeenCalledTimes(1);
});

test('a subscribe while Redis is away resolves at once and hears when it is back; so does an unsubscribe', async () => {
  const stayed: string[] = [];
  const joined: string[] = [];
  const left: string[] = [];
  const rejoined: string[] = [];
  await bus.subscribe('run', (message) => stayed.push(message.toString()));
  const stopBefore = await bus.subscribe('gone', (message) => left.push(message.toString()));
  await redis.kill();
  await expect.poll(() => bus.connected()).toBe(false);

  const began = performance.now();
  await bus.subscribe('run', (message) => joined.push(message.toString()));
  await stopBefore();
  await (
    await bus.subscribe('back', () => {})
  )();
  await bus.subscribe('back', (message) => rejoined.push(message.toString()));
  expect(performance.now() - began).toBeLessThan(500);

  await redis.restart();
  await untilHeard(stayed, 5_000);
  await untilHeard(joined, 5_000);
  bus.publish('gone', Buffer.from('nobody'));
  bus.publish('back', Buffer.from('hello'));
  await expect.poll(() => rejoined).toEqual(['hello']);
  expect(left).toEqual([]);
  expect(await redis.command('PUBLISH test:gone x')).toBe(':0');
});

test('subscribes and unsubscribes that are under way when Redis dies all resolve', async () => {
  const stops = await Promise.all(Array.from({ length: 200 }, (_, n) => bus.subscribe(`old-${n}`, () => {})));
  redis.freeze(); // so that none of them is answered
  const pending = [...stops.map((stop) => stop()), ...stops.map((_, n) => bus.subscribe(`new-${n}`, () => {}))];
  await nextTurn();
  await redis.kill();
  await Promise.all(pending);
  await redis.restart();
  await expect.poll(() => redis.command('PUBLISH test:new-199 x'), { timeout: 5_000 }).toBe(':1');
  expect(await redis.command('PUBLISH test:old-0 x')).toBe(':0');
});

test('a Redis that hangs costs bounded memory, is noticed, and is heard again when it goes on', async () => {
  const heard: string[] = [];
  await bus.subscribe('run', (message) => void (message.length === 5 && heard.push(message.toString())));
  redis.freeze();
  const pending = bus.subscribe('asked while it hung', () => {});
  try {
    const peak = await publishMany(100_000, 1_000, {});
    expect(peak).toBeLessThan(48 * MB);
    expect(bus.counts.failed).toBeGreaterThan(50_000);
    await expect.poll(() => bus.connected(), { timeout: 8_000 }).toBe(false);
    await expect.poll(() => bus.counts.published + bus.counts.failed, { timeout: 8_000 }).toBe(100_000);
  } finally {
    redis.thaw();
  }
  await untilHeard(heard, 5_000);
  await (
    await pending
  )();
  expect(log.warn).toHaveBeenCalledTimes(1);
});

test('a bus that starts before Redis does not wait for it, and works once it is there', async () => {
  await redis.kill();
  await bus.close();
  bus = createRedisBus({ url: redis.url, prefix: 'test:', log });
  const heard: string[] = [];
  const began = performance.now();
  await bus.subscribe('run', (message) => heard.push(message.toString()));
  bus.publish('run', Buffer.from('lost'));
  expect(performance.now() - began).toBeLessThan(2_500);
  expect(bus.counts.failed).toBe(1);
  await redis.restart();
  await untilHeard(heard, 5_000);
  expect(heard).not.toContain('lost');
});

test('closing while Redis is away, hangs or is being reached ends promptly', async () => {
  const hanging = createRedisBus({ url: redis.url, prefix: 'test:', log });
  await expect.poll(() => hanging.connected()).toBe(true);
  redis.freeze();
  hanging.publish('run', Buffer.from('unanswered'));
  const began = performance.now();
  await hanging.close();
  await createRedisBus({ url: redis.url, prefix: 'test:', log }).close();
  await redis.kill();
  await expect.poll(() => bus.connected()).toBe(false);
  await bus.close();
  await createRedisBus({ url: redis.url, prefix: 'test:', log }).close();
  expect(performance.now() - began).toBeLessThan(6_000);
  expect(hanging.counts.failed).toBe(1);
  await redis.restart();
});
