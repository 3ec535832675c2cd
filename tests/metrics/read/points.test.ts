// Pages of points whose metadata is large: they end early, so that memory is bounded, and go on exactly where they ended.
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { limits } from '../../../src/access/limits.ts';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { type PointsOrder, type PointsPage, type PointsRequest, readPoints } from '../../../src/metrics/read/points.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { createModel } from '../fold/model.ts';
import { plainPage, pointsOf, type Row } from './model.ts';

const ORDERS: PointsOrder[] = ['STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'];

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

function ask(runId: string, rest: Partial<PointsRequest> = {}): PointsRequest {
  const none = { attempt: null, from: null, to: null, after: null };
  return { runId, name: 'loss', tag: '', orderBy: 'STEP_ASC', first: limits.pointsPageSize, ...none, ...rest };
}

async function pageOf(request: PointsRequest, metadataBytes?: number): Promise<PointsPage> {
  const [page] = await readPoints(rows.pool, [request], undefined, metadataBytes);
  if (page instanceof Error) throw page;
  return page!;
}

async function* pagesOf(request: PointsRequest, metadataBytes?: number): AsyncGenerator<PointsPage> {
  for (let after: string | null = null; ;) {
    const page = await pageOf({ ...request, after }, metadataBytes);
    yield page;
    if (!page.hasNextPage) return;
    after = page.endCursor;
  }
}

async function fold(runId: string): Promise<void> {
  while ((await foldRun(rows.pool, runId, { windowMs: 0, log: silentLog }))?.hasMore);
}

const bytesOf = (metadata: unknown) => (metadata === null ? 0 : Buffer.byteLength(JSON.stringify(metadata)));
const bytesOn = (page: PointsPage) => (page.metadata ?? []).reduce((sum, one) => sum + bytesOf(one), 0);

test('three thousand points with 16 KB each come on pages of 16 MiB at the most', { timeout: 60_000 }, async () => {
  const runId = await rows.insertRun();
  const text = '測'.repeat((limits.metadataBytes - 20) / 3);
  for (let first = 0; first < 3_000; first += 500) {
    const steps = Array.from({ length: 500 }, (_, at) => first + at);
    const metadata = steps.map((at) => ({ at, text }));
    await append(rows.pool, runId, [columns('loss', steps, steps, { metadata })]);
    if (first < 2_500) await fold(runId);
  }
  for (const orderBy of ORDERS) {
    const found: number[] = [];
    const lengths: number[] = [];
    for await (const page of pagesOf(ask(runId, { orderBy }))) {
      expect(page.totalCount).toBe(3_000);
      expect(bytesOn(page)).toBeLessThanOrEqual(16 * 1024 * 1024);
      expect(page.metadata!.every((one, at) => one?.at === page.steps[at])).toBe(true);
      found.push(...page.steps);
      lengths.push(page.steps.length);
    }
    const expected = Array.from({ length: 3_000 }, (_, at) => at);
    expect(found).toEqual(orderBy.endsWith('ASC') ? expected : expected.toReversed());
    expect(lengths).toEqual([1_024, 1_024, 952]);
  }
});

test('pages of several runs share the room, and each of them has a point', async () => {
  const metadata = [1, 2, 3, 4].map((at) => ({ text: `${at}`.repeat(1_000) }));
  const runIds = await Promise.all([rows.insertRun(), rows.insertRun()]);
  for (const runId of runIds)
    await append(rows.pool, runId, [columns('loss', [1, 2, 3, 4], [1, 2, 3, 4], { metadata })]);
  const stepsIn = async (metadataBytes: number) => {
    const asked = runIds.map((runId) => ask(runId));
    const pages = await readPoints(rows.pool, asked, undefined, metadataBytes);
    return pages.map((page) => [...(page as PointsPage).steps]);
  };
  expect(await stepsIn(100_000)).toEqual([
    [1, 2, 3, 4],
    [1, 2, 3, 4],
  ]);
  expect(await stepsIn(4 * bytesOf(metadata[0]))).toEqual([
    [1, 2],
    [1, 2],
  ]);
  expect(await stepsIn(1)).toEqual([[1], [1]]);
});

/** Few steps and times, so that many points share both; some carry so much that a segment has room for few of them. */
const anyColumns: fc.Arbitrary<MetricColumns> = fc
  .record({
    repeats: fc.constantFrom('REPLACE' as const, 'KEEP' as const, 'KEEP' as const),
    points: fc.array(
      fc.record({
        step: fc.integer({ min: 0, max: 3 }),
        time: fc.integer({ min: 0, max: 2 }),
        value: fc.integer({ min: 0, max: 50 }),
        letters: fc.constantFrom(null, 0, 0, 10, 10, 500, 100_000),
      }),
      { minLength: 1, maxLength: 20 },
    ),
  })
  .map(({ repeats, points }) => ({
    name: repeats,
    tag: '',
    repeats,
    steps: Float64Array.from(points, ({ step }) => step),
    times: Float64Array.from(points, ({ time }) => time),
    values: Float64Array.from(points, ({ value }) => value),
    metadata: points.map(({ letters, value }) => (letters === null ? null : { value, text: 'x'.repeat(letters) })),
  }));

/** One page after the other, each as full as it may be. */
function paged(list: readonly Row[], first: number, room: number): Row[][] {
  const pages: Row[][] = [[]];
  let bytes = 0;
  for (const row of list) {
    const page = pages.at(-1)!;
    bytes += bytesOf(row.metadata);
    if (page.length === first || (page.length > 0 && bytes > room)) {
      pages.push([row]);
      bytes = bytesOf(row.metadata);
    } else page.push(row);
  }
  return pages;
}

test('whatever the room, pages put together are the whole', { timeout: 120_000 }, async () => {
  const write = fc.record({
    attempt: fc.constantFrom(1, 1, 2),
    metric: anyColumns,
    isFolded: fc.boolean(),
  });
  const question = fc.record({
    name: fc.constantFrom('REPLACE', 'KEEP', 'KEEP'),
    attempt: fc.constantFrom(null, 1, 2),
    first: fc.constantFrom(1, 2, 3, 7, 1_000),
    room: fc.oneof(fc.constantFrom(0, 1, 50, 200_000, 1_000_000), fc.integer({ min: 0, max: 2_000 })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(write, { minLength: 1, maxLength: 4 }),
      fc.array(question, { minLength: 1, maxLength: 2 }),
      async (writes, questions) => {
        const runId = await rows.insertRun({ attempts: 2 });
        const model = createModel();
        for (const { attempt, metric, isFolded } of writes) {
          await append(rows.pool, runId, [metric], { attempt });
          model.write(attempt, [metric]);
          if (isFolded) await fold(runId);
        }
        for (const { first, room, ...rest } of questions)
          for (const orderBy of ORDERS) {
            const asked = { ...ask(runId, { first, orderBy, ...rest }) };
            const all = pointsOf(model.metrics, asked);
            const expected = paged(all, first, room);
            const found: unknown[] = [];
            for await (const page of pagesOf(asked, room)) found.push(plainPage(page));
            expect({ asked, room, found }).toEqual({
              asked,
              room,
              found: expected.map((page, at) => ({
                rows: page,
                totalCount: all.length,
                hasNextPage: at < expected.length - 1,
              })),
            });
          }
      },
    ),
    { numRuns: 60 },
  );
});
