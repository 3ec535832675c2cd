// Batches and removals against a model that applies them in the order of their cursors.
import * as fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { testRandom } from '../../support/random.ts';
import { removals } from './removals.ts';

let app: App;
let client: ReturnType<typeof removals>;
beforeAll(async () => {
  app = await startApp();
  client = removals(app);
});
afterAll(() => app[Symbol.asyncDispose]());

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
    return client.remove({ runId, name, attempt, from, to });
  }
  const { name, attempt, rows } = one;
  const columns = {
    steps: rows.map(({ step }) => step),
    times: rows.map(({ time }) => time),
    values: rows.map(({ value }) => value),
  };
  return client.log({ runId, attempt, metrics: [{ name, repeats: name === 'kept' ? 'KEEP' : 'REPLACE', ...columns }] });
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
      const runId = await client.resume(key);
      for (let attempt = 2; attempt <= 3; attempt++) await client.resume(key);
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
