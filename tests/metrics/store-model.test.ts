// Everything at once, against a model that is told in the order of the journal: appends, removals, folds, reads, and
// connections that end at any statement.
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Appended } from '../../src/metrics/append/append.ts';
import type { MetricColumns } from '../../src/metrics/columns.ts';
import { foldRun } from '../../src/metrics/fold/run.ts';
import { type ChartsRequest, readCharts } from '../../src/metrics/read/charts.ts';
import { type PointsPage, readPoints } from '../../src/metrics/read/points.ts';
import { readSummaries } from '../../src/metrics/read/summaries.ts';
import { cutOff } from '../support/cut-off.ts';
import { silentLog } from '../support/log.ts';
import { testRandom } from '../support/random.ts';
import { append, openRunRows, type RunRows } from '../support/run-rows.ts';
import { allParts, sayProgress, SOAK } from '../support/soak.ts';
import { anyFew, anyLong, anyStretch } from './fold/logged.ts';
import { appendRemoval, asStored, createModel, type Model } from './fold/model.ts';
import { expectStored } from './fold/stored.ts';
import { anyStep } from './points.ts';
import { chartsOf, listOf, plainChart, plainPage, plainSummary, pointsOf, summariesOf } from './read/model.ts';
import {
  anyAttempt,
  anyTurns,
  ATTEMPTS,
  type Change,
  type CutWrite,
  type End,
  type Fold,
  HOUR_MS,
  type Question,
  type Turn,
} from './store-turns.ts';

const STARTED = 1_700_000_000_000;

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

type Metrics = Model['metrics'];

/** Where a range ends, in the unit of x. */
function place(end: End | null, metrics: Metrics, x: ChartsRequest['x']): number | null {
  const list = end === null ? [] : metrics.flatMap((metric) => listOf(metric));
  if (end === null || list.length === 0) return null;
  const { step, time } = list[end.point % list.length]!;
  const at = x === 'STEP' ? step : x === 'TIME' ? time : time - STARTED;
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, at + end.beside));
}

/** An answer, what was asked, and what the answer should be if the run had these points. */
interface Answer {
  asked: object;
  found: unknown;
  expected: (metrics: Metrics) => unknown;
  /** The sequence that it says of itself. */
  sequence: number | null;
}

async function ask(runId: string, question: Question, metrics: Metrics, isStill: boolean): Promise<Answer> {
  if (question.kind === 'summaries') {
    const found = (await readSummaries(rows.pool, [runId])).get(runId)!;
    if (found instanceof Error) throw found;
    return { asked: question, found: found.map(plainSummary), expected: summariesOf, sequence: null };
  }
  if (question.kind === 'points') return askPoints(runId, question, metrics, isStill);
  const names = ['kept', 'loss', 'accuracy'];
  const { x, attempts, buckets } = question;
  const asked = { x, attempts, buckets, from: place(question.from, metrics, x), to: place(question.to, metrics, x) };
  const charts = await readCharts(rows.pool, { ...asked, runIds: [runId], metrics: names.map((name) => ({ name })) });
  return {
    asked,
    found: charts.map(plainChart),
    expected: (all) => chartsOf(all, names, asked, STARTED),
    sequence: charts[0] ? Number(charts[0].cursor) : null,
  };
}

const MOST_PAGES = 8;

async function askPoints(
  runId: string,
  { metric, attempt, orderBy, sizes, ...range }: Question & { kind: 'points' },
  metrics: Metrics,
  isStill: boolean,
): Promise<Answer> {
  const { name, tag } = metrics[metric % metrics.length] ?? { name: 'loss', tag: '' };
  const about = {
    name,
    tag,
    attempt,
    orderBy,
    from: place(range.from, metrics, 'STEP'),
    to: place(range.to, metrics, 'STEP'),
  };
  const pages: PointsPage[] = [];
  // Pages are snapshots of their own.
  const most = isStill ? MOST_PAGES : 1;
  while (pages.length < most && (pages.at(-1)?.hasNextPage ?? true)) {
    const first = sizes[pages.length % sizes.length]!;
    const after = pages.at(-1)?.endCursor ?? null;
    const [page] = await readPoints(rows.pool, [{ ...about, runId, first, after }]);
    if (page instanceof Error) throw page;
    pages.push(page!);
  }
  const expected = (all: Metrics) => {
    const list = pointsOf(all, about);
    let end = 0;
    return pages.map((_, at) => {
      const start = end;
      end += sizes[at % sizes.length]!;
      return { rows: list.slice(start, end), totalCount: list.length, hasNextPage: end < list.length };
    });
  };
  return { asked: { ...about, sizes }, found: pages.map(plainPage), expected, sequence: null };
}

