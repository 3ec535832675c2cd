// The live list of a project's runs: made and changed, whatever the bus loses, and each change told once.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createPrisma, type Db } from '../../src/db/prisma.ts';
import { createRunFeeds, type RunEvent, type RunFeeds } from '../../src/live/watch-runs.ts';
import { publishRun, type RunEventType } from '../../src/runs/publish.ts';
import { until } from '../support/client.ts';
import { countSql } from '../support/count-sql.ts';
import { silentLog } from '../support/log.ts';
import { testRandom } from '../support/random.ts';
import { openRunRows, type RunRows } from '../support/run-rows.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../support/unreliable-bus.ts';

type Watching = AsyncIterableIterator<RunEvent>;

let rows: RunRows;
let db: Db;
let bus: UnreliableBus;
let feeds: RunFeeds;
let projectId: string;
const watching: Watching[] = [];
const LOST = { ...SUNNY, lost: 1 };

beforeAll(async () => {
  rows = await openRunRows();
  db = createPrisma(rows.pool, undefined);
});
beforeEach(async () => {
  projectId = await rows.insertProject();
  bus = createUnreliableBus(testRandom(), SUNNY);
  feeds = createRunFeeds({ db, pool: rows.pool, bus, log: silentLog });
});
afterEach(async () => {
  for (const one of watching.splice(0)) await one.return!();
  feeds.close();
  await bus.close();
});
afterAll(async () => {
  await db.$disconnect();
  await rows[Symbol.asyncDispose]();
});

async function watch(project = projectId): Promise<Watching> {
  const one = await feeds.watch(project);
  watching.push(one);
  return one;
}

function readAll(from: Watching): RunEvent[] {
  const seen: RunEvent[] = [];
  void (async () => {
    for await (const event of from) seen.push(event);
  })();
  return seen;
}

const say = (runId: string, type: RunEventType, project = projectId) => publishRun(bus, project, { type, runId });

async function create(project = projectId): Promise<string> {
  const runId = await rows.insertRun({ projectId: project });
  say(runId, 'CREATED', project);
  return runId;
}

async function rename(runId: string, name: string, project = projectId): Promise<void> {
  await db.run.update({ where: { id: runId }, data: { name } });
  say(runId, 'CHANGED', project);
}

const told = (events: readonly RunEvent[]) => events.map(({ type, runId, run }) => ({ type, runId, name: run?.name }));

test('runs that are made and changed are told, those of other projects are not', async () => {
  const other = await rows.insertProject();
  const old = await rows.insertRun({ projectId });
  const seen = readAll(await watch());
  await create(other);
  const made = await create();
  await until(() => seen.length === 1, 'the new run');
  await rename(old, 'changed');
  await rename(await rows.insertRun({ projectId: other }), 'elsewhere', other);
  await until(() => seen.length === 2, 'the changed run');
  await rename(made, 'changed too');
  await until(() => seen.length === 3, 'the new run, changed');
  expect(told(seen)).toEqual([
    { type: 'CREATED', runId: made, name: made },
    { type: 'CHANGED', runId: old, name: 'changed' },
    { type: 'CHANGED', runId: made, name: 'changed too' },
  ]);
});

test('what the bus lost is found within about a second, with what it was', async () => {
  const old = await rows.insertRun({ projectId });
  const seen = readAll(await watch());
  bus.weather = LOST;
  const made = await create();
  await rename(old, 'quietly');
  const began = performance.now();
  await until(() => seen.length === 2, 'both');
  expect(performance.now() - began).toBeLessThan(2_500);
  expect(told(seen).toSorted((a, b) => a.type.localeCompare(b.type))).toEqual([
    { type: 'CHANGED', runId: old, name: 'quietly' },
    { type: 'CREATED', runId: made, name: made },
  ]);
  await rename(made, 'again');
  await until(() => seen.length === 3, 'the next change');
  expect(told(seen).at(-1)).toEqual({ type: 'CHANGED', runId: made, name: 'again' });
});

