// What one event costs that many hear: over real sockets, each with an operation, cursors and rights of its own.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { getNamedType, isCompositeType, isObjectType, isUnionType, type GraphQLCompositeType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createApiKey } from '../../src/identity/accounts/first-start.ts';
import { hashToken } from '../../src/access/credentials/token.ts';
import { schema } from '../../src/schema/schema.ts';
import { type App, createOwner, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { open as openSocket, type Message, type Socket, subscribe } from '../support/socket.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const open = (key = app.apiKey, to = app) => openSocket(to.url, { authorization: `Bearer ${key}` });

const WATCH = `subscription Watch($input: MetricsInput!, $named: Boolean = true) { metrics(input: $input) {
  ... on MetricsAppended { runId cursor metrics { name @include(if: $named) steps values } }
  ... on MetricsReset { cursor reason } } }`;
const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { cursor } }';

const watch = (
  id: string,
  runs: { id: string; after?: string }[],
  { metrics, named }: { metrics?: { name: string }[]; named?: boolean } = {},
) => subscribe(id, WATCH, { input: { runs, metrics }, named });

async function log(runId: string, step: number, values: (number | string)[] = [step], to = app): Promise<void> {
  const steps = values.map((_, index) => step + index);
  await to.must(LOG, { input: { runId, metrics: [{ name: 'loss', steps, values }] } });
}

async function counts(of = app): Promise<{ executed: number; sent: number; slow: number }> {
  const answer = await fetch(`${of.url}/metrics`, { headers: { authorization: 'Bearer token-of-the-tests' } });
  const text = await answer.text();
  const read = (name: string) => Number(new RegExp(`^runtide_live_${name}_total (\\d+)`, 'm').exec(text)?.[1]);
  return { executed: read('events_executed'), sent: read('events_sent'), slow: read('slow') };
}

/** What it is told until it has `cursor`. */
async function hearUntil(socket: Socket, cursor: number): Promise<Message[]> {
  const heard: Message[] = [];
  for (;;) {
    const message = await socket.hear();
    heard.push(message);
    if (message.type !== 'next') throw new Error(JSON.stringify(message));
    if (Number(message.payload.data.metrics.cursor) >= cursor) return heard;
  }
}

const valuesOf = (heard: Message[]) =>
  heard.flatMap(({ payload }) => payload.data.metrics.metrics.flatMap((one: { values: number[] }) => one.values));

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

