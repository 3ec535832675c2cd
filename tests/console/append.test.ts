// Where text goes, and that it goes there once: cut anywhere, sent again, at once from several connections, packed
// meanwhile.
import * as fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { pack } from '../../src/console/pack.ts';
import { eraseRuns } from '../../src/runs/erase.ts';
import { createPool, transaction } from '../../src/db/pool.ts';
import { countSql } from '../support/count-sql.ts';
import { silentLog } from '../support/log.ts';
import { openRunRows, type RunRows } from '../support/run-rows.ts';
import { readPages, store, textsOf } from './written.ts';

let rows: RunRows;
let runId: string;
beforeAll(async () => {
  rows = await openRunRows();
});
beforeEach(async () => {
  runId = await rows.insertRun({ attempts: 2 });
});
afterAll(() => rows[Symbol.asyncDispose]());

const written = async () => textsOf(await readPages(rows.pool, runId));
const chunks = async () =>
  (
    await rows.pool.query<{ sequence: number; pieces: number; bytes: number }>(
      'SELECT sequence, pieces, bytes FROM console_chunk WHERE run_id = $1 ORDER BY sequence',
      [runId],
    )
  ).rows;

describe('an offset', () => {
  test('text is appended at the length, in bytes, with one statement', async () => {
    expect(await store(rows.pool, runId, 0, 'grüße ')).toMatchObject({ accepted: 8, length: 8, sequence: 1 });
    const { result, statements } = await countSql(rows.pool, () => store(rows.pool, runId, 8, '🙂\r\u001b[2K\0'));
    expect(result).toMatchObject({ accepted: 10, length: 18, sequence: 2 });
    expect(statements).toHaveLength(1);
    expect(await written()).toEqual({ '1 w STDOUT': 'grüße 🙂\r\u001b[2K\0' });
  });

  test('what is there already counts once, as a whole or in part', async () => {
    await store(rows.pool, runId, 0, 'one two');
    expect(await store(rows.pool, runId, 0, 'one two')).toMatchObject({ accepted: 0, length: 7, sequence: 1 });
    expect(await store(rows.pool, runId, 4, 'two')).toMatchObject({ accepted: 0, length: 7 });
    expect(await store(rows.pool, runId, 4, 'two three')).toMatchObject({ accepted: 6, length: 13, sequence: 2 });
    expect(await written()).toEqual({ '1 w STDOUT': 'one two three' });
  });

  test('one that is ahead is told where to go on', async () => {
    await store(rows.pool, runId, 0, 'one');
    await expect(store(rows.pool, runId, 4, 'x')).rejects.toMatchObject({ code: 'CONFLICT', details: { offset: 3 } });
    await expect(store(rows.pool, runId, 1, 'x', { writer: 'new' })).rejects.toMatchObject({ details: { offset: 0 } });
    expect(await written()).toEqual({ '1 w STDOUT': 'one' });
  });

  test('what is sent again in another form, so that a character would be cut, is refused', async () => {
    await store(rows.pool, runId, 0, 'ab');
    await expect(store(rows.pool, runId, 0, 'aüb')).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('each stream of each process in each attempt has its own', async () => {
    await store(rows.pool, runId, 0, 'out');
    await store(rows.pool, runId, 0, 'err', { stream: 'STDERR' });
    await store(rows.pool, runId, 0, 'other', { writer: 'v' });
    await store(rows.pool, runId, 0, 'again', { attempt: 2 });
    expect(await written()).toEqual({
      '1 w STDOUT': 'out',
      '1 w STDERR': 'err',
      '1 v STDOUT': 'other',
      '2 w STDOUT': 'again',
    });
    await expect(store(rows.pool, runId, 0, 'x', { attempt: 3 })).rejects.toMatchObject({
      details: { field: 'attempt' },
    });
  });

  test('half a pair is one character of three bytes, on whichever side of a cut', async () => {
    await store(rows.pool, runId, 0, 'a\ud83d');
    await store(rows.pool, runId, 4, '\ude42b');
    expect(await written()).toEqual({ '1 w STDOUT': 'a\ufffd\ufffdb' });
  });
});

test('cut anywhere, sent again in other cuts, at once from two connections: what was written is there, once', async () => {
  const other = createPool({ connectionString: rows.databaseUrl, size: 4, log: silentLog });
  const text = fc.array(fc.constantFrom('a', 'bc\n', 'ü', '🙂', '\0', '\r', '\u001b[31m', 'x'.repeat(40)), {
    minLength: 1,
    maxLength: 60,
  });
  const cuts = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 20 });
  let conflicts = 0;
  let repeats = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(text, cuts, cuts), { minLength: 1, maxLength: 3 }), async (sources) => {
        const id = await rows.insertRun();
        // Sends the whole in pieces of its own, some of them twice, and goes back or on where it is told to.
        const send = async (pool: typeof other, writer: string, characters: string[], sizes: number[]) => {
          let [at, turn] = [0, 0];
          const offsetOf = (index: number) => Buffer.byteLength(characters.slice(0, index).join(''));
          while (at < characters.length) {
            const size = sizes[turn++ % sizes.length]!;
            const piece = characters.slice(at, at + size).join('');
            const sent = await store(pool, id, offsetOf(at), piece, { writer }).catch((error: { code: string }) => {
              if (error.code !== 'CONFLICT') throw error;
              conflicts++;
              return null;
            });
            if (sent?.accepted === 0) repeats++;
            if (sent === null) at = 0;
            else if (turn % 3 !== 0) at += size;
          }
        };
        const packing = pack(rows.pool, id);
        await Promise.all([
          ...sources.flatMap(([characters, one, two], index) => [
            send(rows.pool, `w${index}`, characters, one),
            send(other, `w${index}`, characters, two),
          ]),
          packing,
        ]);
        await pack(other, id);
        const wanted = sources.map(([characters], index) => [`1 w${index} STDOUT`, characters.join('')]);
        expect(textsOf(await readPages(other, id))).toEqual(Object.fromEntries(wanted));
      }),
      { numRuns: 40 },
    );
  } finally {
    await other.end();
  }
  expect(repeats).toBeGreaterThan(0);
  expect(conflicts).toBeGreaterThanOrEqual(0);
}, 60_000);

