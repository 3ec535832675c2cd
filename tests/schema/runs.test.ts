// Runs over the wire: made, changed, listed, ended; and what lists cost.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

test('a run is made with friendly defaults, and a repeated request gives the same one', async () => {
  const query = `mutation($input: CreateRunInput!) { createRun(input: $input) {
    attempt run { id name status project { name workspace { slug } } attempts { number status } } } }`;
  const first = await app.must(query, { input: { requestId: 'once' } });
  const again = await app.must(query, { input: { requestId: 'once' } });
  expect(again).toEqual(first);
  expect(first.createRun).toMatchObject({
    attempt: 1,
    run: {
      name: expect.stringMatching(/^[a-z]+-[a-z]+-\d+$/),
      status: 'RUNNING',
      project: { name: 'uncategorized', workspace: { slug: 'personal' } },
      attempts: [{ number: 1, status: 'RUNNING' }],
    },
  });
});

test('of fifty equal requests at once one makes the run, and all get it', async () => {
  const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { attempt run { id } } }';
  const input = { project: 'racing', requestId: 'all at once' };
  const answers = await Promise.all(Array.from({ length: 50 }, () => app.must(query, { input })));
  expect(new Set(answers.map(({ createRun }) => `${createRun.run.id} ${createRun.attempt}`)).size).toBe(1);
});

test('a key is resumed only when asked, and each resume is a new attempt', async () => {
  const query = `mutation($input: CreateRunInput!) { createRun(input: $input) {
    attempt run { id status attempts { number status endedAt } } } }`;
  const input = { project: 'resuming', key: 'seed-1' };
  expect((await app.request(query, { input: { ...input, resume: 'MUST' } })).errors?.[0]?.extensions.code).toBe(
    'NOT_FOUND',
  );
  const first = await app.must(query, { input });
  expect((await app.request(query, { input })).errors?.[0]?.extensions).toMatchObject({
    code: 'CONFLICT',
    field: 'key',
  });
  const second = await app.must(query, { input: { ...input, resume: 'ALLOW' } });
  expect(second.createRun).toMatchObject({
    attempt: 2,
    run: {
      id: first.createRun.run.id,
      status: 'RUNNING',
      attempts: [
        { number: 1, status: 'CRASHED', endedAt: expect.any(String) },
        { number: 2, status: 'RUNNING' },
      ],
    },
  });
});

test('config and summary are merged by key, also by many at once', async () => {
  const id = await app.createRun({ config: { lr: 0.1, kept: [1, null, { deep: 'ä' }] } });
  const update = 'mutation($input: UpdateRunInput!) { updateRun(input: $input) { run { id } } }';
  await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      app.must(update, { input: { id, config: { [`key${n}`]: n }, summary: { [`s${n}`]: n } } }),
    ),
  );
  const { run } = await app.must('query($id: ID!) { run(id: $id) { config summary } }', { id });
  expect(Object.keys(run.config)).toHaveLength(22);
  expect(run.config).toMatchObject({ lr: 0.1, kept: [1, null, { deep: 'ä' }], key19: 19 });
  expect(Object.keys(run.summary)).toHaveLength(20);
});

test('a run ends once: repeating it changes nothing, late points are still taken', async () => {
  const id = await app.createRun();
  const finish =
    'mutation($input: FinishRunInput!) { finishRun(input: $input) { run { status endedAt attempts { exitCode } } } }';
  const ended = await app.must(finish, { input: { id, exitCode: 3 } });
  expect(ended.finishRun.run).toMatchObject({
    status: 'FAILED',
    endedAt: expect.any(String),
    attempts: [{ exitCode: 3 }],
  });
  expect(await app.must(finish, { input: { id, exitCode: 3 } })).toEqual(ended);
  const logged = await app.must(
    `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "late", step: 1, value: 2 }] }) { accepted } }`,
    { id },
  );
  expect(logged.logMetrics.accepted).toBe(1);
  expect((await app.must('query($id: ID!) { run(id: $id) { status } }', { id })).run.status).toBe('FAILED');
});

test('a run that was only announced runs with its first batch or heartbeat', async () => {
  const status = async (id: string) =>
    (await app.must('query($id: ID!) { run(id: $id) { status startedAt } }', { id })).run;
  const logging = await app.createRun({ status: 'PENDING' });
  const waiting = await app.createRun({ status: 'PENDING' });
  expect(await status(logging)).toEqual({ status: 'PENDING', startedAt: null });
  await app.must(
    'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "a", step: 0, value: 0 }] }) { cursor } }',
    { id: logging },
  );
  await app.must('mutation($id: ID!) { heartbeat(input: { runId: $id }) { commands { id } } }', { id: waiting });
  expect(await status(logging)).toEqual({ status: 'RUNNING', startedAt: expect.any(String) });
  expect(await status(waiting)).toEqual({ status: 'RUNNING', startedAt: expect.any(String) });
});