describe('many who hear the same', () => {
  test('an event is executed once, whatever their ids, cursors and other runs are', async () => {
    const [runId, other] = [await app.createRun(), await app.createRun()];
    await log(runId, 1);
    await log(runId, 2);
    const sockets = await Promise.all(upTo(20).map(() => open()));
    for (const [index, socket] of sockets.entries()) {
      const runs = [{ id: runId, after: String(index % 2) }, ...(index % 3 === 0 ? [{ id: other }] : [])];
      socket.say(watch(`operation "${index}" ☂`, runs));
    }
    for (const [index, socket] of sockets.entries())
      expect(valuesOf(await hearUntil(socket, 2))).toEqual(index % 2 === 0 ? [1, 2] : [2]);
    const before = await counts();
    for (const step of upTo(10)) await log(runId, step + 2, [step, 'NaN', 0.5]);
    const heard = await Promise.all(sockets.map((socket) => hearUntil(socket, 12)));
    for (const [index, messages] of heard.entries()) {
      expect(valuesOf(messages)).toEqual(upTo(10).flatMap((step) => [step, 'NaN', 0.5]));
      expect(new Set(messages.map(({ id }) => id))).toEqual(new Set([`operation "${index}" ☂`]));
    }
    const after = await counts();
    expect(after.sent - before.sent).toBe(200);
    expect(after.executed - before.executed).toBe(10);
    for (const socket of sockets) await socket[Symbol.asyncDispose]();
  });

  test('one batch that the bus does not carry is read from the journal once', async () => {
    const runId = await app.createRun();
    const sockets = await Promise.all(upTo(10).map(() => open()));
    for (const socket of sockets) socket.say(watch('a', [{ id: runId, after: '0' }]));
    await log(runId, 1, [0]);
    for (const socket of sockets) await hearUntil(socket, 1);
    const values = upTo(60_000).map(() => Math.random());
    const before = await counts();
    const { statements } = await app.countSql(async () => {
      await log(runId, 2, values);
      for (const socket of sockets) expect(valuesOf(await hearUntil(socket, 2))).toEqual(values);
    });
    expect(statements.filter((text) => text.includes('FROM journal'))).toHaveLength(1);
    expect((await counts()).executed - before.executed).toBe(1);
    for (const socket of sockets) await socket[Symbol.asyncDispose]();
  });

  test('what differs in what is asked is not shared', async () => {
    const runId = await app.createRun();
    await using socket = await open();
    const runs = [{ id: runId, after: '0' }];
    socket.say(watch('all', runs));
    socket.say(watch('bare', runs, { named: false }));
    socket.say(watch('other', runs, { metrics: [{ name: 'acc' }] }));
    socket.say(subscribe('another document', WATCH.replace('steps', 'tag'), { input: { runs } }));
    const input = { runId, metrics: ['loss', 'acc'].map((name) => ({ name, steps: [1], values: [1] })) };
    await app.must(LOG, { input });
    const heard = new Map<string | undefined, unknown>();
    while (heard.size < 4) {
      const { id, payload } = await socket.hear();
      heard.set(id, payload.data.metrics.metrics);
    }
    const [loss, acc] = ['loss', 'acc'].map((name) => ({ name, steps: [1], values: [1] }));
    expect(heard.get('all')).toEqual([loss, acc]);
    expect(heard.get('bare')).toEqual([loss, acc].map((one) => ({ steps: one?.steps, values: one?.values })));
    expect(heard.get('other')).toEqual([acc]);
    expect(heard.get('another document')).toEqual(['loss', 'acc'].map((name) => ({ name, tag: '', values: [1] })));
  });

  test('event streams share it too', async () => {
    const runId = await app.createRun();
    await using socket = await open();
    socket.say(watch('a', [{ id: runId, after: '0' }]));
    const stream = await eventStream(app, { runs: [{ id: runId, after: '0' }] });
    await log(runId, 1);
    await hearUntil(socket, 1);
    await until(() => stream.events().length === 1, 'both have begun');
    const before = await counts();
    await log(runId, 2, [1, 2]);
    const [message] = await hearUntil(socket, 2);
    await until(() => stream.events().length === 2, 'the stream has it');
    expect(stream.events()[1]).toEqual(message?.payload);
    const after = await counts();
    expect([after.executed - before.executed, after.sent - before.sent]).toEqual([1, 2]);
    stream.end();
  });
});

