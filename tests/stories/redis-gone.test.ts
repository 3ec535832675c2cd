// Redis dies under two servers and comes back: nobody who logs notices, and who watches misses nothing.
import { afterEach, expect, test } from 'vitest';
import { must, until } from '../support/client.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { cursorOf, expectSeen, expectStored } from '../support/exactness.ts';
import { testRandom } from '../support/random.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { makeRun } from '../support/runs.ts';
import { removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { allParts, SOAK, sayProgress } from '../support/soak.ts';
import { subscribe, type Subscriber } from '../support/subscriber.ts';
import { write } from '../support/writer.ts';

const GONE_MS = SOAK ? 600_000 : 3_000;
/** Shorter than the look at the heads, so that it was the bus. */
const LIVE_MS = 250;

let database: TestDatabase;
let redis: TestRedis;
const servers: ServerProcess[] = [];
const subscribers: Subscriber[] = [];

afterEach(async () => {
  await Promise.all(subscribers.splice(0).map((one) => one.stop()));
  for (const server of servers.splice(0)) {
    await server.end();
    await removeHome(server.home);
  }
  await redis.stop();
  await database.drop();
});

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { cursor } }';

/** How long a point that was logged at one server takes to a subscriber of the other: several, the median. */
async function latency(runId: string, watcher: Subscriber): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < 5; n++) {
    const points = [{ name: 'other', step: n, value: n }];
    const { logMetrics } = await must(servers[0]!.url, servers[0]!.apiKey, LOG, { input: { runId, points } });
    const began = performance.now();
    await until(() => watcher.cursor() >= Number(logMetrics.cursor), 'the point comes');
    times.push(performance.now() - began);
  }
  return times.toSorted((a, b) => a - b)[2]!;
}

test('Redis is killed during ingest and comes back', { timeout: GONE_MS + 90_000 }, async () => {
  const random = testRandom();
  [database, redis] = await Promise.all([createDatabase(), startRedis()]);
  const env = { DATABASE_URL: database.url, REDIS_URL: redis.url };
  servers.push(...(await Promise.all([startServerProcess({ env }), startServerProcess({ env })])));
  const [runId, pinged] = [await makeRun(servers[0]!), await makeRun(servers[0]!)];
  const [one, other] = servers as [ServerProcess, ServerProcess];
  subscribers.push(subscribe([one], runId, random), subscribe([other], runId, random));
  const watcher = subscribe([other], pinged, random);
  subscribers.push(watcher);
  expect(await latency(pinged, watcher)).toBeLessThan(LIVE_MS);

  let goesOn = true;
  let acknowledged = 0;
  let isGone = false;
  using _ = sayProgress(
    'redis-gone',
    () => `Redis is ${isGone ? 'away' : 'there'}, ${acknowledged} points acknowledged`,
  );
  const writing = [0, 1].map(
    (n) => (isOver: () => boolean) =>
      // Not patient: one answer that is an error fails the story.
      write({
        servers,
        runId,
        id: `w${n}`,
        random,
        points: 5,
        inFlight: 3,
        goesOn: () => goesOn && !isOver(),
        patient: false,
        pauseMs: SOAK ? 400 : 40,
        onAcknowledged: (points) => (acknowledged += points),
      }),
  );
  const outage = async (isOver: () => boolean) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await redis.kill();
    isGone = true;
    for (const back = Date.now() + GONE_MS; Date.now() < back && !isOver();)
      await new Promise((resolve) => setTimeout(resolve, 500));
    // What is logged meanwhile comes by the look.
    expect(await latency(pinged, watcher)).toBeLessThan(2_500);
    await redis.restart();
    isGone = false;
    const back = performance.now();
    await until(async () => (await latency(pinged, watcher)) < LIVE_MS, 'live again', 10_000);
    return performance.now() - back;
  };
  const [liveAfter, ...written] = await allParts(
    (isOver) => outage(isOver).finally(() => (goesOn = false)),
    ...writing,
  );
  expect(liveAfter).toBeLessThan(5_000);
  expect(written.every(({ retries }) => retries === 0)).toBe(true);

  const head = await cursorOf(one, runId);
  const exact = subscribers.slice(0, 2);
  await until(() => exact.every((subscriber) => subscriber.cursor() === head), 'all have all');
  expectSeen(exact, await expectStored(other, runId, written, random));
  expect(watcher.faults).toEqual([]);
  // Both said it, once.
  for (const server of servers) expect(server.output().match(/Redis is away/g)).toHaveLength(1);
});
