// Who watches a run while points are removed from it.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { socketClient } from '../../support/client.ts';
import { createRandom, testRandom } from '../../support/random.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../../support/unreliable-bus.ts';
import { sealed } from '../codec/damage.ts';
import { removals } from './removals.ts';

let bus: UnreliableBus;
let app: App;
let client: ReturnType<typeof removals>;
beforeAll(async () => {
  bus = createUnreliableBus(createRandom(1), SUNNY);
  app = await startApp({ bus });
  client = removals(app);
});
afterEach(() => void (bus.weather = SUNNY));
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await bus.close();
});

describe('who watches', () => {
  interface Event {
    cursor: string;
    reason?: string;
    metrics?: { name: string; steps: number[]; values: number[] }[];
  }
  const WATCH = `subscription($input: MetricsInput!) { metrics(input: $input) {
    ... on MetricsAppended { cursor metrics { name steps values } } ... on MetricsReset { cursor reason } } }`;

  function watch(runId: string, after: number | null, metrics: object[] | null = null) {
    const socket = socketClient(app.url, app.apiKey);
    const runs = [after === null ? { id: runId } : { id: runId, after: String(after) }];
    const events = socket.iterate<{ metrics: Event }>({ query: WATCH, variables: { input: { runs, metrics } } });
    return {
      async next(): Promise<Event> {
        const { value } = (await events.next()) as { value: { data?: { metrics: Event } | null } };
        if (!value.data) throw new Error(JSON.stringify(value));
        return value.data.metrics;
      },
      [Symbol.asyncDispose]: async () => socket.dispose(),
    };
  }

  async function untilReset(watching: { next(): Promise<Event> }): Promise<Event[]> {
    const events: Event[] = [];
    while (events.at(-1)?.reason === undefined) events.push(await watching.next());
    return events;
  }

  test('is told to read again, and what comes after follows without a gap', async () => {
    const runId = await app.createRun();
    await client.logSteps(runId, [1, 2]);
    await using live = watch(runId, 0);
    expect(await live.next()).toMatchObject({ cursor: '1' });
    const removed = await client.remove({ runId, name: 'loss', to: 1 });
    expect(await live.next()).toEqual({ cursor: String(removed), reason: 'points were deleted' });
    await client.logSteps(runId, [1]);
    expect(await live.next()).toMatchObject({ cursor: '3', metrics: [{ name: 'loss', steps: [1] }] });
  });

  test('and comes back from before a removal is told so too; from after it, nothing is said', async () => {
    const runId = await app.createRun();
    for (const step of [1, 2, 3]) await client.logSteps(runId, [step]);
    const removed = await client.remove({ runId, name: 'loss', to: 2 });
    await client.logSteps(runId, [4]);
    for (const after of [0, 2, 3]) {
      await using old = watch(runId, after);
      const events = await untilReset(old);
      expect(events.at(-1)).toEqual({ cursor: '5', reason: 'points were deleted' });
      expect(events.slice(0, -1).flatMap(({ metrics }) => metrics![0]!.steps)).toEqual([1, 2, 3].slice(after));
    }
    await using recent = watch(runId, removed);
    expect(await recent.next()).toMatchObject({ cursor: '5', metrics: [{ steps: [4] }] });
  });

  test('other metrics is not disturbed', async () => {
    const runId = await app.createRun();
    await using acc = watch(runId, 0, [{ name: 'acc' }, { name: 'loss', tag: 'val' }]);
    await client.logSteps(runId, [1], {}, { name: 'acc' });
    expect(await acc.next()).toMatchObject({ cursor: '1' });
    await client.remove({ runId, name: 'loss' });
    await client.logSteps(runId, [2], {}, { name: 'acc' });
    expect(await acc.next()).toMatchObject({ cursor: '3', metrics: [{ name: 'acc', steps: [2] }] });
    await client.remove({ runId, name: 'loss', tag: 'val' });
    expect(await acc.next()).toMatchObject({ cursor: '4', reason: 'points were deleted' });
  });

  interface Mirror {
    cursor: number;
    points: Map<number, number>;
    resets: number;
  }
  const CHART = `query($id: ID!) { charts(input: { runIds: [$id], metrics: [{ name: "loss" }], buckets: 1000 }) {
    cursor steps last } }`;

  /** A client that does as it is told, for a few events: after a reset it reads the chart, and goes on by its cursor. */
  async function follow(runId: string, has: Mirror, end: number, events: number): Promise<void> {
    await using watching = watch(runId, has.cursor);
    for (let left = events; left > 0 && has.cursor < end; left--) {
      const { cursor, reason, metrics } = await watching.next();
      has.cursor = Number(cursor);
      for (const { steps, values } of metrics ?? [])
        for (const [index, step] of steps.entries()) has.points.set(step, values[index]!);
      if (reason === undefined) continue;
      const [chart] = (await app.must(CHART, { id: runId })).charts as {
        cursor: string;
        steps: number[];
        last: number[];
      }[];
      has.points = new Map(chart?.steps.map((step, index) => [step, chart.last[index]!]));
      has.cursor = Number(chart?.cursor ?? cursor);
      has.resets++;
      return;
    }
  }

  test('on a bad day, with cuts in between, ends with what is stored', async () => {
    const random = testRandom();
    bus.weather = { lost: 0.15, repeated: 0.2, late: 0.3, lateMs: 25 };
    const runId = await app.createRun();
    const acts = 120;
    const work = async () => {
      for (let n = 1; n <= acts; n++) {
        const from = random.integer(0, 30);
        if (random.chance(0.15)) await client.remove({ runId, name: 'loss', from, to: from + random.integer(0, 10) });
        else await client.logSteps(runId, [from, from + 1], {}, { values: [n, -n] });
      }
    };
    const mirrors = Array.from({ length: 3 }, (): Mirror => ({ cursor: 0, points: new Map(), resets: 0 }));
    const following = mirrors.map(async (has) => {
      while (has.cursor < acts) await follow(runId, has, acts, random.integer(1, 6));
    });
    await Promise.all([work(), ...following]);
    const query = 'query($id: ID!) { run(id: $id) { points(name: "loss", first: 100) { steps values } } }';
    const { points } = (await app.must(query, { id: runId })).run as { points: { steps: number[]; values: number[] } };
    for (const { points: mirrored, resets } of mirrors) {
      expect(resets).toBeGreaterThan(0);
      expect([...mirrored].toSorted(([a], [b]) => a - b)).toEqual(
        points.steps.map((step, i) => [step, points.values[i]]),
      );
    }
  });

  test('a removal that is damaged on disk removes nothing by mistake: reads fail, who watches goes on', async () => {
    const runId = await app.createRun();
    await client.logSteps(runId, [1, 2]);
    await client.remove({ runId, name: 'loss', to: 1 });
    await client.logSteps(runId, [3]);
    const text = '{"name":"loss","tag":"","attempt":null,"from":null,"to":"1"}';
    const payload = sealed(Buffer.concat([Buffer.of(128, 0, 0, 0, 0), Buffer.from(text)]));
    await app.engines.pool.query('UPDATE journal SET payload = $2 WHERE run_id = $1 AND sequence = 2', [
      runId,
      payload,
    ]);
    const { errors } = await app.request(
      'query($id: ID!) { run(id: $id) { points(name: "loss", first: 9) { steps } } }',
      { id: runId },
    );
    expect(errors?.[0]?.extensions.code).toBe('INTERNAL');
    await using live = watch(runId, 0);
    await untilReset(live);
    await client.logSteps(runId, [4]);
    let event = await live.next();
    while (Number(event.cursor) < 4) event = await live.next();
    expect(event.metrics![0]!.steps).toContain(4);
  });
});
