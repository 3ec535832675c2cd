// The append against a model of what it promises: a writer's window, one sequence a batch, nothing by halves.
import * as fc from 'fast-check';
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool, isUnavailable } from '../../../src/db/pool.ts';
import { RuntideError } from '../../../src/errors.ts';
import { WINDOW } from '../../../src/metrics/append/append.ts';
import { decodeColumns } from '../../../src/metrics/codec/columns.ts';
import { readHeads } from '../../../src/metrics/heads.ts';
import { silentLog } from '../../support/log.ts';
import { createRandom, testRandom } from '../../support/random.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { content, storedOf, upTo } from './accepted.ts';

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const send = (runId: string, writer: string, batch: number) =>
  append(rows.pool, runId, content(0, batch), { writer: { id: writer, batch } });

const stored = (runId: string, pool: pg.Pool = rows.pool) => storedOf(pool, runId);

async function codeOf(work: Promise<unknown>): Promise<RuntideError> {
  const thrown: unknown = await work.then(
    () => new Error('it was accepted'),
    (error: unknown) => error,
  );
  if (!(thrown instanceof RuntideError)) throw thrown;
  return thrown;
}

const NONE = '0'.repeat(WINDOW);

test('a writer alone is answered as the window says, number by number', async () => {
  const number = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 12 }) },
    { weight: 2, arbitrary: fc.integer({ min: WINDOW - 1, max: WINDOW + 4 }) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 2 * WINDOW + 2 }) },
    { weight: 1, arbitrary: fc.constantFrom(2 ** 31, 2 ** 31 + 63, Number.MAX_SAFE_INTEGER) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(number, { minLength: 1, maxLength: 60 }), async (numbers) => {
      const runId = await rows.insertRun();
      const accepted = new Set<number>();
      for (const batch of numbers) {
        const base = upTo(2 * WINDOW + 100).find((one) => !accepted.has(one))!;
        const isTooFar = batch >= base + WINDOW;
        const isNew = !isTooFar && !accepted.has(batch);
        if (isNew) accepted.add(batch);
        const answer = await send(runId, 'w', batch).catch((error: RuntideError) => error);
        expect(answer).toMatchObject(
          isTooFar
            ? { code: 'CONFLICT', details: { field: 'batch', base } }
            : { duplicate: !isNew, sequence: accepted.size },
        );
      }
      const { sequences, values, head } = await stored(runId);
      expect(sequences).toEqual(upTo(accepted.size));
      expect(head).toBe(accepted.size);
      expect(values).toEqual([...accepted]);
    }),
    { numRuns: 25 },
  );
});

