// What a credential may spend: how a bucket drains, what the refusal looks like on every way in, and that all server
// processes share one budget while Redis is there and go on without it.
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Access, networkOf } from '../../../src/access/access.ts';
import {
  type Bucket,
  type Budget,
  createBudget,
  drain,
  MOST_BUCKETS,
  takeFrom,
} from '../../../src/access/budget/budget.ts';
import { createSharedBudget } from '../../../src/access/budget/shared-budget.ts';
import { createPool } from '../../../src/db/pool.ts';
import { createPrisma } from '../../../src/db/prisma.ts';
import { RuntideError } from '../../../src/errors.ts';
import { COLUMNS_TYPE } from '../../../src/http/columns.ts';
import { type App, startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { createDatabase } from '../../support/database.ts';
import { silentLog } from '../../support/log.ts';
import { askAs, codeAs, type Credential, makeKeyOf, makePerson, makeWorkspace } from '../../support/people.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { type RawAnswer, send } from '../../support/send.ts';
import { removeHome, startServerProcess } from '../../support/server-process.ts';
import { open as openSocket, subscribe } from '../../support/socket.ts';

const MINUTE_MS = 60_000;
const ANYWHERE = { address: '192.0.2.1', userAgent: null };

/** Of which the budget looks at the credential alone. */
function holder(rateLimit: number | null = null, id: string = randomUUID()): Access {
  return { credential: { kind: 'key', id, expiresAt: null, rateLimit } } as Access;
}

/** When to come back; 0: it was taken. */
function tryTake(budget: Budget, access: Access | null, cost = 1, from = ANYWHERE): number {
  try {
    budget.take(access, from, cost);
    return 0;
  } catch (error) {
    if (!(error instanceof RuntideError) || error.code !== 'RATE_LIMITED') throw error;
    return error.details.retryAfterMs ?? NaN;
  }
}

function takeAll(budget: Budget, access: Access | null, cost = 1): number {
  let taken = 0;
  while (tryTake(budget, access, cost) === 0) taken += cost;
  return taken;
}

describe('a bucket', () => {
  const limits = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000_000_000 }));
  const asks = fc.array(
    fc.record({
      afterMs: fc.double({ min: 0, max: 30_000, noNaN: true }),
      part: fc.double({ min: 0, max: 1.5, noNaN: true }),
    }),
    { minLength: 1, maxLength: 60 },
  );

  test('lets no more through in any time than a minute’s budget and what drains meanwhile', () => {
    fc.assert(
      fc.property(limits, asks, (limit, all) => {
        const bucket: Bucket = { spent: 0, at: 0, limit, untold: 0 };
        const taken: { at: number; cost: number }[] = [];
        const refusals: { kept: boolean; fits: boolean; sooner: boolean }[] = [];
        let time = 0;
        for (const { afterMs, part } of all) {
          time += afterMs;
          const cost = Math.max(1, Math.round(part * limit));
          drain(bucket, time);
          const before = bucket.spent;
          const waitMs = takeFrom(bucket, cost);
          if (waitMs === 0) taken.push({ at: time, cost: Math.min(cost, limit) });
          else {
            // For as long as it says, and no longer; and nothing was taken.
            const fits = (afterMs: number) => {
              const then = { ...bucket };
              drain(then, time + afterMs);
              return takeFrom(then, cost) === 0;
            };
            refusals.push({
              kept: bucket.spent === before,
              fits: fits(waitMs),
              sooner: waitMs > 2 && fits(waitMs - 2),
            });
          }
        }
        expect(refusals.filter(({ kept, fits, sooner }) => !kept || !fits || sooner)).toEqual([]);
        expect(taken.reduce((sum, { cost }) => sum + cost, 0)).toBeCloseTo(bucket.untold, 0);
        for (const [first, { at: begin }] of taken.entries()) {
          let sum = 0;
          for (const { at, cost } of taken.slice(first)) {
            sum += cost;
            expect(sum).toBeLessThanOrEqual(limit * (1 + (at - begin) / MINUTE_MS) * (1 + 1e-6) + 1e-6);
          }
        }
      }),
    );
  });

  test('is full again a minute later, and never fuller', () => {
    let time = 0;
    const budget = createBudget({ rateLimit: 30, now: () => time });
    onTestFinished(() => budget.close());
    const access = holder();
    expect(takeAll(budget, access)).toBe(30);
    time += 10_000;
    expect(takeAll(budget, access)).toBe(5);
    time += 3_600_000;
    expect(takeAll(budget, access)).toBe(30);
  });

  test('takes all of a minute for what costs more than that, so that it can be done at all', () => {
    let time = 0;
    const budget = createBudget({ rateLimit: 10, now: () => time });
    onTestFinished(() => budget.close());
    const access = holder();
    expect(tryTake(budget, access, 50_000)).toBe(0);
    expect(tryTake(budget, access, 50_000)).toBe(MINUTE_MS);
    time += MINUTE_MS;
    expect(tryTake(budget, access, 50_000)).toBe(0);
  });

  test('follows a limit that is changed', () => {
    const budget = createBudget({ rateLimit: 10, now: () => 0 });
    onTestFinished(() => budget.close());
    const id = randomUUID();
    expect(takeAll(budget, holder(null, id))).toBe(10);
    expect(takeAll(budget, holder(15, id))).toBe(5);
    expect(tryTake(budget, holder(5, id))).toBe((11 * MINUTE_MS) / 5);
  });

  test('is not there where nothing is limited, but for keys that are', () => {
    const budget = createBudget({ rateLimit: 0, now: () => 0 });
    onTestFinished(() => budget.close());
    for (let n = 0; n < 1_000; n++) budget.take(holder(null, 'one'), ANYWHERE, 50_000);
    for (let n = 0; n < 1_000; n++) budget.take(null, ANYWHERE, 50_000);
    expect(takeAll(budget, holder(3))).toBe(3);
    expect(budget.counts.refused).toBe(1);
  });

  test('of each credential and each address is its own; one network of IPv6 has one', () => {
    const budget = createBudget({ rateLimit: 4, now: () => 0 });
    onTestFinished(() => budget.close());
    expect([holder(), holder()].map((one) => takeAll(budget, one))).toEqual([4, 4]);
    const from = (address: string) => ({ address, userAgent: null });
    const spend = (address: string) => {
      let taken = 0;
      while (tryTake(budget, null, 1, from(address)) === 0) taken += 1;
      return taken;
    };
    expect(['192.0.2.1', '192.0.2.2', '2001:db8:1:2::1'].map(spend)).toEqual([4, 4, 4]);
    expect(['192.0.2.1', '2001:db8:1:2:ffff::9', '2001:0DB8:1:2::', '2001:db8:1:3::1'].map(spend)).toEqual([
      0, 0, 0, 4,
    ]);
    expect(networkOf('::1')).toBe('0:0:0:0::/64');
    expect(networkOf('1::2:3:4:5:6:7')).toBe('1:0:2:3::/64');
  });

  test('is forgotten when there are too many, so that made-up addresses take bounded memory', () => {
    const budget = createBudget({ rateLimit: 2, now: () => 0 });
    onTestFinished(() => budget.close());
    const first = holder();
    expect(takeAll(budget, first)).toBe(2);
    for (let n = 1; n < MOST_BUCKETS; n++) budget.take(holder(), ANYWHERE, 2);
    expect(takeAll(budget, first)).toBe(0);
    budget.take(holder(), ANYWHERE, 2);
    expect(takeAll(budget, first)).toBe(2);
  });
});

