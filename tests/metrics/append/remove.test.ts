// Removing points, as clients see it: against a model that applies batches and removals in the order of their cursors,
// and to those who watch.
import * as fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { socketClient } from '../../support/client.ts';
import { createRandom, testRandom } from '../../support/random.ts';
import { sealed } from '../codec/damage.ts';
import { createUnreliableBus, SUNNY, type UnreliableBus } from '../../support/unreliable-bus.ts';

let bus: UnreliableBus;
let app: App;
beforeAll(async () => {
  bus = createUnreliableBus(createRandom(1), SUNNY);
  app = await startApp({ bus });
});
afterEach(() => void (bus.weather = SUNNY));
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await bus.close();
});

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }';
const REMOVE = 'mutation($input: DeletePointsInput!) { deletePoints(input: $input) { cursor run { id cursor } } }';
const log = async (input: object) => (await app.must(LOG, { input })).logMetrics;
const remove = async (input: object): Promise<number> =>
  Number((await app.must(REMOVE, { input })).deletePoints.cursor);
const logSteps = (runId: string, steps: number[], rest: object = {}, metric: object = {}) =>
  log({ runId, ...rest, metrics: [{ name: 'loss', steps, values: steps, ...metric }] });

async function resume(key: string): Promise<string> {
  const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
  return (await app.must(query, { input: { project: 'removals', key, resume: 'ALLOW' } })).createRun.run.id;
}

async function stepsOf(runId: string, { name = 'loss', tag = '', attempt = null as number | null } = {}) {
  const query = `query($id: ID!, $name: String!, $tag: String!, $attempt: Int) {
    run(id: $id) { points(name: $name, tag: $tag, attempt: $attempt, first: 1000) { steps } } }`;
  return (await app.must(query, { id: runId, name, tag, attempt })).run.points.steps as number[];
}

interface Row {
  step: number;
  time: number;
  value: number;
}
interface Batch {
  kind: 'batch';
  name: string;
  attempt: number;
  rows: Row[];
}
interface Removal {
  kind: 'removal';
  name: string;
  attempt: number | null;
  from: number | null;
  to: number | null;
}
type Act = Batch | Removal;

/** What counts of each attempt after these, in the metric's order; `kept` keeps repeats. */
function attemptsOf(acts: readonly Act[], name: string): Map<number, Row[]> {
  let left: (Row & { attempt: number })[] = [];
  for (const act of acts) {
    if (act.name !== name) continue;
    if (act.kind === 'batch') left.push(...act.rows.map((row) => ({ ...row, attempt: act.attempt })));
    else
      left = left.filter(
        ({ step, attempt }) =>
          (act.attempt !== null && act.attempt !== attempt) ||
          step < (act.from ?? -Infinity) ||
          step > (act.to ?? Infinity),
      );
  }
  const key = (row: Row) => (name === 'kept' ? `${row.step} ${row.time} ${row.value}` : `${row.step}`);
  const attempts = new Map<number, Row[]>();
  for (const [attempt, rows] of Map.groupBy(left, (row) => row.attempt)) {
    const counted = rows.filter((row, index) => !rows.slice(index + 1).some((later) => key(later) === key(row)));
    counted.sort((a, b) => a.step - b.step || (name === 'kept' ? a.time - b.time : 0));
    attempts.set(attempt, counted);
  }
  return attempts;
}

function lineOf(attempts: ReadonlyMap<number, Row[]>): Row[] {
  const numbers = [...attempts.keys()];
  const cut = (attempt: number) =>
    Math.min(...numbers.filter((one) => one > attempt).map((later) => attempts.get(later)![0]!.step));
  return numbers
    .toSorted((a, b) => a - b)
    .flatMap((attempt) => attempts.get(attempt)!.filter(({ step }) => step < cut(attempt)));
}