test('lists are paged to the end without a repeat, and cost the same however long they are', async () => {
  for (let n = 0; n < 7; n++) {
    const id = await app.createRun({ project: 'long', name: `run ${n}` });
    await app.must(
      `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: ${n} }] }) { cursor } }`,
      { id },
    );
  }
  const page = `query($first: Int!, $after: String) { project(name: "long") { id runs(first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    edges { node { id name cursor heartbeatAt project { name workspace { slug } } attempts { number }
      metrics(first: 5) { nodes { name last } } points(name: "loss", first: 5) { values } } } } } }`;
  const names: string[] = [];
  let after: string | null = null;
  do {
    const { project } = await app.must(page, { first: 3, after });
    expect(project.runs.totalCount).toBe(7);
    names.push(...project.runs.edges.map(({ node }: { node: { name: string } }) => node.name));
    after = project.runs.pageInfo.hasNextPage ? project.runs.pageInfo.endCursor : null;
  } while (after !== null);
  expect(names).toEqual(Array.from({ length: 7 }, (_, n) => `run ${6 - n}`));

  const one = await app.countSql(() => app.must(page, { first: 1 }));
  const all = await app.countSql(() => app.must(page, { first: 100 }));
  expect(all.result.project.runs.edges).toHaveLength(7);
  // The credential is looked up once a second, in whichever request that is.
  const ofLists = (statements: string[]) => statements.filter((text) => !text.includes('api_key'));
  expect(ofLists(all.statements)).toHaveLength(ofLists(one.statements).length);
  expect(ofLists(all.statements).length).toBeLessThanOrEqual(4);
});

test('a page is asked for, and may not be too large', async () => {
  const list = (first: string) => `{ project(name: "long") { runs${first} { totalCount } } }`;
  expect((await app.request(list(''))).errors?.[0]?.message).toMatch(/first/);
  expect((await app.request(list('(first: 101)'))).errors?.[0]?.extensions).toMatchObject({
    code: 'INVALID_INPUT',
    field: 'first',
  });
  expect((await app.request(list('(first: 0)'))).errors?.[0]?.extensions).toMatchObject({
    code: 'INVALID_INPUT',
    field: 'first',
  });
});

test('dates that do not exist, and ends before the beginning, are refused', async () => {
  const query = 'mutation($input: FinishRunInput!) { finishRun(input: $input) { run { status endedAt } } }';
  const id = await app.createRun({ startedAt: '2024-02-29T12:00:00Z' });
  const refused = async (endedAt: string) =>
    (await app.request(query, { input: { id, endedAt } })).errors?.[0]?.extensions;
  for (const endedAt of [
    '2026-02-30T00:00:00Z',
    '2026-02-29T00:00:00Z',
    '2026-04-31T00:00:00+02:00',
    '2026-13-01T00:00:00Z',
    '2026-00-10T00:00:00Z',
    '2026-01-00T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2024-02-29T11:59:59.999Z',
  ])
    expect({ endedAt, ...(await refused(endedAt)) }).toMatchObject({
      endedAt,
      code: 'INVALID_INPUT',
      field: 'endedAt',
    });
  const literal = await app.request(
    `mutation { finishRun(input: { id: "${id}", endedAt: "2026-02-30T00:00:00Z" }) { run { id } } }`,
  );
  expect(literal.errors?.[0]?.message).toMatch(/2026-02-30/);
  // The 29th of a leap year, in the night of another time zone.
  const { finishRun } = await app.must(query, { input: { id, endedAt: '2024-02-29T23:30:00-05:00' } });
  expect(finishRun.run).toEqual({ status: 'COMPLETED', endedAt: '2024-03-01T04:30:00.000Z' });
});

test('a run says who made it, and which runs are a part of it', async () => {
  const parentId = await app.createRun({ project: 'family', name: 'parent' });
  for (const name of ['a', 'b', 'c']) await app.createRun({ project: 'family', parentId, name });
  const query = `query($id: ID!, $after: String) { run(id: $id) { createdBy { __typename id name image }
    project { createdBy { name } }
    children(first: 2, after: $after) { __typename totalCount pageInfo { hasNextPage endCursor }
      edges { __typename node { name parent { name } children(first: 1) { totalCount nodes { name } } } } } } }`;
  const { run } = await app.must(query, { id: parentId });
  expect(run.createdBy).toEqual({ __typename: 'User', id: app.owner.userId, name: 'tester', image: null });
  expect(run.project.createdBy).toEqual({ name: 'tester' });
  const child = (name: string) => ({
    __typename: 'RunEdge',
    node: { name, parent: { name: 'parent' }, children: { totalCount: 0, nodes: [] } },
  });
  expect(run.children).toMatchObject({
    __typename: 'RunConnection',
    totalCount: 3,
    pageInfo: { hasNextPage: true },
    edges: [child('c'), child('b')],
  });
  const rest = await app.must(query, { id: parentId, after: run.children.pageInfo.endCursor });
  expect(rest.run.children).toMatchObject({ totalCount: 3, pageInfo: { hasNextPage: false }, edges: [child('a')] });
  // Counted without being listed.
  const counted = await app.must('query($id: ID!) { run(id: $id) { children(first: 1) { totalCount } } }', {
    id: parentId,
  });
  expect(counted.run.children).toEqual({ totalCount: 3 });
  const mail = await app.request('query($id: ID!) { run(id: $id) { createdBy { email } } }', { id: parentId });
  expect(mail.errors?.[0]?.message).toMatch(/Cannot query field "email" on type "User"/);
});