const VIEWER = '{ viewer { __typename } }';
const WATCH = `subscription($id: ID!) { metrics(input: { runs: [{ id: $id }] }) { __typename } }`;

describe('over the wire', () => {
  let app: App;
  let time = 0;
  beforeAll(async () => {
    app = await startApp({ budget: { rateLimit: 1_000, now: () => time }, trustProxy: 1 });
  });
  afterAll(() => app[Symbol.asyncDispose]());

  const makeKey = (rateLimit = 5) => makeKeyOf(app, { ...app.owner, rateLimit });
  const spendAll = async (credential: Credential) => {
    let count = 0;
    while ((await askAs(app, credential, VIEWER)).status === 200) count++;
    return count;
  };
  const REFUSED = {
    message: expect.stringContaining('may spend a cost of 5 a minute'),
    extensions: { code: 'RATE_LIMITED', retryAfterMs: 12_000, requestId: expect.any(String) },
  };

  test('a key with five a minute is refused at the sixth, told when to come back, and let in then', async () => {
    const { bearer } = await makeKey();
    for (let n = 0; n < 5; n++) expect(await codeAs(app, bearer, VIEWER)).toBeNull();
    time += 500;
    const refused = await askAs(app, bearer, VIEWER);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('12');
    expect(refused.errors).toMatchObject([{ ...REFUSED, extensions: { code: 'RATE_LIMITED', retryAfterMs: 11_500 } }]);
    expect(refused.data).toBeUndefined();
    // Others are as they were.
    expect(await codeAs(app, (await makeKey()).bearer, VIEWER)).toBeNull();
    time += 11_500;
    expect(await spendAll(bearer)).toBe(1);
    time += MINUTE_MS;
    expect(await spendAll(bearer)).toBe(5);
  });

  test('nothing of what is refused was done, and asking asks the database for nothing', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await spendAll(bearer);
    const log = `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "a", step: 1, value: 1 }] }) { accepted } }`;
    const { result, statements } = await app.countSql(() => askAs(app, bearer, log, { id: runId }));
    expect(result.status).toBe(429);
    expect(statements).toEqual([]);
    const { run } = await app.must('query($id: ID!) { run(id: $id) { cursor } }', { id: runId });
    expect(run.cursor).toBe('0');
  });

  test('an operation takes what it costs, and what is wrong takes 1', async () => {
    const { bearer } = await makeKey(20);
    const ten = '{ viewer { apiKeys(first: 8) { nodes { id } } } }';
    expect((await askAs(app, bearer, ten)) as object).toMatchObject({ extensions: { cost: 10 } });
    for (let n = 0; n < 3; n++) expect(await codeAs(app, bearer, '{ nothing')).toBe('INVALID_INPUT');
    expect(await codeAs(app, bearer, '{ __typename }')).toBeNull();
    expect((await askAs(app, bearer, ten)).errors?.[0]?.extensions.retryAfterMs).toBe(12_000);
    expect(await spendAll(bearer)).toBe(6);
    expect(await codeAs(app, bearer, '{ nothing')).toBe('RATE_LIMITED');
  });

  test('it is said alike on every way in', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await spendAll(bearer);
    const post = (accept: string, query = VIEWER) =>
      send(app.url, '/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept, ...bearer },
        body: JSON.stringify({ query, variables: query === WATCH ? { id: runId } : {} }),
      });
    const get = (path: string) => send(app.url, path, { headers: bearer });
    const query = encodeURIComponent(VIEWER);
    const ways: [string, Promise<RawAnswer>][] = [
      ['plain', post('application/json')],
      ['with its own type', post('application/graphql-response+json')],
      ['by Yoga', post('multipart/mixed, application/json')],
      ['compact', post(COLUMNS_TYPE)],
      ['an event stream', post('text/event-stream', WATCH)],
      ['GET', get(`/graphql?query=${query}`)],
      ['GET with variables that are wrong', get(`/graphql?query=${query}&variables={`)],
      ['the audit log', get('/api/audit-log/personal.jsonl')],
    ];
    for (const [name, way] of ways) {
      const { status, headers, text } = await way;
      expect({ name, status, after: headers['retry-after'], ...(JSON.parse(text) as object) }).toEqual({
        name,
        status: 429,
        after: name === 'the audit log' ? '60' : '12',
        errors: [
          name === 'the audit log'
            ? { ...REFUSED, extensions: { ...REFUSED.extensions, retryAfterMs: MINUTE_MS } }
            : REFUSED,
        ],
      });
    }
  });

  test('on a socket the operation ends with an error, and the socket stays', async () => {
    const { bearer } = await makeKey();
    await using socket = await openSocket(app.url, bearer);
    const ask = async (id: string) => {
      socket.say(subscribe(id, VIEWER));
      const heard = await socket.hear();
      return heard.type === 'next' ? [heard, await socket.hear()] : [heard];
    };
    for (const id of ['1', '2', '3', '4', '5'])
      expect(await ask(id)).toMatchObject([
        { id, type: 'next' },
        { id, type: 'complete' },
      ]);
    expect(await ask('6')).toMatchObject([{ id: '6', type: 'error', payload: [REFUSED] }]);
    socket.say(subscribe('wrong', '{ nothing'));
    expect(await socket.hear()).toMatchObject({ id: 'wrong', type: 'error', payload: [REFUSED] });
    time += 12_000;
    expect(await ask('7')).toMatchObject([{ id: '7', payload: { data: { viewer: {} } } }, { type: 'complete' }]);
  });

  test('a subscription that runs costs nothing more', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await using socket = await openSocket(app.url, bearer);
    socket.say(subscribe('watch', WATCH, { id: runId }));
    await until(() => app.engines.feeds.watchedRuns() > 0, 'the run is watched');
    expect(await spendAll(bearer)).toBe(4);
    for (let step = 0; step < 10; step++) {
      await app.must(
        'mutation($id: ID!, $step: SafeInt!) { logMetrics(input: { runId: $id, points: [{ name: "a", step: $step, value: 1 }] }) { cursor } }',
        { id: runId, step },
      );
      expect(await socket.hear()).toMatchObject({ id: 'watch', type: 'next' });
    }
  });

  test('whoever shows no credential has the budget of the address', async () => {
    const ask = (address: string) =>
      askAs(app, { 'x-forwarded-for': address }, '{ server { version limits { rateLimit operationCost } } }');
    const { data } = await ask('198.51.100.1');
    expect(data.server.limits).toEqual({ rateLimit: 1_000, operationCost: 50_000 });
    const heavy = '{ viewer { apiKeys(first: 100) { nodes { scopes user { id } workspace { id } } } } }';
    for (let n = 0; n < 3; n++) await askAs(app, { 'x-forwarded-for': '198.51.100.1' }, heavy);
    while ((await askAs(app, { 'x-forwarded-for': '198.51.100.1' }, heavy)).status === 200);
    while ((await ask('198.51.100.1')).status === 200);
    const refused = await ask('198.51.100.1');
    expect(refused.status).toBe(429);
    expect(refused.errors?.[0]?.message).toMatch(/^requests without a credential from this address may spend/);
    expect((await ask('198.51.100.2')).status).toBe(200);
    expect(await codeAs(app, { 'x-forwarded-for': '198.51.100.1', ...(await makeKey()).bearer }, VIEWER)).toBeNull();
  });

  test('a session has one too', async () => {
    const person = await makePerson(app, 'Sara');
    const heavy = '{ viewer { workspaces { projects(first: 100) { nodes { runs(first: 8) { nodes { id } } } } } } }';
    expect(await codeAs(app, person.session, heavy)).toBeNull();
    expect(await codeAs(app, person.session, heavy)).toBe('RATE_LIMITED');
  });

  test('a limit that is changed holds at once, and refusals are counted', async () => {
    const { id, bearer } = await makeKey();
    expect(await spendAll(bearer)).toBe(5);
    const update = 'mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { rateLimit } } }';
    const { updateApiKey } = await app.must(update, { input: { id, rateLimit: 8 } });
    expect(updateApiKey.apiKey).toEqual({ rateLimit: 8 });
    expect(await spendAll(bearer)).toBe(3);
    await app.must(update, { input: { id, rateLimit: null } });
    expect(await codeAs(app, bearer, VIEWER)).toBeNull();
    // Whoever changes it, and however: every process hears of it.
    await app.engines.db.apiKey.update({ where: { id }, data: { rateLimit: 1 } });
    await until(async () => (await codeAs(app, bearer, VIEWER)) === 'RATE_LIMITED', 'the key is limited');
    const { text } = await send(app.url, '/metrics', { headers: { authorization: 'Bearer token-of-the-tests' } });
    const counted = Number(/^runtide_rate_refused_total (\d+)$/m.exec(text)?.[1]);
    expect(counted).toBe(app.engines.budget.counts.refused);
    expect(counted).toBeGreaterThan(10);
  });
});