const READ = `query($id: ID!, $name: String!) {
  run(id: $id) { metrics(first: 10, search: $name) { nodes { name count firstStep lastStep last min max } }
    line: points(name: $name, first: 1000) { steps times values }
    a1: points(name: $name, attempt: 1, first: 1000) { steps times values }
    a2: points(name: $name, attempt: 2, first: 1000) { steps times values }
    a3: points(name: $name, attempt: 3, first: 1000) { steps times values } }
  line: charts(input: { runIds: [$id], metrics: [{ name: $name }], buckets: 1000 }) { counts steps last attempt }
  each: charts(input: { runIds: [$id], metrics: [{ name: $name }], buckets: 1000, attempts: EACH }) { counts attempt } }`;

async function expectAsModel(runId: string, acts: readonly Act[]): Promise<void> {
  for (const name of ['loss', 'kept']) {
    const attempts = attemptsOf(acts, name);
    const line = lineOf(attempts);
    const { run, line: charts, each } = await app.must(READ, { id: runId, name });
    const asColumns = (rows: readonly Row[] = []) => ({
      steps: rows.map(({ step }) => step),
      times: rows.map(({ time }) => time),
      values: rows.map(({ value }) => value),
    });
    expect(run.line).toEqual(asColumns(line));
    for (const attempt of [1, 2, 3]) expect(run[`a${attempt}`]).toEqual(asColumns(attempts.get(attempt)));
    const values = line.map(({ value }) => value);
    expect(run.metrics.nodes).toEqual(
      line.length === 0
        ? []
        : [
            {
              name,
              count: line.length,
              firstStep: line[0]!.step,
              lastStep: line.at(-1)!.step,
              last: values.at(-1),
              min: Math.min(...values),
              max: Math.max(...values),
            },
          ],
    );
    const total = (chart: { counts: number[] } | undefined) => (chart?.counts ?? []).reduce((sum, one) => sum + one, 0);
    expect(total(charts[0])).toBe(line.length);
    // Points of one step, as kept repeats have, share a bucket.
    const [chart] = charts as { counts: number[]; steps: number[]; last: number[] }[];
    const lastOf = new Map(line.map(({ step, value }) => [step, value]));
    expect(new Map(chart?.steps.map((step, index) => [step, chart.last[index]]))).toEqual(lastOf);
    expect(each.map((chart: { attempt: number; counts: number[] }) => [chart.attempt, total(chart)])).toEqual(
      [...attempts].map(([attempt, rows]) => [attempt, rows.length]).toSorted((a, b) => a[0]! - b[0]!),
    );
  }
}

function act(runId: string, one: Act): Promise<unknown> {
  if (one.kind === 'removal') {
    const { name, attempt, from, to } = one;
    return remove({ runId, name, attempt, from, to });
  }
  const { name, attempt, rows } = one;
  const columns = {
    steps: rows.map(({ step }) => step),
    times: rows.map(({ time }) => time),
    values: rows.map(({ value }) => value),
  };
  return log({ runId, attempt, metrics: [{ name, repeats: name === 'kept' ? 'KEEP' : 'REPLACE', ...columns }] });
}

const anyName = fc.constantFrom('loss', 'kept');
const anyStep = fc.integer({ min: -3, max: 15 });
const anyBatch: fc.Arbitrary<Act> = fc.record({
  kind: fc.constant('batch' as const),
  name: anyName,
  attempt: fc.integer({ min: 1, max: 3 }),
  rows: fc.array(
    fc.record({ step: anyStep, time: fc.integer({ min: 1, max: 3 }), value: fc.integer({ min: 1, max: 5 }) }),
    { minLength: 1, maxLength: 12 },
  ),
});
const anyRemoval: fc.Arbitrary<Act> = fc
  .record({
    kind: fc.constant('removal' as const),
    name: anyName,
    attempt: fc.option(fc.integer({ min: 1, max: 3 })),
    ends: fc.tuple(fc.option(anyStep, { freq: 3 }), fc.option(anyStep, { freq: 3 })),
  })
  .map(({ ends: [one, other], ...rest }) => {
    const isReversed = one !== null && other !== null && one > other;
    return { ...rest, from: isReversed ? other : one, to: isReversed ? one : other };
  });
const anyActs = fc.array(fc.oneof({ weight: 3, arbitrary: anyBatch }, { weight: 2, arbitrary: anyRemoval }), {
  minLength: 1,
  maxLength: 14,
});