describe('rights stay with each', () => {
  test('one whose key is revoked hears no more, and the one who shares with it goes on', async () => {
    const runId = await app.createRun();
    const secret = await createApiKey(app.engines.db, app.owner, 'to be revoked');
    const revoked = await open(secret);
    await using kept = await open();
    for (const socket of [revoked, kept]) socket.say(watch('a', [{ id: runId, after: '0' }]));
    await log(runId, 1);
    for (const socket of [revoked, kept]) await hearUntil(socket, 1);
    await app.engines.db.apiKey.update({ where: { secretHash: hashToken(secret) }, data: { revokedAt: new Date() } });
    expect((await revoked.closed).code).toBe(4403);
    await log(runId, 2);
    expect(valuesOf(await hearUntil(kept, 2))).toEqual([2]);
  });

  test('what another may not see is NOT_FOUND, with the very same operation', async () => {
    const { db } = app.engines;
    const runId = await app.createRun();
    const strangerKey = await createApiKey(db, await createOwner(app, 'elsewhere'), 'a stranger');
    await using mine = await open();
    await using stranger = await open(strangerKey);
    for (const socket of [mine, stranger]) socket.say(watch('a', [{ id: runId, after: '0' }]));
    expect(await stranger.hear()).toMatchObject({
      type: 'next',
      payload: { errors: [{ extensions: { code: 'NOT_FOUND' } }] },
    });
    expect(await stranger.hear()).toEqual({ type: 'complete', id: 'a' });
    await log(runId, 1);
    expect(valuesOf(await hearUntil(mine, 1))).toEqual([1]);
    stranger.say(subscribe('b', '{ server { version } }'));
    // Nothing came in between.
    expect(await stranger.hear()).toMatchObject({ id: 'b' });
  });

  test('nothing in an event depends on who asks, so that sharing can tell nobody too much', () => {
    const seen = new Set<string>();
    const withArguments: string[] = [];
    const visit = (type: GraphQLCompositeType) => {
      if (seen.has(type.name)) return;
      seen.add(type.name);
      if (isUnionType(type)) for (const one of type.getTypes()) visit(one);
      else
        for (const { type: inner, args } of Object.values(type.getFields())) {
          // They would have to be a part of what is shared.
          withArguments.push(...args.map((one) => `${type.name} ${one.name}`));
          const named = getNamedType(inner);
          if (isCompositeType(named)) visit(named);
        }
    };
    const event = schema.getType('MetricsEvent');
    if (!isUnionType(event) && !isObjectType(event)) throw new Error('there is no MetricsEvent');
    visit(event);
    expect(withArguments).toEqual([]);
    expect([...seen].toSorted()).toEqual(['MetricColumns', 'MetricsAppended', 'MetricsEvent', 'MetricsReset']);
  });
});

interface EventStream {
  events(): unknown[];
  isClosed(): boolean;
  pause(): void;
  resume(): void;
  end(): void;
}

