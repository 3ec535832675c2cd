// What several processes do to one run at once: resumed, ended, logged to and kept alive, in whatever order.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { testRandom } from '../support/random.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const CREATE = 'mutation($input: CreateRunInput!) { createRun(input: $input) { attempt run { id } } }';
const FINISH = 'mutation($input: FinishRunInput!) { finishRun(input: $input) { run { id } } }';
const HEARTBEAT = 'mutation($input: HeartbeatInput!) { heartbeat(input: $input) { commands { id } } }';
const UPDATE = 'mutation($input: UpdateRunInput!) { updateRun(input: $input) { run { id } } }';
const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { cursor } }';

const points = [{ name: 'loss', step: 1, value: 1 }];

async function stateOf(id: string) {
  const query = 'query($id: ID!) { run(id: $id) { status endedAt attempts { number status endedAt } } }';
  return (await app.must(query, { id })).run as {
    status: string;
    endedAt: string | null;
    attempts: { number: number; status: string; endedAt: string | null }[];
  };
}

test('whatever is done to a run at once is done, one after the other, without waiting in a circle', async () => {
  const random = testRandom();
  for (let round = 0; round < 12; round++) {
    const key = `all at once ${round}`;
    const { createRun } = await app.must(CREATE, { input: { key, status: 'PENDING' } });
    const runId = createRun.run.id as string;
    const acts: (() => Promise<unknown>)[] = [
      () => app.must(CREATE, { input: { key, resume: 'ALLOW', status: 'PENDING' } }),
      () => app.must(CREATE, { input: { key, resume: 'MUST' } }),
      () => app.must(FINISH, { input: { id: runId } }),
      () => app.must(FINISH, { input: { id: runId, attempt: 1, exitCode: 1 } }),
      () => app.must(HEARTBEAT, { input: { runId } }),
      () => app.must(LOG, { input: { runId, points } }),
      () => app.must(UPDATE, { input: { id: runId, config: { round } } }),
    ];
    await Promise.all(random.shuffled([...acts, ...acts]).map((act) => act()));
    const { attempts, status } = await stateOf(runId);
    expect(attempts.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5]);
    // What the run is, its newest attempt is.
    expect(attempts.at(-1)!.status).toBe(status);
    expect(attempts.slice(0, -1).every(({ endedAt }) => endedAt !== null)).toBe(true);
  }
});

test('an attempt that ends while the run is resumed ends alone', async () => {
  for (let round = 0; round < 15; round++) {
    const key = `resumed ${round}`;
    const { createRun } = await app.must(CREATE, { input: { key } });
    const id = createRun.run.id as string;
    await Promise.all([
      app.must(FINISH, { input: { id, attempt: 1, exitCode: 1 } }),
      app.must(CREATE, { input: { key, resume: 'ALLOW' } }),
    ]);
    const { status, endedAt, attempts } = await stateOf(id);
    expect({ round, status, endedAt, newest: attempts[1] }).toEqual({
      round,
      status: 'RUNNING',
      endedAt: null,
      newest: { number: 2, status: 'RUNNING', endedAt: null },
    });
    expect(attempts[0]!.status).toBe('FAILED');
  }
});

test('a run that was announced begins with what its process says itself, be it the first batch or not', async () => {
  const { createRun } = await app.must(CREATE, { input: { key: 'announced', status: 'PENDING' } });
  const runId = createRun.run.id as string;
  await app.must(LOG, { input: { runId, points, late: true } });
  expect((await stateOf(runId)).status).toBe('PENDING');
  await app.must(LOG, { input: { runId, points } });
  expect((await stateOf(runId)).status).toBe('RUNNING');

  // Announced again, for a second attempt: what the first one still has to say does not begin it.
  await app.must(CREATE, { input: { key: 'announced', status: 'PENDING', resume: 'MUST' } });
  await app.must(LOG, { input: { runId, points, attempt: 1 } });
  expect((await stateOf(runId)).status).toBe('PENDING');
  await app.must(LOG, { input: { runId, points } });
  expect(await stateOf(runId)).toMatchObject({
    status: 'RUNNING',
    attempts: [{ status: 'CRASHED' }, { status: 'RUNNING' }],
  });

  // What has ended stays ended.
  await app.must(FINISH, { input: { id: runId } });
  await app.must(LOG, { input: { runId, points } });
  expect((await stateOf(runId)).status).toBe('COMPLETED');
});

test('a hundred processes begin at once', async () => {
  const made = await Promise.all(
    Array.from({ length: 100 }, (_, n) => app.createRun({ project: 'crowd', name: `${n}` })),
  );
  expect(new Set(made).size).toBe(100);
});