/** How often what may happen has happened. */
const newCounts = () => ({
  plays: 0,
  cutFolds: 0,
  cutWrites: 0,
  lostAnswers: 0,
  deleted: 0,
  busyFolds: 0,
  readBetween: 0,
});
let counts = newCounts();

interface Done {
  /** Null where the answer that said it was lost. */
  sequence: number | null;
  apply: (model: Model) => void;
}

async function play(turns: readonly Turn[]): Promise<void> {
  const runId = await rows.insertRun({ attempts: ATTEMPTS, startedAt: new Date(STARTED) });
  const model = createModel();
  /** What the run had at each sequence. */
  const states: Metrics[] = [[]];
  const taken = [0, 0, 0];
  const sent: { batch: { id: string; batch: number }; attempt: number; metrics: MetricColumns[] }[] = [];
  const nextNumber = (writer: number) => ({ id: `writer-${writer}`, batch: ++taken[writer]! });
  const written = ({ sequence, attempt, payload }: Appended, isKnown = true): Done => ({
    sequence: isKnown ? sequence : null,
    apply: (told) => told.write(attempt, asStored(payload)),
  });

  const change = async (one: Change, known: typeof sent): Promise<Done | null> => {
    if (one.kind === 'remove') {
      const { removal } = one;
      return { sequence: await appendRemoval(rows.pool, runId, removal), apply: (told) => told.remove(removal) };
    }
    if (one.kind === 'again') {
      const before = known[one.which % known.length];
      if (!before) return null;
      const { batch, attempt, metrics } = before;
      const { duplicate } = await append(rows.pool, runId, metrics, { attempt, writer: batch });
      expect(duplicate).toBe(true);
      return null;
    }
    const { attempt, metrics } = one;
    if (one.writer === null) return written(await append(rows.pool, runId, metrics, { attempt }));
    const batch = nextNumber(one.writer);
    const times = one.isTwice ? 2 : 1;
    const answers = await Promise.all(
      Array.from({ length: times }, () => append(rows.pool, runId, metrics, { attempt, writer: batch })),
    );
    const accepted = answers.filter(({ duplicate }) => !duplicate);
    expect(accepted).toHaveLength(1);
    sent.push({ batch, attempt, metrics });
    return written(accepted[0]!);
  };

  /** Whoever has no answer sends the batch again. */
  const cutWrite = async ({ attempt, metrics, when }: CutWrite): Promise<Done> => {
    const batch = nextNumber(2);
    const about = { attempt, writer: batch };
    const { result } = await cutOff(rows, { statement: 1, when }, (pool) => append(pool, runId, metrics, about));
    const again = await append(rows.pool, runId, metrics, { attempt, writer: batch });
    sent.push({ batch, attempt, metrics });
    if (result !== null) {
      expect([result.duplicate, again.duplicate]).toEqual([false, true]);
      return written(result);
    }
    counts.cutWrites++;
    if (again.duplicate) counts.lostAnswers++;
    return written({ ...again, attempt }, !again.duplicate);
  };

  const fold = async ({ cut, ...options }: Fold) => {
    const work = (pool = rows.pool) => foldRun(pool, runId, { ...options, log: silentLog });
    const { isCut, result } = cut === null ? { isCut: false, result: await work() } : await cutOff(rows, cut, work);
    if (isCut && result === null) counts.cutFolds++;
    else if (result === null) counts.busyFolds++;
    counts.deleted += result?.deleted ?? 0;
  };

  const check = ({ asked, found, expected, sequence }: Answer, from: number) => {
    const possible = sequence === null ? states.slice(from) : [states[sequence]!];
    if (sequence !== null) expect(sequence).toBeGreaterThanOrEqual(from);
    for (const metrics of possible.slice(0, -1)) {
      try {
        expect(found).toEqual(expected(metrics));
        counts.readBetween++;
        return;
      } catch {
        // Then it is one of those that follow.
      }
    }
    expect({ asked, found }).toEqual({ asked, found: expected(possible.at(-1)!) });
  };

  for (const { changes, cut, folds, questions } of turns) {
    const from = states.length - 1;
    const isStill = changes.length === 0 && cut === null;
    const done: Done[] = [];
    const answers: Answer[] = [];
    const known = [...sent];
    await allParts(
      ...changes.map((one) => async () => {
        const what = await change(one, known);
        if (what) done.push(what);
      }),
      ...(cut ? [async () => void done.push(await cutWrite(cut))] : []),
      ...folds.map((one) => () => fold(one)),
      ...questions.map((one) => async () => void answers.push(await ask(runId, one, states[from]!, isStill))),
    );
    const missing = done.map((_, at) => from + 1 + at).find((one) => done.every(({ sequence }) => sequence !== one));
    const inOrder = done.map((one) => ({ ...one, sequence: one.sequence ?? missing! }));
    inOrder.sort((a, b) => a.sequence - b.sequence);
    for (const { sequence, apply } of inOrder) {
      expect(sequence).toBe(states.length);
      apply(model);
      states.push(model.metrics.map((metric) => ({ ...metric, attempts: new Map(metric.attempts) })));
    }
    for (const answer of answers) check(answer, from);
    await expectJournal(runId, states.length - 1);
  }
  // Null as long as the database has not noticed that the connection of a fold is gone.
  while ((await foldRun(rows.pool, runId, { windowMs: HOUR_MS, log: silentLog }))?.hasMore !== false);
  await expectStored(rows.pool, runId, model);
}