async function eventStream(to: App, input: object): Promise<EventStream> {
  const ending = new AbortController();
  const response = await fetch(`${to.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: `Bearer ${to.apiKey}` },
    body: JSON.stringify({ query: WATCH, variables: { input } }),
    signal: ending.signal,
  });
  let text = '';
  let closed = false;
  let go = Promise.withResolvers<void>();
  go.resolve();
  const decoder = new TextDecoder();
  void (async () => {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      await go.promise;
    }
  })()
    .catch(() => {})
    .finally(() => (closed = true));
  return {
    events: () => [...text.matchAll(/^data: (.+)\n\n/gm)].map(([, json]) => JSON.parse(json!) as unknown),
    isClosed: () => closed,
    pause: () => void (go = Promise.withResolvers()),
    resume: () => go.resolve(),
    end: () => ending.abort(),
  };
}

describe('one that reads slowly', () => {
  /** Half a megabyte as JSON, and more than the bus carries. */
  const large = (n: number) => upTo(25_000).map((i) => Math.fround(n + i / 25_000));

  test('gets everything when it reads again, and others do not wait for it', async () => {
    const runId = await app.createRun();
    await using slow = await open();
    await using fast = await open();
    for (const socket of [slow, fast]) socket.say(watch('a', [{ id: runId, after: '0' }]));
    await log(runId, 1, [0]);
    for (const socket of [slow, fast]) await hearUntil(socket, 1);
    slow.ws.pause();
    for (const n of upTo(30)) {
      await log(runId, n * 100_000, large(n));
      expect(valuesOf(await hearUntil(fast, n + 1))).toEqual(large(n));
    }
    slow.ws.resume();
    expect(valuesOf(await hearUntil(slow, 31))).toEqual(upTo(30).flatMap(large));
  });

  test('and stays slow is closed with what to do, while others flow', async () => {
    await using own = await startApp({ slowStreamMs: 1_000 });
    const runId = await own.createRun();
    const slow = await open(own.apiKey, own);
    await using fast = await open(own.apiKey, own);
    for (const socket of [slow, fast]) socket.say(watch('a', [{ id: runId, after: '0' }]));
    await log(runId, 1, [0], own);
    for (const socket of [slow, fast]) await hearUntil(socket, 1);
    slow.ws.pause();
    let cursor = 1;
    await until(async () => {
      await log(runId, ++cursor * 100_000, large(cursor), own);
      expect(valuesOf(await hearUntil(fast, cursor))).toEqual(large(cursor));
      return (await counts(own)).slow === 1;
    }, 'the slow one is closed');
    slow.ws.resume();
    const { code, reason } = await slow.closed;
    expect(code).toBe(1013);
    expect(reason).toMatch(/go on with your cursors/);
    await log(runId, ++cursor * 100_000, [1], own);
    expect(valuesOf(await hearUntil(fast, cursor))).toEqual([1]);
  });

  test.each([
    [
      'queries',
      (id: string, runId: string) => subscribe(id, 'query($id: ID!) { run(id: $id) { notes } }', { id: runId }),
    ],
    ['signs of life', () => ({ type: 'ping', payload: { text: 'x'.repeat(100_000) } })],
  ])('and asks on with %s is not answered on and on, but closed too', async (_, question) => {
    await using own = await startApp({ slowStreamMs: 2_000 });
    const runId = await own.createRun({ notes: 'x'.repeat(100_000) });
    const slow = await open(own.apiKey, own);
    slow.ws.pause();
    for (const n of upTo(2_000)) {
      slow.say(question(`${n}`, runId));
      // So that few of them are open at once: more than a hundred would be refused.
      if (n % 20 === 0) await own.must('query($id: ID!) { run(id: $id) { notes } }', { id: runId });
    }
    await until(async () => (await counts(own)).slow === 1, 'the slow one is closed');
    let bytes = 0;
    slow.ws.on('message', (data: Buffer) => (bytes += data.length));
    slow.ws.resume();
    expect(await slow.closed).toMatchObject({ code: 1013 });
    expect(bytes).toBeLessThan(40_000_000);
  });

  test('as an event stream ends with an error that says so', async () => {
    await using own = await startApp({ slowStreamMs: 1_500 });
    const runId = await own.createRun();
    const stream = await eventStream(own, { runs: [{ id: runId, after: '0' }] });
    await log(runId, 1, [0], own);
    await until(() => stream.events().length > 0, 'the stream has begun');
    stream.pause();
    // More than the kernel holds for it.
    for (const n of upTo(30)) await log(runId, n * 100_000, large(n), own);
    await until(async () => (await counts(own)).slow === 1, 'the server gave it up');
    stream.resume();
    await until(() => stream.isClosed(), 'it has ended');
    expect(stream.events().at(-1)).toMatchObject({
      errors: [{ message: expect.stringContaining('go on with your cursors'), extensions: { code: 'RATE_LIMITED' } }],
    });
  });

  test('costs a bounded memory', async () => {
    const collect = (setFlagsFromString('--expose-gc'), runInNewContext('gc') as () => void);
    const memory = () => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const runId = await app.createRun();
    await using fast = await open();
    const slow = await Promise.all(upTo(10).map(() => open()));
    fast.say(watch('a', [{ id: runId, after: '0' }]));
    // Documents that differ, so that nothing of what they wait for is shared.
    for (const [index, socket] of slow.entries())
      socket.say(
        subscribe('a', WATCH.replace('Watch', `Watch${index}`), { input: { runs: [{ id: runId, after: '0' }] } }),
      );
    await log(runId, 1, [0]);
    for (const socket of [...slow, fast]) await hearUntil(socket, 1);
    for (const socket of slow) socket.ws.pause();
    const before = memory();
    // 40 MB of text for each of them.
    for (const n of upTo(80)) {
      await log(runId, n * 100_000, large(n));
      await hearUntil(fast, n + 1);
    }
    let grownMb = 0;
    await until(() => (grownMb = (memory() - before) / 2 ** 20) < 100, 'what was let go is given back').catch(() => {});
    expect(grownMb).toBeLessThan(100);
    for (const socket of slow) socket.ws.terminate();
  });
});
