// That all server processes share one budget while Redis is there, and go on without it.
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { type Access } from '../../../src/access/access.ts';
import { type Budget, createBudget } from '../../../src/access/budget/budget.ts';
import { createSharedBudget } from '../../../src/access/budget/shared-budget.ts';
import { createPool } from '../../../src/db/pool.ts';
import { createPrisma } from '../../../src/db/prisma.ts';
import { until } from '../../support/client.ts';
import { createDatabase } from '../../support/database.ts';
import { silentLog } from '../../support/log.ts';
import { askAs, makeKeyOf, makePerson, makeWorkspace } from '../../support/people.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { removeHome, startServerProcess } from '../../support/server-process.ts';
import { holder, takeAll, tryTake } from './holder.ts';

const VIEWER = '{ viewer { __typename } }';

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
