// What both buses promise. The same stories run in this process and on a real Redis.

import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Bus } from '../../src/bus/bus.ts';
import { createInProcessBus } from '../../src/bus/in-process.ts';
import { createRedisBus } from '../../src/bus/redis.ts';
import { startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

const log = { warn: vi.fn<(fields: object, message: string) => void>(), info: vi.fn<() => void>() };
const opened: Bus[] = [];
let redis: TestRedis;

beforeAll(async () => {
  redis = await startRedis();
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((bus) => bus.close()));
  log.warn.mockClear();
});

afterAll(() => redis.stop());

function opening(bus: Bus): Bus {
  opened.push(bus);
  return bus;
}

function openOnRedis(prefix = 'test:'): Bus {
  return opening(createRedisBus({ url: redis.url, prefix, log }));
}

/** Keeps what it hears as text. */
function ear(): { heard: string[]; listen: (message: Buffer) => void } {
  const heard: string[] = [];
  return { heard, listen: (message) => heard.push(message.toString()) };
}

/** PUBLISH answers how many connections it was sent to. */
const countSubscribers = (name: string) => redis.command(`PUBLISH ${name} x`);

const say = (bus: Bus, channel: string, text: string) => bus.publish(channel, Buffer.from(text));

/** Resolves when `heard` ends with `last`: as a channel keeps its order, all that came before it is there then. */
const until = (heard: string[], last: string) =>
  expect.poll(() => heard.at(-1), { timeout: 5_000, interval: 5 }).toBe(last);