/** From the oldest that is kept up to the head there is no hole, and what waits is counted. */
async function expectJournal(runId: string, head: number): Promise<void> {
  const { rows: found } = await rows.pool.query(
    `SELECT h.sequence AS head, f.folded <= h.sequence AND f.oldest_kept <= f.folded + 1 AS ordered,
            h.bytes - coalesce(f.bytes, 0) AS bytes, coalesce(f.oldest_kept, 1) AS oldest,
            (SELECT coalesce(sum(octet_length(payload)), 0) FROM journal j
             WHERE j.run_id = $1 AND j.sequence > coalesce(f.folded, 0)) AS waiting,
            ARRAY(SELECT sequence::int FROM journal j WHERE j.run_id = $1 ORDER BY sequence) AS sequences
     FROM run_head h LEFT JOIN fold f USING (run_id) WHERE h.run_id = $1`,
    [runId],
  );
  const { ordered, bytes, oldest, waiting, sequences } = found[0]!;
  expect(found[0]).toMatchObject({ head, bytes: Number(waiting) });
  expect(ordered ?? true).toBe(true);
  expect({ bytes, sequences }).toEqual({
    bytes: Number(waiting),
    sequences: Array.from({ length: head - oldest + 1 }, (_, at) => oldest + at),
  });
}

/** In full, twenty times as many as in small, or as many as come to an end in this time. */
const SOAK_MS = 5 * 60_000;

/**
 * One that fails is said as it was found; with the seed given it is made small, which takes a while. Answers what never
 * happened, which should be nothing.
 */
async function playAll(story: string, turns: fc.Arbitrary<Turn[]>, inSmall: number): Promise<string[]> {
  counts = newCounts();
  const { seed } = testRandom();
  const numRuns = inSmall * (SOAK ? 20 : 1);
  using _ = sayProgress(story, () => `${counts.plays} of ${numRuns}, ${counts.cutFolds} folds cut off`);
  const played = fc.asyncProperty(turns, async (one) => {
    await play(one);
    counts.plays++;
  });
  const limit = SOAK && !IS_REPLAY ? { interruptAfterTimeLimit: SOAK_MS } : {};
  await fc.assert(played, { seed, endOnFailure: !IS_REPLAY, numRuns, ...limit });
  return Object.entries(counts).flatMap(([what, count]) => (count > 0 ? [] : [what]));
}

const IS_REPLAY = Boolean(process.env.RUNTIDE_TEST_SEED);
const timeout = IS_REPLAY ? 3_600_000 : SOAK ? 2 * SOAK_MS : 120_000;

test('few points of any kind', { timeout }, async () => {
  const metrics = fc.array(anyFew, { minLength: 1, maxLength: 3 });
  const removal = fc
    .record({
      name: fc.constantFrom('loss', 'accuracy'),
      tag: fc.constantFrom('', 'train'),
      attempt: fc.option(anyAttempt),
      ends: fc.tuple(fc.option(anyStep), fc.option(anyStep)),
    })
    .map(({ ends: [one, other], ...rest }) => {
      const isReversed = one !== null && other !== null && one > other;
      return { ...rest, from: isReversed ? other : one, to: isReversed ? one : other };
    });
  expect(await playAll('few points', anyTurns(metrics, removal, [1, 200, 1_000_000], 12), 80)).toEqual([]);
});

test('long stretches', { timeout }, async () => {
  const metrics = anyLong.map((one) => [one]);
  const removal = fc
    .tuple(fc.constantFrom('loss', 'kept'), fc.option(anyAttempt), anyStretch, fc.integer({ min: 0, max: 60_000 }))
    .map(([name, attempt, { from }, length]) => ({ name, tag: '', attempt, from, to: from + length }));
  expect(await playAll('long stretches', anyTurns(metrics, removal, [1, 500_000, 4_000_000], 10), 30)).toEqual([]);
});
