// The fold of a run against a model of what its points are: whatever comes, in whatever portions it is folded.
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Removal } from '../../../src/metrics/codec/removal.ts';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { anyStep } from '../points.ts';
import { anyFew, anyLong, anyName, anyStretch, anyTag } from './logged.ts';
import { appendRemoval, asStored, createModel, type Model } from './model.ts';
import { expectStored } from './stored.ts';

const HOUR_MS = 3_600_000;

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const options = { windowMs: HOUR_MS, log: silentLog };

type Act =
  | { kind: 'write'; attempt: number; metrics: MetricColumns[] }
  | { kind: 'remove'; removal: Removal }
  | { kind: 'fold'; portionBytes: number };

async function play(runId: string, model: Model, acts: readonly Act[]): Promise<void> {
  for (const act of acts) {
    if (act.kind === 'write') {
      const { payload } = await append(rows.pool, runId, act.metrics, { attempt: act.attempt });
      model.write(act.attempt, asStored(payload));
    } else if (act.kind === 'remove') {
      await appendRemoval(rows.pool, runId, act.removal);
      model.remove(act.removal);
    } else await foldRun(rows.pool, runId, { ...options, portionBytes: act.portionBytes });
  }
}

async function foldAll(runId: string): Promise<void> {
  while ((await foldRun(rows.pool, runId, options))?.hasMore);
}

const anyAttempt = fc.integer({ min: 1, max: 3 });
const anyFold: fc.Arbitrary<Act> = fc.record({
  kind: fc.constant('fold' as const),
  portionBytes: fc.constantFrom(1, 200, 1_000_000),
});

describe('what is folded is what was logged', () => {
  const anyAct: fc.Arbitrary<Act> = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        attempt: anyAttempt,
        metrics: fc.array(anyFew, { minLength: 1, maxLength: 3 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('remove' as const),
        removal: fc.record({
          name: anyName,
          tag: anyTag,
          attempt: fc.option(anyAttempt),
          from: fc.option(anyStep),
          to: fc.option(anyStep),
        }),
      }),
    },
    { weight: 2, arbitrary: anyFold },
  );

  test('few points of any kind, several attempts, removals', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyAct, { minLength: 1, maxLength: 14 }), async (acts) => {
        const runId = await rows.insertRun({ attempts: 3 });
        const model = createModel();
        await play(runId, model, acts);
        await foldAll(runId);
        await expectStored(rows.pool, runId, model);
        expect(await foldRun(rows.pool, runId, options)).toMatchObject({ batches: 0, hasMore: false });
      }),
      { numRuns: 150 },
    );
  });

  const anyLarge: fc.Arbitrary<Act> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(anyLong, fc.integer({ min: 1, max: 2 }))
        .map(([metric, attempt]): Act => ({ kind: 'write', attempt, metrics: [metric] })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(
          fc.constantFrom('loss', 'loss', 'kept'),
          fc.option(anyAttempt),
          anyStretch,
          fc.integer({ min: 0, max: 60_000 }),
        )
        .map(([name, attempt, { from }, length]): Act => ({
          kind: 'remove',
          removal: { name, tag: '', attempt, from, to: from + length },
        })),
    },
    { weight: 4, arbitrary: fc.constant({ kind: 'fold' as const, portionBytes: 4_000_000 }) },
  );

  // Something to meet: pages at two levels, and repeats of one step that reach over segments.
  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
  const ground: Act[] = [
    { kind: 'write', attempt: 1, metrics: [columns('loss', upTo(100_000), upTo(100_000).map(Math.sin))] },
    {
      kind: 'write',
      attempt: 1,
      metrics: [
        columns(
          'kept',
          upTo(30_000).map((i) => Math.floor(i / 9_000)),
          upTo(30_000),
          { repeats: 'KEEP' },
        ),
      ],
    },
    { kind: 'fold', portionBytes: 10_000_000 },
  ];

  test('thousands of points in order, late, again and backwards, with their pages', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyLarge, { minLength: 1, maxLength: 10 }), async (acts) => {
        const runId = await rows.insertRun({ attempts: 2 });
        const model = createModel();
        await play(runId, model, [...ground, ...acts]);
        await foldAll(runId);
        await expectStored(rows.pool, runId, model);
        expect(await foldRun(rows.pool, runId, options)).toMatchObject({ batches: 0, hasMore: false });
      }),
      { numRuns: 20 },
    );
  }, 240_000);

  test('a removal that cuts two pages, and leaves both', async () => {
    const runId = await rows.insertRun();
    const model = createModel();
    const removal = { name: 'loss', tag: '', attempt: null, from: 30_001, to: 40_003 };
    await play(runId, model, [...ground, { kind: 'remove', removal }]);
    await foldAll(runId);
    await expectStored(rows.pool, runId, model);
    const { rows: pages } = await rows.pool.query(
      `SELECT page FROM rollup r JOIN metric m USING (run_id, metric) WHERE run_id = $1 AND name = 'loss'`,
      [runId],
    );
    expect(pages).toHaveLength(3);
  });

  test('a long metric batch by batch', async () => {
    const runId = await rows.insertRun();
    const model = createModel();
    for (let from = 0; from < 60_000; from += 1_500) {
      const steps = Array.from({ length: 1_500 }, (_, i) => from + i);
      const values = steps.map((step) => Math.fround(Math.sin(step)));
      await play(runId, model, [
        { kind: 'write', attempt: 1, metrics: [columns('loss', steps, values)] },
        { kind: 'fold', portionBytes: 1 },
      ]);
    }
    await expectStored(rows.pool, runId, model);
    const { rows: full } = await rows.pool.query('SELECT count FROM segment WHERE run_id = $1 ORDER BY first_step', [
      runId,
    ]);
    expect(full.slice(0, -1).every(({ count }) => count === 4096)).toBe(true);
  }, 60_000);
});
