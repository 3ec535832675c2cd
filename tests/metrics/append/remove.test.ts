// A removal, as clients see it: what it takes, what it leaves, what it is in the journal and the audit log.
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { REMOVE, removals } from './removals.ts';

let app: App;
let client: ReturnType<typeof removals>;
beforeAll(async () => {
  app = await startApp();
  client = removals(app);
});
afterAll(() => app[Symbol.asyncDispose]());

async function stepsOf(runId: string, { name = 'loss', tag = '', attempt = null as number | null } = {}) {
  const query = `query($id: ID!, $name: String!, $tag: String!, $attempt: Int) {
    run(id: $id) { points(name: $name, tag: $tag, attempt: $attempt, first: 1000) { steps } } }`;
  return (await app.must(query, { id: runId, name, tag, attempt })).run.points.steps as number[];
}

describe('a removal', () => {
  test('takes the steps of its range, both ends included, and no other metric', async () => {
    const runId = await app.createRun();
    const steps = [-2, -1, 0, 1, 2, 3, 4];
    for (const metric of [{}, { tag: 'val' }, { name: 'acc' }]) await client.logSteps(runId, steps, {}, metric);
    await client.remove({ runId, name: 'loss', from: 1, to: 2 });
    expect(await stepsOf(runId)).toEqual([-2, -1, 0, 3, 4]);
    await client.remove({ runId, name: 'loss', from: 4 });
    expect(await stepsOf(runId)).toEqual([-2, -1, 0, 3]);
    await client.remove({ runId, name: 'loss', to: -1, type: 'SCALAR' });
    expect(await stepsOf(runId)).toEqual([0, 3]);
    await client.remove({ runId, name: 'loss', from: 3, to: 3 });
    expect(await stepsOf(runId)).toEqual([0]);
    for (const metric of [{ tag: 'val' }, { name: 'acc' }]) expect(await stepsOf(runId, metric)).toEqual(steps);
    await client.remove({ runId, name: 'loss', tag: 'val' });
    expect(await stepsOf(runId, { tag: 'val' })).toEqual([]);
    expect(await stepsOf(runId)).toEqual([0]);
  });

  test('of the attempt that went wrong gives the line back to the one before', async () => {
    const key = uuidv7();
    const runId = await client.resume(key);
    await client.logSteps(runId, [1, 2, 3, 4]);
    await client.resume(key);
    await client.logSteps(runId, [3, 4, 5]);
    await client.logSteps(runId, [2], { attempt: 1 });
    await client.remove({ runId, name: 'loss', attempt: 2, to: 4 });
    expect(await stepsOf(runId)).toEqual([1, 2, 3, 4, 5]);
    expect(await stepsOf(runId, { attempt: 2 })).toEqual([5]);
    await client.remove({ runId, name: 'loss', attempt: 2 });
    expect(await stepsOf(runId)).toEqual([1, 2, 3, 4]);
  });

  test('leaves room: the same steps can be logged anew', async () => {
    const runId = await app.createRun();
    await client.logSteps(runId, [1, 2, 3], {}, { values: [10, 20, 30] });
    await client.remove({ runId, name: 'loss' });
    await client.logSteps(runId, [2, 3], {}, { values: [21, 31] });
    const query = 'query($id: ID!) { run(id: $id) { points(name: "loss", first: 9) { steps values } } }';
    expect((await app.must(query, { id: runId })).run.points).toEqual({ steps: [2, 3], values: [21, 31] });
  });

  test('may be repeated, and may find nothing', async () => {
    const runId = await app.createRun();
    await client.logSteps(runId, [1, 2, 3]);
    const input = { runId, name: 'loss', from: 2 };
    expect([
      await client.remove(input),
      await client.remove(input),
      await client.remove({ runId, name: 'never logged' }),
    ]).toEqual([2, 3, 4]);
    expect(await stepsOf(runId)).toEqual([1]);
    const { run } = await app.must('query($id: ID!) { run(id: $id) { metrics(first: 9) { totalCount } } }', {
      id: runId,
    });
    expect(run.metrics.totalCount).toBe(1);
  });

  test('does not let old batches come back: sent again, they are duplicates', async () => {
    const runId = await app.createRun();
    const batch = (number: number) => client.logSteps(runId, [number], { writer: 'w', batch: number });
    for (const number of [1, 2, 4]) await batch(number);
    await client.remove({ runId, name: 'loss' });
    for (const number of [4, 1, 2, 1]) expect(await batch(number)).toMatchObject({ accepted: 0, duplicate: true });
    expect(await stepsOf(runId)).toEqual([]);
    // The one that had not come before is new, however old.
    for (const number of [3, 5]) expect(await batch(number)).toMatchObject({ accepted: 1, duplicate: false });
    expect(await stepsOf(runId)).toEqual([3, 5]);
  });

  test('is one row of the journal and one of the audit log, no sign of life, and answers with the run', async () => {
    const runId = await app.createRun({ status: 'PENDING' });
    await client.logSteps(runId, [1], { late: true });
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
    await client.logSteps(runId, [1, 2, 3]);
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