test('batches and removals in any order: what is read is what the rules leave', async () => {
  let [removed, all] = [0, 0];
  await fc.assert(
    fc.asyncProperty(anyActs, fc.nat(), async (acts, middle) => {
      const key = uuidv7();
      const runId = await resume(key);
      for (let attempt = 2; attempt <= 3; attempt++) await resume(key);
      const stop = middle % acts.length;
      for (const [index, one] of acts.entries()) {
        await act(runId, one);
        if (index === stop) await expectAsModel(runId, acts.slice(0, index + 1));
      }
      await expectAsModel(runId, acts);
      const count = (some: readonly Act[]) => [...attemptsOf(some, 'loss').values()].flat().length;
      removed += count(acts.filter(({ kind }) => kind === 'batch')) - count(acts);
      all += count(acts);
    }),
    { numRuns: 40 },
  );
  expect(Math.min(removed, all)).toBeGreaterThan(20);
});

test('batches and removals at once: the order of their cursors decides', async () => {
  const random = testRandom();
  const runId = await app.createRun();
  const done: { cursor: number; act: Act }[] = [];
  const batch = (value: number): Act => ({
    kind: 'batch',
    name: 'loss',
    attempt: 1,
    rows: Array.from({ length: 5 }, () => ({ step: random.integer(0, 15), time: 1, value })),
  });
  const removal = (): Act => {
    const from = random.integer(0, 15);
    return { kind: 'removal', name: 'loss', attempt: null, from, to: random.integer(from, 15) };
  };
  await Promise.all(
    Array.from({ length: 6 }, async (_, worker) => {
      for (let n = 0; n < 25; n++) {
        const one = worker < 4 ? batch(worker * 100 + n) : removal();
        const answer = await act(runId, one);
        done.push({
          cursor: typeof answer === 'number' ? answer : Number((answer as { cursor: string }).cursor),
          act: one,
        });
      }
    }),
  );
  done.sort((a, b) => a.cursor - b.cursor);
  expect(done.map(({ cursor }) => cursor)).toEqual(Array.from({ length: 150 }, (_, index) => index + 1));
  await expectAsModel(
    runId,
    done.map((one) => one.act),
  );
});

