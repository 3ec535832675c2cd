// Commands on their way to a run: sent, told to each of its processes until one acknowledges, over whichever server; and
// what that costs those who log while there are none.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';
import { socketClient, until } from '../support/client.ts';

let app: App;
let other: App;
beforeAll(async () => {
  app = await startApp();
  other = await startApp({ databaseUrl: app.databaseUrl });
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

const SEND = 'mutation($input: SendRunCommandInput!) { sendRunCommand(input: $input) { command { id status } } }';
const ACKNOWLEDGE = `mutation($input: AcknowledgeRunCommandInput!) { acknowledgeRunCommand(input: $input) {
  command { status acknowledgedBy message } } }`;
const LOG =
  'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { duplicate commands { id kind payload } } }';
const APPEND =
  'mutation($input: AppendConsoleInput!) { appendConsole(input: $input) { accepted commands { id kind } } }';
const HEARTBEAT = 'mutation($input: HeartbeatInput!) { heartbeat(input: $input) { commands { id kind } } }';
const LIST = `query($id: ID!) { run(id: $id) { commands(first: 50) { totalCount nodes {
  id kind payload attempt status sentBy { name } sentByName deliveredAt acknowledgedAt acknowledgedBy message } } } }`;
const WATCH = 'subscription($id: ID!, $attempt: Int) { commands(runId: $id, attempt: $attempt) { id kind payload } }';

async function send(runId: string, input: object = { kind: 'STOP' }): Promise<string> {
  return (await app.must(SEND, { input: { runId, ...input } })).sendRunCommand.command.id as string;
}
const refusal = async (query: string, input: object) => (await app.request(query, { input })).errors?.[0]?.extensions;
const log = (on: App, input: object) =>
  on.request(LOG, { input: { points: [{ name: 'loss', step: 1, value: 1 }], ...input } }, app.apiKey);
const toldTo = async (on: App, input: object) => (await log(on, input)).data.logMetrics.commands;
const list = async (id: string) => (await app.must(LIST, { id })).run.commands.nodes;

test('every process of the run is told with every answer, until one acknowledges', async () => {
  const runId = await app.createRun();
  expect(await toldTo(app, { runId, writer: 'a', batch: 1 })).toEqual([]);
  const id = await send(runId, { kind: 'SET', payload: { lr: 0.1 } });
  expect(await list(runId)).toMatchObject([
    { id, status: 'SENT', attempt: 1, deliveredAt: null, sentByName: 'tester' },
  ]);
  const command = { id, kind: 'SET', payload: { lr: 0.1 } };
  expect(await toldTo(app, { runId, writer: 'a', batch: 2 })).toEqual([command]);
  expect(await toldTo(other, { runId, writer: 'b', batch: 1 })).toEqual([command]);
  // Who had no answer sends the batch again, and is told as well.
  const { data } = await log(other, { runId, writer: 'a', batch: 2 });
  expect(data.logMetrics).toEqual({ duplicate: true, commands: [command] });
  expect(await list(runId)).toMatchObject([
    { status: 'DELIVERED', deliveredAt: expect.any(String), sentBy: { name: 'tester' } },
  ]);
  const text = await app.must(APPEND, { input: { runId, writer: 'a', offset: 0, text: 'hello' } });
  expect(text.appendConsole.commands).toEqual([{ id, kind: 'SET' }]);
  expect((await app.must(HEARTBEAT, { input: { runId } })).heartbeat.commands).toEqual([{ id, kind: 'SET' }]);

  const input = { id, writer: 'b', message: 'lr is 0.1 from step 20 on' };
  const acknowledged = { status: 'ACKNOWLEDGED', acknowledgedBy: 'b', message: input.message };
  expect((await app.must(ACKNOWLEDGE, { input })).acknowledgeRunCommand.command).toEqual(acknowledged);
  const again = await app.must(ACKNOWLEDGE, { input: { id, writer: 'a' } });
  expect(again.acknowledgeRunCommand.command).toEqual(acknowledged);
  expect(await toldTo(app, { runId, writer: 'a', batch: 3 })).toEqual([]);
});

test('those who log send no statement more, unless there is a command', async () => {
  const runId = await app.createRun();
  const input = (batch: number) => ({ runId, writer: 'a', batch, attempt: 1 });
  await log(app, input(1));
  const statements = async (work: () => Promise<unknown>) => (await app.countSql(work)).statements.length;
  const append = (offset: number) => app.must(APPEND, { input: { runId, writer: 'a', attempt: 1, offset, text: 'x' } });
  expect(await statements(() => log(app, input(2)))).toBe(1);
  expect(await statements(() => append(0))).toBe(1);
  const id = await send(runId);
  // The look-up, and once that it was delivered.
  expect(await statements(() => log(app, input(3)))).toBe(3);
  expect(await statements(() => log(app, input(4)))).toBe(2);
  expect(await statements(() => append(1))).toBe(2);
  await app.must(ACKNOWLEDGE, { input: { id } });
  expect(await statements(() => log(app, input(5)))).toBe(1);
  expect(await statements(() => app.must(HEARTBEAT, { input: { runId, attempt: 1 } }))).toBe(1);
});

describe('a command is for the attempt that was the newest', () => {
  const CREATE = 'mutation($input: CreateRunInput!) { createRun(input: $input) { attempt run { id } } }';
  const resume = async (key: string) => (await app.must(CREATE, { input: { key, resume: 'ALLOW' } })).createRun;

  test('once a newer one began it has expired, and who asks for the flag clears it', async () => {
    const { run } = await resume('resumed');
    await send(run.id);
    await resume('resumed');
    expect(await list(run.id)).toMatchObject([{ status: 'EXPIRED', attempt: 1 }]);
    expect(await toldTo(app, { runId: run.id, attempt: 1 })).toEqual([]);
    const { statements } = await app.countSql(() => toldTo(app, { runId: run.id, attempt: 2 }));
    expect(statements).toHaveLength(1);
    const id = await send(run.id);
    expect(await toldTo(app, { runId: run.id, attempt: 1 })).toEqual([]);
    expect(await toldTo(app, { runId: run.id, attempt: 2 })).toMatchObject([{ id }]);
  });

  test('a run that has ended takes none, and those that it has expire; late deliveries are told none', async () => {
    const runId = await app.createRun();
    const id = await send(runId);
    expect(await toldTo(app, { runId, late: true })).toEqual([]);
    await app.must('mutation($id: ID!) { finishRun(input: { id: $id }) { run { id } } }', { id: runId });
    expect(await list(runId)).toMatchObject([{ status: 'EXPIRED' }]);
    expect(await toldTo(app, { runId })).toEqual([]);
    expect(await refusal(SEND, { runId, kind: 'STOP' })).toMatchObject({ code: 'CONFLICT' });
    // It stopped because it was told to, and says so at last.
    await app.must(ACKNOWLEDGE, { input: { id } });
    expect(await list(runId)).toMatchObject([{ status: 'ACKNOWLEDGED' }]);
  });

  test('a run that was thought dead still hears it', async () => {
    const runId = await app.createRun();
    await app.engines.db.run.update({ where: { id: runId }, data: { status: 'CRASHED' } });
    await app.engines.db.attempt.updateMany({ where: { runId }, data: { status: 'CRASHED' } });
    const id = await send(runId);
    expect(await toldTo(app, { runId })).toMatchObject([{ id }]);
  });
});

test('sent while the flag is being cleared, none is lost', async () => {
  const runId = await app.createRun();
  for (let round = 0; round < 20; round++) {
    await app.engines.pool.query('UPDATE run_head SET has_commands = true WHERE run_id = $1', [runId]);
    const [id] = await Promise.all([send(runId), toldTo(app, { runId }), toldTo(other, { runId })]);
    expect(await toldTo(app, { runId })).toMatchObject([{ id }]);
    await app.must(ACKNOWLEDGE, { input: { id } });
  }
});

describe('a subscriber', () => {
  test('is told what waits and what comes, each once, whichever server it is sent to', async () => {
    const runId = await app.createRun();
    const first = await send(runId, { kind: 'CHECKPOINT' });
    const done = await send(runId);
    await app.must(ACKNOWLEDGE, { input: { id: done } });
    const seen: Record<string, string[]> = { one: [], two: [] };
    const clients = Object.entries(seen).map(([, ids], index) => {
      const client = socketClient(index === 0 ? app.url : other.url, app.apiKey);
      void (async () => {
        for await (const { data } of client.iterate<{ commands: { id: string } }>({
          query: WATCH,
          variables: { id: runId, attempt: 1 },
        }))
          ids.push(data!.commands.id);
      })();
      return client;
    });
    await until(() => seen.one!.length === 1 && seen.two!.length === 1, 'both are told what waits');
    const second = (await other.must(SEND, { input: { runId, kind: 'STOP' } })).sendRunCommand.command.id;
    await until(() => seen.one!.length === 2 && seen.two!.length === 2, 'both are told what comes');
    await app.must(ACKNOWLEDGE, { input: { id: first } });
    const third = await send(runId);
    await until(() => seen.one!.length === 3 && seen.two!.length === 3, 'both are told what comes');
    expect(seen).toEqual({ one: [first, second, third], two: [first, second, third] });
    expect((await list(runId)).map(({ status }: { status: string }) => status)).toEqual([
      'DELIVERED',
      'DELIVERED',
      'ACKNOWLEDGED',
      'ACKNOWLEDGED',
    ]);
    for (const client of clients) await client.dispose();
  });
});

test('what is refused says why', async () => {
  const runId = await app.createRun();
  expect(await refusal(SEND, { runId, kind: 'SET' })).toMatchObject({ code: 'INVALID_INPUT', field: 'payload' });
  expect(await refusal(SEND, { runId, kind: 'STOP', payload: [1] })).toMatchObject({ field: 'payload' });
  const large = { text: 'x'.repeat(limits.commandBytes) };
  expect(await refusal(SEND, { runId, kind: 'STOP', payload: large })).toMatchObject({ field: 'payload' });
  const nowhere = '01a00000-0000-7000-8000-000000000000';
  expect(await refusal(SEND, { runId: nowhere, kind: 'STOP' })).toMatchObject({ code: 'NOT_FOUND' });
  expect(await refusal(ACKNOWLEDGE, { id: nowhere })).toMatchObject({ code: 'NOT_FOUND' });
  expect(await refusal(ACKNOWLEDGE, { id: 'x' })).toMatchObject({ code: 'NOT_FOUND' });
  const sent = await Promise.all(
    Array.from({ length: limits.openCommands + 5 }, () => refusal(SEND, { runId, kind: 'STOP' })),
  );
  expect(sent.filter((one) => one?.code === 'CONFLICT')).toHaveLength(5);
});

test('lists of runs with their commands take a constant number of statements', async () => {
  const project = 'with commands';
  const runIds = await Promise.all([1, 2, 3].map(() => app.createRun({ project })));
  const query = `{ project(name: "${project}") { runs(first: 10) { nodes { commands(first: 5) { nodes { status sentBy { name } } } } } } }`;
  for (const runId of runIds) await send(runId);
  const { statements: few } = await app.countSql(() => app.must(query));
  for (const runId of runIds) for (const _ of [1, 2]) await send(runId);
  const { statements: many } = await app.countSql(() => app.must(query));
  expect(many.length).toBe(few.length);
});

test('who sent what is in the audit log, and what was in it is not', async () => {
  const runId = await app.createRun({ name: 'audited' });
  const id = await send(runId, { kind: 'SET', payload: { secret: 'x' } });
  const entry = await app.engines.db.auditEntry.findFirstOrThrow({ where: { action: 'run.command', targetId: runId } });
  expect(entry).toMatchObject({ targetName: 'audited', details: { commandId: id, kind: 'SET' } });
  expect(JSON.stringify(entry)).not.toContain('secret');
});
