// Folding changes no answer: a run that is folded at any moments against its twin that never is, in sizes at which charts
// come from pages of rollups, from segments and from the tail, with late points, removals, repeats and resumed attempts.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { type Chart, readCharts } from '../../../src/metrics/read/charts.ts';
import { type PointsOrder, type PointsPage, readPoints } from '../../../src/metrics/read/points.ts';
import { readSummaries } from '../../../src/metrics/read/summaries.ts';
import { silentLog } from '../../support/log.ts';
import { type Random, testRandom } from '../../support/random.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { appendRemoval } from '../fold/model.ts';

const STARTED = 1_700_000_000_000;
const NAMES = ['dense', 'sparse', 'kept', 'few'];

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

/** Where a metric goes on, in the attempt that is at work. */
interface Place {
  name: string;
  step: number;
  time: number;
}

/** `sparse` has clusters that are far apart: then a cell of the coarsest level stands for many points. */
function strideOf(name: string, random: Random): number {
  if (name === 'sparse') return random.chance(0.0002) ? random.integer(1, 2 ** 40) : random.integer(1, 50);
  return name === 'kept' ? random.integer(0, 1) : 1;
}

/** So many points more, times mostly ascending, some values not finite. */
function goOn(place: Place, count: number, random: Random): MetricColumns {
  const { name } = place;
  const keeps = name === 'kept';
  const isJumbled = random.chance(0.2);
  const steps = new Float64Array(count);
  const times = new Float64Array(count);
  const values = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    steps[at] = place.step;
    times[at] = place.time + (isJumbled ? random.integer(-5_000, 5_000) : 0);
    values[at] = random.chance(0.001) ? NaN : Math.fround(random.next() * 10);
    place.step += strideOf(name, random);
    place.time += random.integer(0, 100);
  }
  const metadata = random.chance(0.1) ? Array.from(steps, (step) => (step % 97 === 0 ? { step } : null)) : null;
  return { name, tag: '', repeats: keeps ? 'KEEP' : 'REPLACE', steps, times, values, metadata };
}

/** Points at steps that were passed long ago, new ones and such that are there already. */
function late(place: Place, random: Random): MetricColumns {
  const count = random.integer(1, random.chance(0.3) ? 400 : 5);
  const lowest = Math.max(-10, place.step - random.integer(1, place.step + 10));
  const steps = Float64Array.from({ length: count }, () => random.integer(lowest, Math.max(lowest, place.step)));
  const times = Float64Array.from(steps, () => random.integer(STARTED, place.time));
  const values = Float64Array.from(steps, () => random.integer(-3, 3));
  const repeats = place.name === 'kept' ? 'KEEP' : 'REPLACE';
  return { name: place.name, tag: '', repeats, steps, times, values, metadata: null };
}

interface Twins {
  /** The first is folded, the other is not. */
  runIds: [string, string];
  fold(portionBytes: number): Promise<void>;
  /** Something that happens to both. */
  act(random: Random): Promise<void>;
  /** Where one of the metrics has come to. */
  extent: (random: Random) => Place;
}

/** Each begins with so many points, and then gets up to `most` at a time. */
async function createTwins(sizes: { begin: number; most: number }, random: Random): Promise<Twins> {
  const insert = () => rows.insertRun({ attempts: 3, startedAt: new Date(STARTED) });
  const runIds: [string, string] = [await insert(), await insert()];
  let attempt = 1;
  const places = NAMES.map((name): Place => ({ name, step: 0, time: STARTED }));
  const both = async (work: (runId: string) => Promise<unknown>) => {
    for (const runId of runIds) await work(runId);
  };
  for (const place of places.filter(({ name }) => name !== 'few' && sizes.begin > 0)) {
    const columns = goOn(place, sizes.begin, random);
    await both((runId) => append(rows.pool, runId, [columns], { attempt }));
  }
  return {
    runIds,
    async fold(portionBytes) {
      await foldRun(rows.pool, runIds[0], { windowMs: 3_600_000, log: silentLog, portionBytes });
    },
    async act(random) {
      const place = places[random.integer(0, 3)]!;
      const chance = random.next();
      if (chance < 0.6) {
        const columns = goOn(
          place,
          place.name === 'few' ? random.integer(1, 40) : random.integer(1, sizes.most),
          random,
        );
        await both((runId) => append(rows.pool, runId, [columns], { attempt }));
      } else if (chance < 0.8) {
        const columns = late(place, random);
        const during = random.integer(1, attempt);
        await both((runId) => append(rows.pool, runId, [columns], { attempt: during }));
      } else if (chance < 0.9) {
        const from = random.integer(0, place.step);
        const range = random.chance(0.2)
          ? { from: null, to: random.chance(0.2) ? null : from }
          : { from, to: random.chance(0.2) ? null : from + random.integer(0, 20_000) };
        const removal = { name: place.name, tag: '', attempt: random.chance(0.5) ? attempt : null, ...range };
        await both((runId) => appendRemoval(rows.pool, runId, removal));
      } else if (attempt < 3) {
        attempt++;
        for (const one of places) one.step = Math.floor(one.step * (0.7 + 0.3 * random.next()));
      }
    },
    extent: (random) => places[random.integer(0, 3)]!,
  };
}

function columnsOf({ mean, ...chart }: Chart) {
  return { ...chart, runId: null, mean: Array.from(mean, (value) => value.toPrecision(9)) };
}