test('several writers, numbers shuffled and repeated, all at once: each batch is accepted exactly once', async () => {
  const writer = fc.record({
    batches: fc.integer({ min: 1, max: 150 }),
    repeats: fc.integer({ min: 1, max: 5 }),
    inFlight: fc.integer({ min: 1, max: 20 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(writer, { minLength: 1, maxLength: 4 }), fc.nat(), async (writers, seed) => {
      const random = createRandom(seed);
      const runId = await rows.insertRun();
      const accepted = new Map<string, number>();
      const sequences: number[] = [];
      let conflicts = 0;
      await Promise.all(
        writers.map(async ({ batches, repeats, inFlight }, index) => {
          const id = `writer-${index}`;
          const queue = random.shuffled(upTo(batches).flatMap((batch) => Array<number>(repeats).fill(batch)));
          const deliver = async () => {
            for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
              try {
                const answer = await append(rows.pool, runId, content(index, batch), { writer: { id, batch } });
                if (answer.duplicate) continue;
                accepted.set(`${id} ${batch}`, (accepted.get(`${id} ${batch}`) ?? 0) + 1);
                sequences.push(answer.sequence);
              } catch (error) {
                if (!(error instanceof RuntideError) || error.code !== 'CONFLICT') throw error;
                // Too far ahead: what is missing goes first, this one waits its turn.
                const base = error.details.base!;
                if (base > batch - WINDOW)
                  throw new Error(`${batch} is not above the window of ${base}`, { cause: error });
                conflicts++;
                queue.push(batch);
                const missing = queue.indexOf(base);
                if (missing > 0) queue.unshift(...queue.splice(missing, 1));
              }
            }
          };
          await Promise.all(Array.from({ length: inFlight }, deliver));
        }),
      );
      const total = writers.reduce((sum, { batches }) => sum + batches, 0);
      // Nobody is refused who cannot have left the window.
      expect(conflicts === 0 || writers.some(({ batches }) => batches > WINDOW)).toBe(true);
      expect([...accepted.values()]).toEqual(Array(total).fill(1));
      expect(sequences.toSorted((a, b) => a - b)).toEqual(upTo(total));
      const found = await stored(runId);
      expect(found.sequences).toEqual(upTo(total));
      expect(found.head).toBe(total);
      expect(found.values.toSorted((a, b) => a - b)).toEqual(
        writers.flatMap(({ batches }, index) => upTo(batches).map((batch) => index * 10_000 + batch)),
      );
      expect(found.writers).toEqual(
        writers.map(({ batches }, index) => ({ writer: `writer-${index}`, base: batches + 1, accepted: NONE })),
      );
    }),
    { numRuns: 12 },
  );
});

describe('the window', () => {
  test('a writer may begin with 64, and not with 65', async () => {
    const runId = await rows.insertRun();
    expect(await codeOf(send(runId, 'late', 65))).toMatchObject({ code: 'CONFLICT', details: { base: 1 } });
    expect(await send(runId, 'late', 64)).toMatchObject({ duplicate: false, sequence: 1 });
    expect((await codeOf(send(runId, 'late', 65))).message).toBe(
      'batch 65 is too far ahead: send batch 1 first (up to 64 may be under way)',
    );
    expect((await stored(runId)).writers).toEqual([{ writer: 'late', base: 1, accepted: `${'0'.repeat(63)}1` }]);
  });

  test('1 after 2 to 64 moves it past all of them, and it ends 63 behind its base', async () => {
    const runId = await rows.insertRun();
    for (const batch of upTo(64).slice(1)) await send(runId, 'w', batch);
    expect((await stored(runId)).writers).toEqual([{ writer: 'w', base: 1, accepted: `0${'1'.repeat(63)}` }]);
    expect(await send(runId, 'w', 1)).toMatchObject({ duplicate: false, sequence: 64 });
    expect((await stored(runId)).writers).toEqual([{ writer: 'w', base: 65, accepted: NONE }]);
    expect(await codeOf(send(runId, 'w', 129))).toMatchObject({ details: { base: 65 } });
    expect(await send(runId, 'w', 128)).toMatchObject({ duplicate: false });
    expect(await send(runId, 'w', 65)).toMatchObject({ duplicate: false });
    expect(await send(runId, 'w', 129)).toMatchObject({ duplicate: false });
    expect(await send(runId, 'w', 1)).toMatchObject({ duplicate: true, sequence: 67 });
    expect((await stored(runId)).writers).toEqual([{ writer: 'w', base: 66, accepted: `${'0'.repeat(62)}11` }]);
  });

  test('of a hundred first requests at once, with the same number, one counts', async () => {
    const runId = await rows.insertRun();
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(runId, 'w', 1)));
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(answers.every(({ sequence }) => sequence === 1)).toBe(true);
    expect((await stored(runId)).sequences).toEqual([1]);
  });

  test('writers of one id in two runs, and of two ids in one run, know nothing of one another', async () => {
    const [one, two] = [await rows.insertRun(), await rows.insertRun()];
    for (const [runId, writer] of [
      [one, 'a'],
      [two, 'a'],
      [one, 'b'],
    ] as const)
      expect(await send(runId, writer, 1)).toMatchObject({ duplicate: false });
  });

  test('without a writer every request counts', async () => {
    const runId = await rows.insertRun();
    const answers = await Promise.all(upTo(50).map((batch) => append(rows.pool, runId, content(0, batch))));
    expect(answers.map(({ sequence }) => sequence).toSorted((a, b) => a - b)).toEqual(upTo(50));
    expect((await stored(runId)).values.toSorted((a, b) => a - b)).toEqual(upTo(50));
  });
});

describe('what it refuses', () => {
  test('a run that is not there', async () => {
    const before = await rows.pool.query('SELECT count(*) FROM run_writer');
    for (const writer of [null, { id: 'w', batch: 1 }])
      expect(await codeOf(append(rows.pool, uuidv7(), content(0, 1), { writer }))).toMatchObject({ code: 'NOT_FOUND' });
    expect((await rows.pool.query('SELECT count(*) FROM run_writer')).rows).toEqual(before.rows);
  });

  test('an attempt that there is not, with its number left free', async () => {
    const runId = await rows.insertRun({ attempts: 2 });
    for (const attempt of [0, -1, 3, 2 ** 31 - 1])
      expect(
        await codeOf(append(rows.pool, runId, content(0, 1), { attempt, writer: { id: 'w', batch: 1 } })),
      ).toMatchObject({
        code: 'INVALID_INPUT',
        details: { field: 'attempt' },
        message: expect.stringMatching(/1 to 2/),
      });
    expect(await stored(runId)).toEqual({ sequences: [], values: [], head: 0, writers: [] });
    const { attempt, duplicate } = await append(rows.pool, runId, content(0, 1), { writer: { id: 'w', batch: 1 } });
    expect({ attempt, duplicate }).toEqual({ attempt: 2, duplicate: false });
  });
});