describe('with Redis', () => {
  const stops: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0).toReversed()) await stop();
  });
  const start = async () => {
    const redis = await startRedis();
    stops.push(() => redis.stop());
    return redis;
  };
  /** As one more server process. */
  const join = (redis: TestRedis, rateLimit: number, prefix = 'test:') => {
    const shared = createSharedBudget({ url: redis.url, prefix, log: silentLog });
    const budget = createBudget({ rateLimit, shared });
    stops.push(() => budget.close());
    return budget;
  };
  /** What fits, asked for a little at a time, so that what others took is heard of. */
  const spendSlowly = async (budget: Budget, access: Access, cost: number) => {
    let taken = 0;
    await until(() => {
      if (tryTake(budget, access, cost) > 0) return true;
      taken += cost;
      return false;
    }, 'it is refused');
    return taken;
  };

  /** How often it was asked to count. */
  const scriptsOf = async ({ url }: TestRedis) => {
    const client = new Redis(url);
    const stats = await client.info('commandstats');
    client.disconnect();
    return Number(/cmdstat_eval:calls=(\d+)/.exec(stats)?.[1]);
  };

  test('server processes share one budget, and nothing asks Redis for each request', async () => {
    const redis = await start();
    const database = await createDatabase();
    stops.push(() => database.drop());
    const env = { DATABASE_URL: database.url, REDIS_URL: redis.url };
    const [here, there] = await Promise.all([startServerProcess({ env }), startServerProcess({ env })]);
    for (const server of [here, there])
      stops.push(async () => {
        await server.end();
        await removeHome(server.home);
      });
    const pool = createPool({ connectionString: database.url, size: 2, log: silentLog });
    const db = createPrisma(pool, undefined);
    stops.push(async () => {
      await db.$disconnect();
      await pool.end();
    });
    const place = { url: here.url, engines: { db } };
    const person = await makePerson(place, 'Olga');
    const { workspaceId } = await makeWorkspace(place, 'lab', [[person, 'OWNER']]);
    const key = await makeKeyOf(place, { workspaceId, userId: person.userId, rateLimit: 100 });
    let [first, second] = [0, 0];
    while ((await askAs(here, key.bearer, VIEWER)).status === 200) first++;
    expect(first).toBeGreaterThanOrEqual(100);
    expect(first).toBeLessThan(120);
    await until(async () => {
      const { status } = await askAs(there, key.bearer, VIEWER);
      if (status === 200) second++;
      return status === 429;
    }, 'the other server refuses too');
    // What passed before it heard; by itself it would have let a hundred pass.
    expect(second).toBeLessThan(50);
    const calls = await scriptsOf(redis);
    expect(calls).toBeGreaterThan(1);
    expect(calls).toBeLessThan(first);
  });

  test('what one lets pass is missing to the other; keys end by themselves, under the prefix', async () => {
    const redis = await start();
    const [one, other] = [join(redis, 6_000), join(redis, 6_000)];
    const access = holder();
    await until(async () => {
      tryTake(one, access, 1);
      return (await redis.command(`EXISTS test:budget:${access.credential.id}`)) === ':1';
    }, 'Redis knows of the bucket');
    const taken = takeAll(one, access, 100);
    expect(taken).toBeGreaterThan(5_500);
    expect(await spendSlowly(other, access, 50)).toBeLessThan(3_000);
    const ttl = Number((await redis.command(`PTTL test:budget:${access.credential.id}`)).slice(1));
    expect(ttl).toBeGreaterThan(10_000);
    expect(ttl).toBeLessThanOrEqual(121_000);
  });

  test('killed, frozen or empty: each goes on by itself, waits for nothing, and shares again', async () => {
    const redis = await start();
    const [one, other] = [join(redis, 6_000), join(redis, 6_000)];
    const before = holder();
    await until(async () => {
      tryTake(one, before, 1);
      return (await redis.command(`EXISTS test:budget:${before.credential.id}`)) === ':1';
    }, 'Redis knows of the bucket');
    // One that is asked to stop would still take what it is told by then, and forget it.
    const restart = async () => {
      await redis.kill();
      await redis.restart();
    };
    const ways: [away: () => unknown, back: () => unknown][] = [
      [() => redis.kill(), restart],
      [() => redis.freeze(), () => redis.thaw()],
      [() => redis.freeze(), restart],
    ];
    for (const [away, back] of ways) {
      await away();
      const access = holder();
      const since = performance.now();
      expect(takeAll(one, access, 60)).toBeGreaterThanOrEqual(6_000);
      expect(takeAll(other, access, 60)).toBeGreaterThanOrEqual(6_000);
      expect(performance.now() - since).toBeLessThan(500);
      // Meanwhile it is asked, and nobody answers.
      await new Promise((resolve) => setTimeout(resolve, 250));
      await back();
      // What was let pass meanwhile is told, and so is what is let pass from now on.
      await until(
        async () => (await redis.command(`EXISTS test:budget:${access.credential.id}`)) === ':1',
        'it is told',
      );
      const next = holder();
      takeAll(one, next, 60);
      expect(await spendSlowly(other, next, 60)).toBeLessThan(3_000);
    }
    // What this process let pass it knows, though Redis has forgotten.
    const access = holder();
    takeAll(one, access, 60);
    await restart();
    tryTake(one, access, 60);
    expect(tryTake(one, access, 3_000)).toBeGreaterThan(0);
  });

  test('that refuses the script leaves each with its own, and says so once', async () => {
    const redis = await startRedis({
      args: ['--user', 'ann', 'on', '>secret', '&*', '+publish', '+subscribe', '+unsubscribe', '+ping'],
    });
    stops.push(() => redis.stop());
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
    const url = redis.url.replace('redis://', 'redis://ann:secret@');
    const budget = createBudget({ rateLimit: 60, shared: createSharedBudget({ url, prefix: 'test:', log }) });
    stops.push(() => budget.close());
    const access = holder();
    await until(() => {
      tryTake(budget, access);
      return warnings.length > 0;
    }, 'it is said');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(warnings).toEqual([expect.stringMatching(/each server process counts by itself$/)]);
    takeAll(budget, access);
    expect(tryTake(budget, access)).toBeGreaterThan(0);
  });
});
