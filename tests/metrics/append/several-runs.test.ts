// Batches of several runs that come at once and go in one commit: none gets another's answer, none waits for another.
import * as fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool } from '../../../src/db/pool.ts';
import type { RuntideError } from '../../../src/errors.ts';
import { decodeColumns } from '../../../src/metrics/codec/columns.ts';
import { readHeads } from '../../../src/metrics/heads.ts';
import { countSql } from '../../support/count-sql.ts';
import { silentLog } from '../../support/log.ts';
import { testRandom } from '../../support/random.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { content, storedOf, upTo } from './accepted.ts';

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const send = (runId: string, writer: string, batch: number) =>
  append(rows.pool, runId, content(0, batch), { writer: { id: writer, batch } });
const stored = (runId: string) => storedOf(rows.pool, runId);

describe('batches of several runs at once', () => {
  test('are one commit, and each gets its own answer, whatever its neighbours get', async () => {
    const runIds = await Promise.all(upTo(12).map(() => rows.insertRun()));
    const [duplicate, ahead, ended, ...fine] = runIds as [string, string, string, ...string[]];
    await send(duplicate, 'w', 1);
    await rows.pool.query('DELETE FROM run_head WHERE run_id = $1', [ended]);
    const { result, statements } = await countSql(rows.pool, () =>
      Promise.allSettled([
        ...fine.map((runId) => send(runId, 'w', 1)),
        send(duplicate, 'w', 1),
        send(ahead, 'w', 65),
        send(ended, 'w', 1),
      ]),
    );
    expect(result.slice(0, 9)).toMatchObject(
      fine.map(() => ({ status: 'fulfilled', value: { duplicate: false, sequence: 1 } })),
    );
    expect(result.slice(9)).toMatchObject([
      { status: 'fulfilled', value: { duplicate: true, sequence: 1 } },
      { status: 'rejected', reason: { code: 'CONFLICT' } },
      { status: 'rejected', reason: { code: 'NOT_FOUND' } },
    ]);
    // One that writes, one that looks once more for the head that is not there; and for each of the last three, why it
    // was not taken.
    expect(statements.filter((text) => text.includes('INSERT INTO journal'))).toHaveLength(2);
    expect(statements).toHaveLength(5);
    for (const runId of fine) expect(await stored(runId)).toMatchObject({ sequences: [1], values: [1], head: 1 });
    expect(await stored(ahead)).toMatchObject({ sequences: [], head: 0 });
  });

  test('of two processes, in groups of any make-up: each is answered by itself, and stored once or not at all', async () => {
    const other = createPool({ connectionString: rows.databaseUrl, size: 10, log: silentLog });
    const one = fc.record({
      process: fc.integer({ min: 0, max: 1 }),
      /** The last one does not exist. */
      run: fc.integer({ min: 0, max: 4 }),
      writer: fc.constantFrom(null, 'v', 'w'),
      batch: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 6 }) }, fc.constant(1_000)),
      attempt: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(null, 1) }, fc.constant(2)),
      /** The larger ones go alone. */
      points: fc.constantFrom(1, 1, 1, 1_000),
    });
    const rounds = fc.array(fc.array(one, { minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(rounds, async (sent) => {
      const runIds = [...(await Promise.all(upTo(4).map(() => rows.insertRun()))), uuidv7()];
      const taken = new Set<string>();
      const accepted = new Map(runIds.map((runId) => [runId, [] as [sequence: number, value: number][]]));
      let value = 0;
      for (const round of sent) {
        const right: string[] = [];
        const answers = round.map(async ({ process, run, writer, batch, attempt, points }) => {
          const refusal =
            run === 4 ? 'NOT_FOUND' : attempt === 2 ? 'INVALID_INPUT' : writer && batch === 1_000 ? 'CONFLICT' : null;
          // Whichever of the same number it is, one of them is taken.
          const key = `run ${run}, ${writer} ${batch}${refusal ? ', wrong' : ''}`;
          const isNew = writer === null || !taken.has(key);
          taken.add(key);
          right.push(`${key}: ${refusal ?? (isNew ? 'taken' : 'duplicate')}`);
          const values = upTo(points).map(() => Math.sin(++value));
          try {
            const rest = { writer: writer === null ? null : { id: writer, batch }, attempt };
            const content = [columns('loss', upTo(points), values)];
            const { duplicate, sequence } = await append([rows.pool, other][process]!, runIds[run]!, content, rest);
            if (!duplicate) accepted.get(runIds[run]!)!.push([sequence, values[0]!]);
            return `${key}: ${duplicate ? 'duplicate' : 'taken'}`;
          } catch (error) {
            return `${key}: ${(error as RuntideError).code}`;
          }
        });
        expect((await Promise.all(answers)).toSorted()).toEqual(right.toSorted());
      }
      for (const runId of runIds.slice(0, 4)) {
        const { rows: journal } = await rows.pool.query<{ sequence: number; payload: Buffer }>(
          'SELECT sequence, payload FROM journal WHERE run_id = $1 ORDER BY sequence',
          [runId],
        );
        expect(journal.map(({ sequence }) => sequence)).toEqual(upTo(journal.length));
        expect(journal.map(({ sequence, payload }) => [sequence, decodeColumns(payload)[0]!.values[0]])).toEqual(
          accepted.get(runId)!.toSorted(([one], [two]) => one - two),
        );
        expect((await readHeads(rows.pool, [runId])).get(runId)!.sequence).toBe(journal.length);
      }
    });
    try {
      await fc.assert(property, { numRuns: 60 });
    } finally {
      await other.end();
    }
  });

  test('wait for nobody: one whose head somebody else has goes on alone', async () => {
    const runIds = await Promise.all(upTo(5).map(() => rows.insertRun()));
    const holder = await rows.pool.connect();
    try {
      await holder.query('BEGIN');
      await holder.query('SELECT 1 FROM run_head WHERE run_id = $1 FOR UPDATE', [runIds[0]]);
      const [held, ...others] = runIds.map((runId) => send(runId, 'w', 1));
      expect(await Promise.all(others)).toMatchObject(others.map(() => ({ duplicate: false, sequence: 1 })));
      await holder.query('COMMIT');
      expect(await held).toMatchObject({ duplicate: false, sequence: 1 });
    } finally {
      holder.release();
    }
  });

  test('sent by two processes to the same runs, in any order, do not wait in a circle', async () => {
    const random = testRandom();
    const runIds = await Promise.all(upTo(8).map(() => rows.insertRun()));
    const pools = [0, 1].map(() => createPool({ connectionString: rows.databaseUrl, size: 6, log: silentLog }));
    try {
      await Promise.all(
        pools.map(async (pool, writer) => {
          for (const batch of upTo(40))
            await Promise.all(
              random
                .shuffled(runIds)
                .map((runId) => append(pool, runId, content(writer, batch), { writer: { id: `w${writer}`, batch } })),
            );
        }),
      );
      for (const runId of runIds) expect((await stored(runId)).sequences).toEqual(upTo(80));
    } finally {
      for (const pool of pools) await pool.end();
    }
  });
});