describe.each([
  { engine: 'in process', open: () => opening(createInProcessBus({ log })) },
  { engine: 'on Redis', open: () => openOnRedis() },
])('the bus $engine', ({ open }) => {
  test('delivers in order, to the channel and to no other', async () => {
    const bus = open();
    const [run, other] = [ear(), ear()];
    await bus.subscribe('run', run.listen);
    await bus.subscribe('other', other.listen);
    const sent = Array.from({ length: 2_000 }, (_, n) => `${n}`);
    for (const text of sent) say(bus, 'run', text);
    say(bus, 'other', 'end');
    await until(run.heard, '1999');
    await until(other.heard, 'end');
    expect(run.heard).toEqual(sent);
    expect(other.heard).toEqual(['end']);
    await expect.poll(() => bus.counts).toEqual({ published: 2_001, failed: 0, received: 2_001 });
    expect(bus.connected()).toBe(true);
  });

  test('carries bytes as they are', async () => {
    const bus = open();
    const heard: Buffer[] = [];
    await bus.subscribe('bytes', (message) => heard.push(message));
    const sent = [
      Buffer.alloc(0),
      Buffer.from([0, 13, 10, 255, 254, 0]),
      Buffer.from('*1\r\n$4\r\nPING\r\n'),
      Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
      randomBytes(3_000_000),
    ];
    for (const message of sent) bus.publish('bytes', message);
    await expect.poll(() => heard.length).toBe(sent.length);
    for (const [n, message] of sent.entries()) expect(heard[n]?.equals(message)).toBe(true);
  });

  test('a publisher never runs listeners in its own call', async () => {
    const bus = open();
    const { heard, listen } = ear();
    await bus.subscribe('run', listen);
    say(bus, 'run', 'one');
    await Promise.resolve();
    expect(heard).toEqual([]);
    await until(heard, 'one');
  });

  test('what a listener publishes comes after what was published before', async () => {
    const bus = open();
    const { heard, listen } = ear();
    await bus.subscribe('run', (message) => {
      listen(message);
      if (message.toString() === 'one') say(bus, 'run', 'answer');
    });
    say(bus, 'run', 'one');
    say(bus, 'run', 'two');
    await until(heard, 'answer');
    expect(heard).toEqual(['one', 'two', 'answer']);
  });

  test('several listeners hear the same message, which counts once; the same function may listen twice', async () => {
    const bus = open();
    const [a, b] = [ear(), ear()];
    await bus.subscribe('run', a.listen);
    const stopTwin = await bus.subscribe('run', a.listen);
    await bus.subscribe('run', b.listen);
    say(bus, 'run', 'one');
    await until(b.heard, 'one');
    expect(a.heard).toEqual(['one', 'one']);
    expect(bus.counts.received).toBe(1);
    await stopTwin();
    await stopTwin();
    say(bus, 'run', 'two');
    await until(b.heard, 'two');
    expect(a.heard).toEqual(['one', 'one', 'two']);
  });

  test('a listener that joins while the first one is still subscribing is not told too early', async () => {
    const bus = open();
    for (let round = 0; round < 50; round += 1) {
      const [a, b] = [ear(), ear()];
      const first = bus.subscribe(`run ${round}`, a.listen);
      await bus.subscribe(`run ${round}`, b.listen);
      say(bus, `run ${round}`, 'one');
      await until(b.heard, 'one');
      await first;
      expect(a.heard).toEqual(['one']);
    }
  });

  test('a listener that fails harms nobody and is said', async () => {
    const bus = open();
    const { heard, listen } = ear();
    await bus.subscribe('run', () => {
      throw new Error('thrown');
    });
    // oxlint-disable-next-line typescript/no-misused-promises -- the mistake this is about
    await bus.subscribe('run', async () => {
      await Promise.resolve();
      throw new Error('rejected');
    });
    await bus.subscribe('run', listen);
    say(bus, 'run', 'one');
    say(bus, 'run', 'two');
    await until(heard, 'two');
    expect(heard).toEqual(['one', 'two']);
    await expect.poll(() => log.warn.mock.calls.length).toBe(4);
  });

  test('hears nothing that was published before it subscribed', async () => {
    const bus = open();
    const { heard, listen } = ear();
    await (
      await bus.subscribe('warm-up', () => {})
    )();
    say(bus, 'run', 'before');
    await expect.poll(() => bus.counts.published).toBe(1);
    await bus.subscribe('run', listen);
    say(bus, 'run', 'after');
    await until(heard, 'after');
    expect(heard).toEqual(['after']);
  });

  test('hears nothing from the moment it stops, not even what is under way', async () => {
    const bus = open();
    const [leaver, stayer] = [ear(), ear()];
    const stop = await bus.subscribe('run', leaver.listen);
    await bus.subscribe('run', stayer.listen);
    say(bus, 'run', 'one');
    await until(stayer.heard, 'one');
    say(bus, 'run', 'two');
    const stopped = stop();
    say(bus, 'run', 'three');
    await stopped;
    await stop();
    say(bus, 'run', 'four');
    await until(stayer.heard, 'four');
    expect(stayer.heard).toEqual(['one', 'two', 'three', 'four']);
    expect(leaver.heard).toEqual(['one']);
  });

  test('a listener may stop another, or itself, while a message is delivered', async () => {
    const bus = open();
    const [second, third] = [ear(), ear()];
    const stops: (() => Promise<void>)[] = [];
    stops.push(await bus.subscribe('run', () => void Promise.all(stops.map((stop) => stop()))));
    stops.push(await bus.subscribe('run', second.listen));
    await bus.subscribe('run', third.listen);
    say(bus, 'run', 'one');
    say(bus, 'run', 'two');
    await until(third.heard, 'two');
    expect(third.heard).toEqual(['one', 'two']);
    expect(second.heard).toEqual([]);
  });

  test('a subscribe that overlaps the unsubscribe of the same channel is heard', async () => {
    const bus = open();
    for (let round = 0; round < 50; round += 1) {
      const [first, second] = [ear(), ear()];
      const stopFirst = await bus.subscribe('run', first.listen);
      const [, stopSecond] = await Promise.all([stopFirst(), bus.subscribe('run', second.listen)]);
      say(bus, 'run', `round ${round}`);
      await until(second.heard, `round ${round}`);
      expect(first.heard).toEqual([]);
      await stopSecond();
    }
  });

  test('after any tangle of subscribes and unsubscribes, exactly those that listen hear, once', async () => {
    const bus = open();
    const channels = ['a', 'b', 'c'];
    const all = Array.from({ length: 300 }, (_, n) => ({
      ...ear(),
      channel: channels[n % 3] ?? '',
      stays: n % 7 === 0,
    }));
    await Promise.all(
      all.map(async ({ channel, listen, stays }, n) => {
        // Spread over turns of the loop, so that commands and their answers mix.
        for (let turn = 0; turn < n % 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        const stop = await bus.subscribe(channel, listen);
        if (stays) return;
        await stop();
        await (
          await bus.subscribe(channel, listen)
        )();
      }),
    );
    const last = await Promise.all(channels.map(async (channel) => ({ ...ear(), channel })));
    for (const { channel, listen } of last) await bus.subscribe(channel, listen);
    for (const channel of channels) say(bus, channel, `to ${channel}`);
    for (const { channel, heard } of last) await until(heard, `to ${channel}`);
    for (const { channel, heard, stays } of all) expect(heard).toEqual(stays ? [`to ${channel}`] : []);
  });

  test('a closed bus is quiet, counts what it refuses, and can be closed again', async () => {
    const bus = open();
    const { heard, listen } = ear();
    const stop = await bus.subscribe('run', listen);
    say(bus, 'run', 'one');
    await until(heard, 'one');
    say(bus, 'run', 'two');
    await Promise.all([bus.close(), bus.close()]);
    say(bus, 'run', 'three');
    await (
      await bus.subscribe('run', listen)
    )();
    await stop();
    expect(heard).toEqual(['one']);
    expect(bus.connected()).toBe(false);
    expect(bus.counts.published + bus.counts.failed).toBe(3);
    expect(bus.counts.failed).toBeGreaterThanOrEqual(1);
  });
});

describe('buses on one Redis', () => {
  test('hear one another, and installations with other prefixes do not', async () => {
    const [one, two, stranger] = [openOnRedis('lab:'), openOnRedis('lab:'), openOnRedis('elsewhere:')];
    const [a, b, c] = [ear(), ear(), ear()];
    await one.subscribe('run', a.listen);
    await two.subscribe('run', b.listen);
    await stranger.subscribe('run', c.listen);
    say(one, 'run', 'from one');
    await until(a.heard, 'from one');
    await until(b.heard, 'from one');
    say(two, 'run', 'from two');
    await until(a.heard, 'from two');
    await until(b.heard, 'from two');
    say(stranger, 'run', 'from elsewhere');
    await until(c.heard, 'from elsewhere');
    expect([a.heard, b.heard]).toEqual([
      ['from one', 'from two'],
      ['from one', 'from two'],
    ]);
    expect(c.heard).toEqual(['from elsewhere']);
  });

  test('share one subscription among the listeners of a channel, and end it with the last', async () => {
    const bus = openOnRedis();
    expect(await countSubscribers('test:shared')).toBe(':0');
    const stops = await Promise.all([1, 2, 3].map(() => bus.subscribe('shared', () => {})));
    expect(await countSubscribers('test:shared')).toBe(':1');
    await stops[0]?.();
    await stops[1]?.();
    expect(await countSubscribers('test:shared')).toBe(':1');
    await stops[2]?.();
    expect(await countSubscribers('test:shared')).toBe(':0');
  });
});

describe('the address of Redis', () => {
  test('may name a user with no more rights than the bus needs', async () => {
    const rights = ['resetkeys', 'resetchannels', '&lab:*', '-@all', '+publish', '+subscribe', '+unsubscribe', '+ping'];
    const guarded = await startRedis({ args: ['--user', 'ann', 'on', '>p@ss/word', ...rights] });
    try {
      const url = `redis://ann:${encodeURIComponent('p@ss/word')}@127.0.0.1:${guarded.port}`;
      const bus = opening(createRedisBus({ url, prefix: 'lab:', log }));
      const { heard, listen } = ear();
      await bus.subscribe('run', listen);
      say(bus, 'run', 'one');
      await until(heard, 'one');
      expect(log.warn).not.toHaveBeenCalled();

      const outside = opening(createRedisBus({ url, prefix: 'other:', log }));
      await outside.subscribe('run', listen);
      for (let n = 0; n < 10; n += 1) say(outside, 'run', 'refused');
      await expect.poll(() => outside.counts.failed).toBe(10);
      expect(log.warn.mock.calls.map(([, message]) => message)).toEqual([
        'Redis refuses to subscribe; check the rights of its user',
        'Redis refuses to publish; check the rights of its user',
      ]);
    } finally {
      await guarded.stop();
    }
  });

  test('may carry a password, which never reaches the log, wrong or not', async () => {
    const guarded = await startRedis({ password: 'correct-horse' });
    try {
      const right = opening(createRedisBus({ url: guarded.url, prefix: 'test:', log }));
      const { heard, listen } = ear();
      await right.subscribe('run', listen);
      say(right, 'run', 'one');
      await until(heard, 'one');

      const url = guarded.url.replace('correct-horse', 'wrong-horse');
      const wrong = opening(createRedisBus({ url, prefix: 'test:', log }));
      await wrong.subscribe('run', listen);
      await expect.poll(() => log.warn.mock.calls.length).toBe(1);
      expect(wrong.connected()).toBe(false);
      expect(JSON.stringify(log.warn.mock.calls)).toContain('WRONGPASS');
      expect(JSON.stringify(log.warn.mock.calls)).not.toContain('horse');
      expect(() => createRedisBus({ url: 'redis://:wrong-horse@host:port', prefix: '', log })).toThrow(
        /^((?!horse).)*cannot be read((?!horse).)*$/,
      );
    } finally {
      await guarded.stop();
    }
  });

  test('may be the path of a Unix socket', async () => {
    const [bus, other] = [opening(createRedisBus({ url: redis.socketPath, prefix: 'test:', log })), openOnRedis()];
    const { heard, listen } = ear();
    await bus.subscribe('run', listen);
    await other.subscribe('run', () => {});
    say(other, 'run', 'over TCP');
    await until(heard, 'over TCP');
    expect(bus.counts.received).toBe(1);
  });
});