describe('a removal', () => {
  test('takes the steps of its range, both ends included, and no other metric', async () => {
    const runId = await app.createRun();
    const steps = [-2, -1, 0, 1, 2, 3, 4];
    for (const metric of [{}, { tag: 'val' }, { name: 'acc' }]) await logSteps(runId, steps, {}, metric);
    await remove({ runId, name: 'loss', from: 1, to: 2 });
    expect(await stepsOf(runId)).toEqual([-2, -1, 0, 3, 4]);
    await remove({ runId, name: 'loss', from: 4 });
    expect(await stepsOf(runId)).toEqual([-2, -1, 0, 3]);
    await remove({ runId, name: 'loss', to: -1, type: 'SCALAR' });
    expect(await stepsOf(runId)).toEqual([0, 3]);
    await remove({ runId, name: 'loss', from: 3, to: 3 });
    expect(await stepsOf(runId)).toEqual([0]);
    for (const metric of [{ tag: 'val' }, { name: 'acc' }]) expect(await stepsOf(runId, metric)).toEqual(steps);
    await remove({ runId, name: 'loss', tag: 'val' });
    expect(await stepsOf(runId, { tag: 'val' })).toEqual([]);
    expect(await stepsOf(runId)).toEqual([0]);
  });

  test('of the attempt that went wrong gives the line back to the one before', async () => {
    const key = uuidv7();
    const runId = await resume(key);
    await logSteps(runId, [1, 2, 3, 4]);
    await resume(key);
    await logSteps(runId, [3, 4, 5]);
    await logSteps(runId, [2], { attempt: 1 });
    await remove({ runId, name: 'loss', attempt: 2, to: 4 });
    expect(await stepsOf(runId)).toEqual([1, 2, 3, 4, 5]);
    expect(await stepsOf(runId, { attempt: 2 })).toEqual([5]);
    await remove({ runId, name: 'loss', attempt: 2 });
    expect(await stepsOf(runId)).toEqual([1, 2, 3, 4]);
  });

  test('leaves room: the same steps can be logged anew', async () => {
    const runId = await app.createRun();
    await logSteps(runId, [1, 2, 3], {}, { values: [10, 20, 30] });
    await remove({ runId, name: 'loss' });
    await logSteps(runId, [2, 3], {}, { values: [21, 31] });
    const query = 'query($id: ID!) { run(id: $id) { points(name: "loss", first: 9) { steps values } } }';
    expect((await app.must(query, { id: runId })).run.points).toEqual({ steps: [2, 3], values: [21, 31] });
  });

  test('may be repeated, and may find nothing', async () => {
    const runId = await app.createRun();
    await logSteps(runId, [1, 2, 3]);
    const input = { runId, name: 'loss', from: 2 };
    expect([await remove(input), await remove(input), await remove({ runId, name: 'never logged' })]).toEqual([
      2, 3, 4,
    ]);
    expect(await stepsOf(runId)).toEqual([1]);
    const { run } = await app.must('query($id: ID!) { run(id: $id) { metrics(first: 9) { totalCount } } }', {
      id: runId,
    });
    expect(run.metrics.totalCount).toBe(1);
  });

  test('does not let old batches come back: sent again, they are duplicates', async () => {
    const runId = await app.createRun();
    const batch = (number: number) => logSteps(runId, [number], { writer: 'w', batch: number });
    for (const number of [1, 2, 4]) await batch(number);
    await remove({ runId, name: 'loss' });
    for (const number of [4, 1, 2, 1]) expect(await batch(number)).toMatchObject({ accepted: 0, duplicate: true });
    expect(await stepsOf(runId)).toEqual([]);
    // The one that had not come before is new, however old.
    for (const number of [3, 5]) expect(await batch(number)).toMatchObject({ accepted: 1, duplicate: false });
    expect(await stepsOf(runId)).toEqual([3, 5]);
  });

  test('is one row of the journal and one of the audit log, no sign of life, and answers with the run', async () => {
    const runId = await app.createRun({ status: 'PENDING' });
    await logSteps(runId, [1], { late: true });
    const state = async () => {
      const { rows } = await app.engines.pool.query<{ sequence: number; bytes: number; stored: number }>(
        `SELECT h.sequence, h.heartbeat_at, h.bytes, r.status, r.updated_at, (SELECT count(*) FROM run_writer) AS writers,
                (SELECT sum(octet_length(payload)) FROM journal WHERE run_id = $1) AS stored
         FROM run_head h JOIN run r ON r.id = h.run_id WHERE h.run_id = $1`,
        [runId],
      );
      return rows[0]!;
    };
    const before = await state();
    const { result, statements } = await app.countSql(() =>
      app.must(REMOVE.replace('run { id cursor }', ''), { input: { runId, name: 'loss' } }),
    );
    expect(result.deletePoints).toEqual({ cursor: '2' });
    expect(statements.filter((text) => !text.includes('api_key'))).toEqual([
      expect.stringMatching(/^BEGIN/),
      expect.stringMatching(/INSERT INTO journal/),
      expect.stringMatching(/INSERT INTO audit_entry/),
      'COMMIT',
    ]);
    const after = await state();
    expect(after).toEqual({ ...before, sequence: 2, bytes: after.stored, stored: after.stored });
    expect(after.stored).toBeGreaterThan(before.stored);
    const { rows } = await app.engines.pool.query(
      'SELECT attempt, point_count FROM journal WHERE run_id = $1 AND sequence = 2',
      [runId],
    );
    expect(rows).toEqual([{ attempt: 1, point_count: 0 }]);
    const { deletePoints } = await app.must(REMOVE, { input: { runId, name: 'loss' } });
    expect(deletePoints).toEqual({ cursor: '3', run: { id: runId, cursor: '3' } });
  });

  test.each([
    ['a range that ends before it begins', { from: 3, to: 2 }, 'from', /from must not be above to: 3 is above 2/],
    ['attempt 0', { attempt: 0 }, 'attempt', /1 to 1; it is 0/],
    ['an attempt below', { attempt: -1 }, 'attempt', /1 to 1; it is -1/],
    ['an attempt that there is not yet', { attempt: 2 }, 'attempt', /1 to 1; it is 2/],
    ['no name', { name: '' }, 'name', /name must have 1 to 256 characters/],
    ['a long name', { name: 'x'.repeat(257) }, 'name', /it has 257/],
    ['a name with a line break', { name: 'a\nb' }, 'name', /control characters/],
    ['a tag of half a character', { tag: '\ud800' }, 'tag', /broken Unicode/],
  ])('is refused, and nothing removed: %s', async (_, wrong, field, message) => {
    const runId = await app.createRun();
    await logSteps(runId, [1, 2, 3]);
    const { errors } = await app.request(REMOVE, { input: { runId, name: 'loss', ...wrong } });
    expect(errors?.[0]).toMatchObject({
      extensions: { code: 'INVALID_INPUT', field },
      message: expect.stringMatching(message),
    });
    const { run } = await app.must('query($id: ID!) { run(id: $id) { cursor } }', { id: runId });
    expect(run.cursor).toBe('1');
    expect(await stepsOf(runId)).toEqual([1, 2, 3]);
  });

  test('of a run that there is not is NOT_FOUND', async () => {
    for (const runId of [uuidv7(), 'x']) {
      const { errors } = await app.request(REMOVE, { input: { runId, name: 'loss' } });
      expect(errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    }
  });
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
    const client = socketClient(app.url, app.apiKey);
    const runs = [after === null ? { id: runId } : { id: runId, after: String(after) }];
    const events = client.iterate<{ metrics: Event }>({ query: WATCH, variables: { input: { runs, metrics } } });
    return {
      async next(): Promise<Event> {
        const { value } = (await events.next()) as { value: { data?: { metrics: Event } | null } };
        if (!value.data) throw new Error(JSON.stringify(value));
        return value.data.metrics;
      },
      [Symbol.asyncDispose]: async () => client.dispose(),
    };
  }

  async function untilReset(watching: { next(): Promise<Event> }): Promise<Event[]> {
    const events: Event[] = [];
    while (events.at(-1)?.reason === undefined) events.push(await watching.next());
    return events;
  }

  test('is told to read again, and what comes after follows without a gap', async () => {
    const runId = await app.createRun();
    await logSteps(runId, [1, 2]);
    await using live = watch(runId, 0);
    expect(await live.next()).toMatchObject({ cursor: '1' });
    const removed = await remove({ runId, name: 'loss', to: 1 });
    expect(await live.next()).toEqual({ cursor: String(removed), reason: 'points were deleted' });
    await logSteps(runId, [1]);
    expect(await live.next()).toMatchObject({ cursor: '3', metrics: [{ name: 'loss', steps: [1] }] });
  });

  test('and comes back from before a removal is told so too; from after it, nothing is said', async () => {
    const runId = await app.createRun();
    for (const step of [1, 2, 3]) await logSteps(runId, [step]);
    const removed = await remove({ runId, name: 'loss', to: 2 });
    await logSteps(runId, [4]);
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
    await logSteps(runId, [1], {}, { name: 'acc' });
    expect(await acc.next()).toMatchObject({ cursor: '1' });
    await remove({ runId, name: 'loss' });
    await logSteps(runId, [2], {}, { name: 'acc' });
    expect(await acc.next()).toMatchObject({ cursor: '3', metrics: [{ name: 'acc', steps: [2] }] });
    await remove({ runId, name: 'loss', tag: 'val' });
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
        if (random.chance(0.15)) await remove({ runId, name: 'loss', from, to: from + random.integer(0, 10) });
        else await logSteps(runId, [from, from + 1], {}, { values: [n, -n] });
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
    await logSteps(runId, [1, 2]);
    await remove({ runId, name: 'loss', to: 1 });
    await logSteps(runId, [3]);
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
    await logSteps(runId, [4]);
    let event = await live.next();
    while (Number(event.cursor) < 4) event = await live.next();
    expect(event.metrics![0]!.steps).toContain(4);
  });
});