test('a run has so much at the most: what would be more is refused, and a repetition of what is there is not', async () => {
  const mostBytes = 10;
  await store(rows.pool, runId, 0, '123456', { mostBytes });
  await store(rows.pool, runId, 0, '789', { mostBytes, writer: 'v' });
  await expect(store(rows.pool, runId, 6, '78', { mostBytes })).rejects.toThrow(
    "the console output of a run may have 10 bytes (consoleBytes of the server's limits): this one has 9",
  );
  expect(await store(rows.pool, runId, 0, '123456', { mostBytes })).toMatchObject({ accepted: 0, length: 6 });
  // Of what is half there the rest counts.
  expect(await store(rows.pool, runId, 5, '67', { mostBytes })).toMatchObject({ accepted: 1, length: 7 });
  expect(await written()).toEqual({ '1 w STDOUT': '1234567', '1 v STDOUT': '789' });
});

test('many at once for the last bytes: no more than there is room for', async () => {
  const sent = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => store(rows.pool, runId, 0, '12345', { writer: `w${n}`, mostBytes: 42 })),
  );
  expect(sent.filter(({ status }) => status === 'fulfilled')).toHaveLength(8);
});

describe('packed', () => {
  test('many small pieces become few rows, whoever does it, and nothing that is read changes', async () => {
    let length = 0;
    for (let n = 0; n < 300; n++) ({ length } = await store(rows.pool, runId, length, `${n} ${'x'.repeat(n)}\n`));
    await store(rows.pool, runId, 0, 'y'.repeat(70_000), { stream: 'STDERR' });
    await store(rows.pool, runId, length, 'the end');
    const before = await readPages(rows.pool, runId, { first: 100 });
    expect(await chunks()).toHaveLength(302);
    await Promise.all([pack(rows.pool, runId), pack(rows.pool, runId), pack(rows.pool, runId)]);
    await pack(rows.pool, runId);
    // The large one was full from the beginning, and what stands behind it waits for more.
    expect(await chunks()).toMatchObject([{ sequence: 300, pieces: 300 }, { sequence: 301 }, { sequence: 302 }]);
    expect(await readPages(rows.pool, runId, { first: 100 })).toEqual(before);
    const { rows: sizes } = await rows.pool.query<{ size: number }>(
      'SELECT sum(octet_length(payload)) AS size FROM console_chunk WHERE run_id = $1',
      [runId],
    );
    expect(Number(sizes[0]?.size)).toBeLessThan(10_000);
  });

  test('appends say when there is enough to do', async () => {
    const said: boolean[] = [];
    let length = 0;
    for (let n = 1; n <= 256; n++) {
      const sent = await store(rows.pool, runId, length, 'x');
      ({ length } = sent);
      said.push(sent.isPackable);
    }
    expect(said.indexOf(true)).toBe(255);
    expect((await store(rows.pool, runId, length, 'y'.repeat(65_536))).isPackable).toBe(true);
  });

  test('a run that is erased meanwhile leaves nothing', async () => {
    for (let round = 0; round < 5; round++) {
      const id = await rows.insertRun();
      for (let n = 0; n < 20; n++) await store(rows.pool, id, n, 'x');
      await Promise.all([pack(rows.pool, id), transaction(rows.pool, (client) => eraseRuns(client, [id]))]);
      for (const table of ['console_chunk', 'console_writer']) {
        const { rowCount } = await rows.pool.query(`SELECT 1 FROM ${table} WHERE run_id = $1`, [id]);
        expect(rowCount).toBe(0);
      }
    }
  });
});

test('what is damaged is left out and counted, and holds back nothing', async () => {
  for (const [offset, text] of ['a', 'b', 'c'].entries()) await store(rows.pool, runId, offset, text);
  await rows.pool.query('UPDATE console_chunk SET payload = $2 WHERE run_id = $1 AND sequence = 2', [
    runId,
    Buffer.from('damaged'),
  ]);
  for (const fromEnd of [false, true]) {
    const [page] = await readPages(rows.pool, runId, { fromEnd });
    expect(page?.pieces.map(({ text }) => text)).toEqual(['a', 'c']);
    expect(page?.damaged).toBe(1);
  }
});

test('many write at once while it is packed: nobody waits in a circle', async () => {
  const writers = Array.from({ length: 6 }, async (_, n) => {
    for (let offset = 0; offset < 150; offset++) await store(rows.pool, runId, offset, 'x', { writer: `w${n}` });
  });
  let isOver = false;
  const packing = (async () => {
    while (!isOver) await pack(rows.pool, runId);
  })();
  await Promise.all(writers).finally(() => (isOver = true));
  await packing;
  const texts = await written();
  expect(Object.values(texts)).toEqual(Array.from({ length: 6 }, () => 'x'.repeat(150)));
});