test('what servers whose clocks differ have stamped is told, whichever stamp is the later', async () => {
  const runId = await rows.insertRun({ projectId });
  const seen = readAll(await watch());
  const stamp = async (name: string, seconds: number) => {
    await rows.pool.query(`UPDATE run SET name = $2, updated_at = now() + make_interval(secs => $3) WHERE id = $1`, [
      runId,
      name,
      seconds,
    ]);
    await until(() => seen.at(-1)?.run?.name === name, `${name} is told`);
  };
  await stamp('ahead', 20);
  await stamp('behind', -20);
  bus.weather = LOST;
  await stamp('ahead again', 10);
  await stamp('behind again', -10);
  expect(seen).toHaveLength(4);
});

test('a change is told once, though both the bus and the look bring it; and what was before is no news', async () => {
  for (let n = 0; n < 5; n++) await rows.insertRun({ projectId });
  const seen = readAll(await watch());
  const made = await create();
  await until(() => seen.length > 0, 'the new run');
  // Two looks later.
  const marker = await rows.insertRun({ projectId });
  await until(() => seen.length > 1, 'the run that only a look finds');
  const second = await rows.insertRun({ projectId });
  await until(() => seen.length > 2, 'the next one');
  expect(seen.map(({ type, runId }) => [type, runId])).toEqual([
    ['CREATED', made],
    ['CREATED', marker],
    ['CREATED', second],
  ]);
});

test('changes that come close to one another are told as one, the last', async () => {
  const runId = await rows.insertRun({ projectId });
  const one = await watch();
  const { result, statements } = await countSql(rows.pool, async () => {
    for (let n = 0; n < 20; n++) say(runId, 'CHANGED');
    return (await one.next()).value as RunEvent;
  });
  expect(result).toMatchObject({ type: 'CHANGED', runId });
  expect(statements).toHaveLength(1);

  // For a reader that is slow, a run waits once, as it is at the end; one that is new to it stays new.
  const made = await create();
  for (const name of ['a', 'b', 'c']) {
    await rename(made, name);
    await rename(runId, name);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  await rename(made, 'end');
  const seen: RunEvent[] = [];
  await until(async () => {
    seen.push((await one.next()).value as RunEvent);
    return seen.some(({ run }) => run?.name === 'end');
  }, 'the end');
  expect(seen.length).toBeLessThanOrEqual(4);
  expect(seen.find((event) => event.runId === made)?.type).toBe('CREATED');
});

test('two who watch a project cost one read a change, and all get it', async () => {
  const runId = await rows.insertRun({ projectId });
  const both = [await watch(), await watch()];
  const { result, statements } = await countSql(rows.pool, async () => {
    say(runId, 'CHANGED');
    return Promise.all(both.map(async (one) => (await one.next()).value as RunEvent));
  });
  expect(result.map((event) => event.runId)).toEqual([runId, runId]);
  expect(result[0]!.run).toBe(result[1]!.run);
  expect(statements).toHaveLength(1);
});

test('a change whose read failed is told later', async () => {
  const runId = await rows.insertRun({ projectId });
  // Not one that a look would find.
  await rows.pool.query(
    `UPDATE run SET created_at = now() - interval '1 day', updated_at = now() - interval '1 day' WHERE id = $1`,
    [runId],
  );
  let broken = true;
  const flaky = new Proxy(db, {
    get: (target, key) =>
      key === 'run' && broken
        ? { findMany: () => Promise.reject(new Error('Connection terminated')) }
        : (target[key as keyof Db] as unknown),
  });
  const own = createRunFeeds({ db: flaky, pool: rows.pool, bus, log: silentLog });
  try {
    const one = await own.watch(projectId);
    watching.push(one);
    say(runId, 'CHANGED');
    await new Promise((resolve) => setTimeout(resolve, 100));
    broken = false;
    expect((await one.next()).value).toMatchObject({ type: 'CHANGED', runId });
  } finally {
    own.close();
  }
});

test('the end comes at once to whoever waits, and the bus is left', async () => {
  const one = await watch();
  const pending = one.next();
  await one.return!();
  expect(await pending).toEqual({ done: true, value: undefined });
  const before = bus.counts.received;
  say(await rows.insertRun({ projectId }), 'CREATED');
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  expect(bus.counts.received).toBe(before);
});
