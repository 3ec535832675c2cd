// The story of a group at work: two servers on one database, writers that send to both of them again and again and in
// any order, and people who watch over connections that are cut at random. What they saw is what is stored.
// `npm run test:soak` has it in full.
import { afterAll, afterEach, expect, test } from 'vitest';
import { until } from '../support/client.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { cursorOf, expectSeen, expectStored } from '../support/exactness.ts';
import { testRandom } from '../support/random.ts';
import { startRedis } from '../support/redis.ts';
import { makeRun } from '../support/runs.ts';
import { HASTY, removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { allParts, SOAK, sayProgress } from '../support/soak.ts';
import { subscribe } from '../support/subscriber.ts';
import { write } from '../support/writer.ts';

const CUTS = SOAK ? 1_000 : 60;
const WRITERS = 3;
/** Of a batch, sent at once, at the most. */
const COPIES = SOAK ? 50 : 4;
/** What was written is read back, and more proves no more. */
const PAUSE_MS = SOAK ? 200 : 40;
const SUBSCRIBERS = 4;

let database: TestDatabase;
const servers: ServerProcess[] = [];

async function startBoth(env: Record<string, string> = {}): Promise<void> {
  database = await createDatabase();
  const start = () => startServerProcess({ env: { DATABASE_URL: database.url, ...env } });
  servers.push(await start(), await start());
}

afterEach(async () => {
  for (const server of servers.splice(0)) {
    await server.end();
    await removeHome(server.home);
  }
  await database.drop();
});

const redis = await startRedis();
afterAll(() => redis.stop());

test.for([
  { bus: 'with Redis', fold: 'at its rhythm' },
  { bus: 'without Redis', fold: 'at its rhythm' },
  { bus: 'with Redis', fold: 'every 50 ms' },
])(
  'two servers $bus, the fold $fold: what subscribers saw is what is stored',
  { timeout: SOAK ? 600_000 : 60_000 },
  async ({ bus, fold }) => {
    const random = testRandom();
    const isHasty = fold === 'every 50 ms';
    await startBoth({ ...(bus === 'with Redis' ? { REDIS_URL: redis.url } : {}), ...(isHasty ? HASTY : {}) });
    const runId = await makeRun(servers[0]!);
    const subscribers = Array.from({ length: SUBSCRIBERS }, () =>
      subscribe(servers, runId, random, { restMs: isHasty ? 800 : 0 }),
    );
    const cuts = () => subscribers.reduce((sum, one) => sum + one.cuts(), 0);
    let acknowledged = 0;
    let writers = WRITERS;
    using _ = sayProgress(
      `exact, ${bus}, ${fold}`,
      () => `${cuts()} of ${CUTS} cuts, ${acknowledged} points acknowledged`,
    );
    try {
      const writing = Array.from(
        { length: WRITERS },
        (__, n) => (isOver: () => boolean) =>
          write({
            servers,
            runId,
            id: `w${n}`,
            random,
            points: 5,
            inFlight: 6,
            goesOn: () => cuts() < CUTS && !isOver(),
            patient: false,
            pauseMs: PAUSE_MS,
            copies: COPIES,
            onAcknowledged: (points) => (acknowledged += points),
          }).finally(() => writers--),
      );
      const cutting = async () => {
        while (writers > 0) {
          subscribers[random.integer(0, SUBSCRIBERS - 1)]!.cut();
          await new Promise((resolve) => setTimeout(resolve, random.integer(5, 60)));
        }
      };
      const [, ...written] = await allParts(cutting, ...writing);

      const head = await cursorOf(servers[0]!, runId);
      await until(() => subscribers.every((one) => one.cursor() === head || one.faults.length > 0), 'all have all');
      const stored = await expectStored(servers[1]!, runId, written, random);
      expectSeen(subscribers, stored);
      expect(cuts()).toBeGreaterThanOrEqual(CUTS);
      expect(subscribers.some((one) => one.resets() > 0)).toBe(isHasty);
      for (const { accepted, batches, duplicates, conflicts } of written) {
        expect(accepted).toBe(batches);
        expect(Math.min(duplicates, conflicts)).toBeGreaterThan(0);
      }
    } finally {
      await Promise.all(subscribers.map((one) => one.stop()));
    }
  },
);
