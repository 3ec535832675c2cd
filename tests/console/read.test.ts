// Pages of console output from either end, by source and by text: compared with the same done to all pieces in memory.
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { pack } from '../../src/console/pack.ts';
import { type ConsoleRequest, readConsoles } from '../../src/console/read.ts';
import { countSql } from '../support/count-sql.ts';
import { openRunRows, type RunRows } from '../support/run-rows.ts';
import { EVERYTHING, readPages, store } from './written.ts';

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const sources = [
  { writer: 'a', stream: 'STDOUT', attempt: 1 },
  { writer: 'a', stream: 'STDERR', attempt: 1 },
  { writer: 'b', stream: 'STDOUT', attempt: 2 },
] as const;

/** Pieces of several sources by turns, some of them packed. */
async function write(texts: readonly [source: number, text: string][], packAt: number): Promise<string> {
  const runId = await rows.insertRun({ attempts: 2 });
  const lengths = [0, 0, 0];
  for (const [index, [source, text]] of texts.entries()) {
    const { length } = await store(rows.pool, runId, lengths[source]!, text, sources[source]);
    lengths[source] = length;
    if (index === packAt) await pack(rows.pool, runId);
  }
  return runId;
}

const pieces = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 2 }), fc.constantFrom('Epoch 1', 'loss', ' ep', 'OCH', 'e', 'p\n', 'ö🙂')),
  { minLength: 1, maxLength: 40 },
);
const request: fc.Arbitrary<Partial<ConsoleRequest>> = fc.record(
  {
    first: fc.integer({ min: 1, max: 50 }),
    fromEnd: fc.boolean(),
    stream: fc.constantFrom('STDOUT' as const, 'STDERR' as const, null),
    writer: fc.constantFrom('a', 'b', 'nobody', null),
    attempt: fc.constantFrom(1, 2, null),
    search: fc.constantFrom('epoch', 'EP', 'o', 'Ö', 'nothing of it', null),
  },
  { requiredKeys: ['first', 'fromEnd'] },
);

test('whatever is asked for, its pages have all of it, once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(pieces, fc.integer({ min: -1, max: 40 }), request, async (texts, packAt, asked) => {
      const runId = await write(texts, packAt);
      const before = new Map<number, string>();
      const wanted = texts.flatMap(([source, text], index) => {
        const { writer, stream, attempt } = sources[source]!;
        const all = (before.get(source) ?? '') + text;
        const needle = asked.search?.toLowerCase();
        const from = Math.max(0, all.length - text.length - (needle?.length ?? 0) + 1);
        before.set(source, all);
        const isFound =
          (asked.writer ?? writer) === writer &&
          (asked.stream ?? stream) === stream &&
          (asked.attempt ?? attempt) === attempt &&
          (needle === undefined || all.toLowerCase().slice(from).includes(needle));
        return isFound ? [index + 1] : [];
      });
      const pages = await readPages(rows.pool, runId, asked);
      for (const page of pages) expect(page.pieces.length).toBeLessThanOrEqual(asked.first ?? Infinity);
      if (asked.fromEnd) pages.reverse();
      expect(pages.flatMap((page) => page.pieces.map(({ sequence }) => sequence))).toEqual(wanted);
    }),
    { numRuns: 120 },
  );
}, 120_000);

describe('a page', () => {
  test('is bounded by bytes, and has one piece at least', async () => {
    const text = 'x'.repeat(limits.consoleTextBytes);
    const runId = await write(
      [
        [0, text],
        [0, text],
        [0, text],
        [0, 'y'],
        [0, text],
      ],
      9,
    );
    for (const fromEnd of [false, true]) {
      const pages = await readPages(rows.pool, runId, { fromEnd });
      expect(pages.map((page) => page.pieces.length)).toEqual(fromEnd ? [4, 1] : [4, 1]);
    }
  });

  test('from the end has the last ones, and what comes behind it is what came since', async () => {
    const runId = await write(
      [
        [0, '1'],
        [0, '2'],
        [1, '3'],
        [0, '4'],
      ],
      2,
    );
    const [page] = await readConsoles(rows.pool, [runId], { ...EVERYTHING, first: 2, fromEnd: true });
    expect(page).toMatchObject({
      pieces: [
        { text: '3', sequence: 3 },
        { text: '4', sequence: 4 },
      ],
      startCursor: 3,
      endCursor: 4,
      hasPreviousPage: true,
      hasNextPage: false,
      byteSize: 4,
    });
    await store(rows.pool, runId, 3, '5', sources[0]);
    const [after] = await readConsoles(rows.pool, [runId], { ...EVERYTHING, after: page!.endCursor });
    expect(after?.pieces.map(({ text }) => text)).toEqual(['5']);
    const [between] = await readConsoles(rows.pool, [runId], { ...EVERYTHING, after: 1, before: 4 });
    expect(between).toMatchObject({
      pieces: [{ text: '2' }, { text: '3' }],
      startCursor: 2,
      endCursor: 3,
      hasNextPage: true,
    });
  });

  test('of nothing is empty and goes on', async () => {
    const runId = await rows.insertRun();
    for (const fromEnd of [false, true])
      expect(await readConsoles(rows.pool, [runId], { ...EVERYTHING, fromEnd })).toEqual([
        {
          pieces: [],
          startCursor: 1,
          endCursor: 0,
          hasPreviousPage: false,
          hasNextPage: false,
          damaged: 0,
          byteSize: 0,
        },
      ]);
  });

  test('of each of many runs is one statement', async () => {
    const runIds = await Promise.all([1, 2, 3, 4].map((n) => write([[0, `run ${n}`]], 9)));
    const { result, statements } = await countSql(rows.pool, () =>
      readConsoles(rows.pool, runIds, { ...EVERYTHING, first: 10 }),
    );
    expect(result.map((page) => page.pieces[0]?.text)).toEqual(['run 1', 'run 2', 'run 3', 'run 4']);
    expect(statements).toHaveLength(1);
  });

  test('after above before is refused, and so is a search for nothing', async () => {
    const runId = await rows.insertRun();
    const read = (asked: Partial<ConsoleRequest>) => readConsoles(rows.pool, [runId], { ...EVERYTHING, ...asked });
    await expect(read({ after: 5, before: 5 })).rejects.toMatchObject({ details: { field: 'after' } });
    await expect(read({ search: '' })).rejects.toMatchObject({ details: { field: 'search' } });
  });
});

test('a long console is looked through a part at a time, and every part says where to go on', async () => {
  const runId = await rows.insertRun();
  const text = `${'x'.repeat(limits.consoleTextBytes - 2)}\n`;
  let length = 0;
  // A little more than is looked at for one page.
  const count = Math.ceil(limits.consoleSearchBytes / text.length) + 10;
  for (let n = 0; n < count; n++)
    ({ length } = await store(rows.pool, runId, length, n === count - 2 ? `${text}Needle` : text));
  for (const fromEnd of [false, true]) {
    const pages = await readPages(rows.pool, runId, { search: 'nEEdle', fromEnd });
    expect(pages.map((page) => page.pieces.length)).toEqual(fromEnd ? [1, 0] : [0, 1]);
  }
}, 60_000);