/** What is asked of both, and what they answer, alike but for the last digits of means. */
interface Answers {
  asked: object;
  folded: unknown;
  whole: unknown;
}

async function askCharts({ runIds, extent }: Twins, random: Random): Promise<Answers> {
  const { step, time } = extent(random);
  const x = (['STEP', 'TIME', 'RELATIVE_TIME'] as const)[random.integer(0, 2)]!;
  const end = x === 'STEP' ? step : time - STARTED;
  const zero = x === 'TIME' ? STARTED : 0;
  const from = random.chance(0.5) ? null : zero + random.integer(-10, end);
  const to = random.chance(0.5) ? null : (from ?? zero) + random.integer(0, random.chance(0.3) ? 200 : end);
  const attempts = random.chance(0.7) ? 'LINE' : 'EACH';
  const buckets = random.chance(0.3) ? random.integer(1, 9) : random.integer(10, random.chance(0.1) ? 10_000 : 500);
  const asked = { metrics: NAMES.map((name) => ({ name })), x, from, to, buckets, attempts } as const;
  const [folded, whole] = await Promise.all(
    runIds.map(async (runId) => (await readCharts(rows.pool, { ...asked, runIds: [runId] })).map(columnsOf)),
  );
  return { asked, folded, whole };
}

const ORDERS: PointsOrder[] = ['STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'];

/** A few pages. */
async function* askPoints({ runIds, extent }: Twins, random: Random): AsyncGenerator<Answers> {
  const { step } = extent(random);
  const from = random.chance(0.5) ? null : random.integer(0, step);
  const request = {
    name: NAMES[random.integer(0, 3)]!,
    tag: '',
    attempt: random.chance(0.5) ? null : random.integer(1, 3),
    from,
    to: random.chance(0.5) ? null : (from ?? 0) + random.integer(0, step),
    orderBy: ORDERS[random.integer(0, 3)]!,
    first: random.chance(0.5) ? random.integer(1, 50) : random.integer(1, 20_000),
  };
  let after: string | null = null;
  for (let page = 0; page < 3; page++) {
    const asked = { ...request, after };
    const [folded, whole]: unknown[] = await readPoints(
      rows.pool,
      runIds.map((runId) => ({ ...asked, runId })),
    );
    yield { asked, folded, whole };
    ({ endCursor: after } = whole as PointsPage);
    if (after === null) return;
  }
}

async function askSummaries({ runIds }: Twins): Promise<Answers> {
  const found = await readSummaries(rows.pool, runIds);
  const [folded, whole] = runIds.map((runId) => {
    const summaries = found.get(runId)!;
    if (summaries instanceof Error) throw summaries;
    return summaries.map(({ mean, ...rest }) => ({ ...rest, mean: mean?.toPrecision(9) }));
  });
  return { asked: { summaries: true }, folded, whole };
}

/** Some of what may happen, with folds in between, and then questions; a few times. */
async function* live(twins: Twins, random: Random): AsyncGenerator<Answers> {
  for (let turn = 0; turn < 4; turn++) {
    for (let act = 0; act < 4; act++) {
      await twins.act(random);
      if (random.chance(0.4)) await twins.fold(random.chance(0.5) ? 1 : 1_000_000);
    }
    yield askSummaries(twins);
    for (let n = 0; n < 4; n++) yield askCharts(twins, random);
    for (let n = 0; n < 3; n++) yield* askPoints(twins, random);
  }
}

test('of a metric of which nothing is left: it keeps repeats as it did', async () => {
  const metric = (repeats: MetricColumns['repeats'], values: number[]) => [
    columns(
      'loss',
      values.map(() => 7),
      values,
      { repeats },
    ),
  ];
  const runId = await rows.insertRun();
  await append(rows.pool, runId, metric('KEEP', [1]));
  await appendRemoval(rows.pool, runId, { name: 'loss', tag: '', attempt: null, from: null, to: null });
  const fold = () => foldRun(rows.pool, runId, { windowMs: 0, log: silentLog });
  await fold();
  await append(rows.pool, runId, metric('REPLACE', [2, 3]));
  const request = { runId, name: 'loss', tag: '', attempt: null, from: null, to: null, after: null };
  const read = async () => ({
    charts: await readCharts(rows.pool, {
      runIds: [runId],
      metrics: [{ name: 'loss' }],
      x: 'STEP',
      buckets: 10,
      attempts: 'LINE',
    }),
    points: await readPoints(rows.pool, [{ ...request, orderBy: 'STEP_ASC', first: 10 }]),
  });
  const before = await read();
  expect(before).toMatchObject({
    charts: [{ repeats: 'KEEP', last: Float64Array.of(2, 3) }],
    points: [{ values: Float64Array.of(2, 3) }],
  });
  await fold();
  expect(await read()).toEqual(before);
});

test('of long metrics', { timeout: 180_000 }, async () => {
  const random = testRandom();
  const twins = await createTwins({ begin: 100_000, most: 10_000 }, random);
  for await (const { asked, folded, whole } of live(twins, random))
    expect({ asked, answer: folded }).toEqual({ asked, answer: whole });
});

test('of many short ones', { timeout: 180_000 }, async () => {
  const random = testRandom();
  for (let run = 0; run < 12; run++) {
    const twins = await createTwins({ begin: 0, most: 300 }, random);
    for await (const { asked, folded, whole } of live(twins, random))
      expect({ asked, answer: folded }).toEqual({ asked, answer: whole });
  }
});
