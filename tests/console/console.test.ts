// Console output over the wire: what a process sends, what people read and watch, on two servers with one database.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';
import { socketClient, until } from '../support/client.ts';
import { testRandom } from '../support/random.ts';

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

const APPEND =
  'mutation($input: AppendConsoleInput!) { appendConsole(input: $input) { accepted offset cursor commands { id } } }';
const READ = `query($id: ID!, $first: Int!, $from: ConsoleEnd!, $before: String, $search: String) { run(id: $id) { status
  console(first: $first, from: $from, before: $before, search: $search) {
    pieces { cursor attempt writer stream offset time text } startCursor endCursor hasNextPage hasPreviousPage byteSize damagedPieces } } }`;
const WATCH = `subscription($id: ID!, $after: String) { console(runId: $id, after: $after) {
  cursor damagedPieces pieces { cursor text } } }`;

const appendTo = (on: App, input: object) =>
  on.request(APPEND, { input: { writer: 'w', offset: 0, ...input } }, app.apiKey);

test('what processes write is read in the order in which it came, from either end', async () => {
  const runId = await app.createRun();
  await appendTo(app, { runId, text: 'Epoch 1\r' });
  await appendTo(other, {
    runId,
    text: '\u001b[31mwarning\u001b[0m\n',
    stream: 'STDERR',
    time: '2026-01-02T03:04:05.678Z',
  });
  const { data } = await appendTo(app, { runId, text: 'Epoch 2\n', offset: 8 });
  expect(data.appendConsole).toEqual({ accepted: 8, offset: 16, cursor: '3', commands: [] });
  const { result, statements } = await app.countSql(() => app.must(READ, { id: runId, first: 2, from: 'END' }));
  // The run, and its console.
  expect(statements).toHaveLength(2);
  expect(result.run.console).toEqual({
    pieces: [
      {
        cursor: '2',
        attempt: 1,
        writer: 'w',
        stream: 'STDERR',
        offset: 0,
        time: '2026-01-02T03:04:05.678Z',
        text: '\u001b[31mwarning\u001b[0m\n',
      },
      {
        cursor: '3',
        attempt: 1,
        writer: 'w',
        stream: 'STDOUT',
        offset: 8,
        time: expect.any(String),
        text: 'Epoch 2\n',
      },
    ],
    startCursor: '2',
    endCursor: '3',
    hasNextPage: false,
    hasPreviousPage: true,
    byteSize: 33,
    damagedPieces: 0,
  });
  const found = await app.must(READ, { id: runId, first: 10, from: 'START', search: 'epoch' });
  expect(found.run.console.pieces.map(({ text }: { text: string }) => text)).toEqual(['Epoch 1\r', 'Epoch 2\n']);
});

test('text takes two statements at the most, and is a sign of life unless it comes late', async () => {
  const runId = await app.createRun({ status: 'PENDING' });
  const status = async () => (await app.must('query($id: ID!) { run(id: $id) { status } }', { id: runId })).run.status;
  await appendTo(app, { runId, attempt: 1, text: 'late', late: true });
  expect(await status()).toBe('PENDING');
  await appendTo(app, { runId, attempt: 1, text: 'now', offset: 4 });
  expect(await status()).toBe('RUNNING');
  const { statements } = await app.countSql(() => appendTo(app, { runId, attempt: 1, text: 'more', offset: 7 }));
  expect(statements).toHaveLength(1);
});

describe('what is refused', () => {
  test.each([
    ['no text', { text: '' }, 'INVALID_INPUT', 'text'],
    ['too much of it', { text: 'ü'.repeat(limits.consoleTextBytes / 2 + 1) }, 'INVALID_INPUT', 'text'],
    ['an offset below 0', { text: 'x', offset: -1 }, 'INVALID_INPUT', 'offset'],
    ['one ahead of what is there', { text: 'x', offset: 5 }, 'CONFLICT', 'offset'],
    ['a writer that is none', { text: 'x', writer: 'a b' }, 'INVALID_INPUT', 'writer'],
    ['an attempt that is not there', { text: 'x', attempt: 2 }, 'INVALID_INPUT', 'attempt'],
    ['a stream that is none', { text: 'x', stream: 'STDIN' }, 'INVALID_INPUT', 'stream'],
  ])('%s', async (_, input, code, field) => {
    const runId = await app.createRun();
    const { errors } = await appendTo(app, { runId, ...input });
    expect(errors?.[0]?.extensions).toMatchObject({ code, field });
    expect((await app.must(READ, { id: runId, first: 1, from: 'START' })).run.console.byteSize).toBe(0);
  });

  test('a run that is in the bin with its project, or is not there', async () => {
    const runId = await app.createRun({ project: 'binned' });
    const { run } = await app.must('query($id: ID!) { run(id: $id) { project { id } } }', { id: runId });
    await app.must('mutation($id: ID!) { deleteProject(input: { id: $id }) { goneAt } }', { id: run.project.id });
    for (const id of [runId, '01a00000-0000-7000-8000-000000000000']) {
      const { errors } = await appendTo(app, { runId: id, text: 'x' });
      expect(errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    }
  });

  test('pages that are too long, and cursors that are none', async () => {
    const runId = await app.createRun();
    const ask = (variables: object) => app.request(READ, { id: runId, first: 1, from: 'END', ...variables });
    expect((await ask({ first: limits.consolePageSize + 1 })).errors?.[0]?.extensions.field).toBe('first');
    expect((await ask({ before: 'x' })).errors?.[0]?.extensions.field).toBe('before');
  });
});

test('looking through output has a price', async () => {
  const ask = async (args: string) => {
    const { errors } = await app.request(`{ run(id: "x") { console(first: 5${args}) { pieces { text } } } }`);
    expect(errors).toBeUndefined();
    const body = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
      body: JSON.stringify({ query: `{ run(id: "x") { console(first: 5${args}) { pieces { text } } } }` }),
    });
    return ((await body.json()) as { extensions: { cost: number } }).extensions.cost;
  };
  expect((await ask(', search: "x"')) - (await ask(''))).toBe(500);
});

test('a subscriber hears of each piece once, whichever server takes it and whichever they are at', async () => {
  const random = testRandom();
  const runId = await app.createRun();
  const COUNT = 60;
  const seen: string[] = [];
  let cursor = '0';
  const follow = async () => {
    while (seen.length < COUNT) {
      const { url } = random.chance(0.5) ? app : other;
      const client = socketClient(url, app.apiKey);
      let left = random.integer(1, 6);
      for await (const { data, errors } of client.iterate<{
        console: { cursor: string; pieces: { text: string }[] };
      }>({ query: WATCH, variables: { id: runId, after: cursor } })) {
        expect(errors).toBeUndefined();
        ({ cursor } = data!.console);
        seen.push(...data!.console.pieces.map(({ text }) => text));
        if (--left === 0 || seen.length >= COUNT) break;
      }
      await client.dispose();
    }
  };
  const following = follow();
  let offset = 0;
  for (let n = 0; n < COUNT; n++) {
    const on = random.chance(0.5) ? app : other;
    const { data } = await appendTo(on, { runId, offset, text: `${n}\n` });
    offset = data.appendConsole.offset;
    if (random.chance(0.2)) await appendTo(on, { runId, offset: 0, text: '0\n' });
  }
  await until(() => seen.length >= COUNT, 'all of it was told', 30_000);
  await following;
  expect(seen).toEqual(Array.from({ length: COUNT }, (_, n) => `${n}\n`));
}, 60_000);