test('what cannot be sent to the database within two seconds is said to be', async () => {
  const stuck = await rows.insertRun();
  const holder = await rows.pool.connect();
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM run_head WHERE run_id = $1 FOR UPDATE', [stuck]);
    const began = performance.now();
    const sent = upTo(6).map((batch) => send(stuck, 'w', batch));
    const answers = Promise.allSettled(sent);
    await expect(sent[5]).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { retryAfterMs: 1_000 } });
    expect(performance.now() - began).toBeLessThan(3_000);
    await holder.query('COMMIT');
    const outcomes = (await answers).map(({ status }) => status);
    expect(outcomes).toEqual([...Array(4).fill('fulfilled'), 'rejected', 'rejected']);
    expect((await stored(stuck)).sequences).toEqual(upTo(4));
    expect(await send(stuck, 'w', 6)).toMatchObject({ duplicate: false });
  } finally {
    holder.release();
  }
});

test('only the newest attempt lives by what it sends, and nothing does that was delivered late or twice', async () => {
  const runId = await rows.insertRun({ attempts: 2 });
  const heartbeat = async () => (await readHeads(rows.pool, [runId])).get(runId)!.heartbeatAt;
  await append(rows.pool, runId, content(0, 1), { attempt: 1 });
  await append(rows.pool, runId, content(0, 2), { attempt: 2, alive: false });
  await append(rows.pool, runId, content(0, 3), { alive: false, writer: { id: 'w', batch: 1 } });
  expect(await heartbeat()).toBeNull();
  const before = Date.now();
  await append(rows.pool, runId, content(0, 4), { writer: { id: 'w', batch: 2 } });
  const first = await heartbeat();
  expect(Math.abs(first!.getTime() - before)).toBeLessThan(5_000);
  await append(rows.pool, runId, content(0, 4), { writer: { id: 'w', batch: 2 } });
  await append(rows.pool, runId, content(0, 5), { attempt: 1 });
  expect(await heartbeat()).toEqual(first);
});

test('connections that are killed in the middle leave each batch whole or not there', async () => {
  const random = testRandom();
  const runId = await rows.insertRun();
  const pool = createPool({ connectionString: rows.databaseUrl, size: 6, log: silentLog });
  const killer = new pg.Client({ connectionString: rows.databaseUrl });
  await killer.connect();
  const [writers, points] = [6, 500];
  let [killed, unanswered, total] = [0, 0, 0];
  const enough = () => killed >= 30 && unanswered >= 30;
  const kill = async () => {
    while (!enough()) {
      const { rowCount } = await killer.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'runtide' AND state = 'active' AND random() < 0.5`,
      );
      killed += rowCount ?? 0;
      await new Promise((resolve) => setTimeout(resolve, random.integer(1, 15)));
    }
  };
  const write = async (writer: number) => {
    for (let batch = 1; !enough(); batch++, total++) {
      const steps = upTo(points).map((step) => batch * points + step);
      const metrics = ['a', 'b', 'c'].map((name) => columns(`${writer}/${name}`, steps, steps));
      for (let answered = false; !answered;) {
        try {
          await append(pool, runId, metrics, { writer: { id: `w${writer}`, batch } });
          answered = true;
        } catch (error) {
          if (!isUnavailable(error)) throw error;
          unanswered++;
        }
      }
    }
  };
  try {
    await Promise.all([kill(), ...Array.from({ length: writers }, (_, writer) => write(writer))]);
  } finally {
    killed = unanswered = Infinity;
    await killer.end();
    await pool.end();
  }
  const { rows: journal } = await rows.pool.query<{ sequence: number; payload: Buffer }>(
    'SELECT sequence, payload FROM journal WHERE run_id = $1 ORDER BY sequence',
    [runId],
  );
  expect(journal.map(({ sequence }) => sequence)).toEqual(upTo(total));
  const seen = new Set<string>();
  for (const { payload } of journal) {
    const metrics = decodeColumns(payload);
    const [writer] = metrics[0]!.name.split('/');
    expect(metrics.map(({ name }) => name)).toEqual(['a', 'b', 'c'].map((name) => `${writer}/${name}`));
    expect(metrics.every(({ values }) => values.length === points && values[0] === metrics[0]!.values[0])).toBe(true);
    seen.add(`${writer} ${metrics[0]!.values[0]}`);
  }
  expect(seen.size).toBe(total);
});
