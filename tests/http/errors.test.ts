// What goes wrong, and how it is said: one form, one list of codes, and nothing that is not meant for the client.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Scope } from '../../src/access/access.ts';
import { createApiKey } from '../../src/identity/accounts/first-start.ts';
import { makeToken } from '../../src/access/credentials/token.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createOwner, startApp, type App } from '../support/app.ts';
import { type GraphQLAnswer, socketClient, until } from '../support/client.ts';
import { recordingLog, silentLog } from '../support/log.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { cursor } }`;
const nowhere = '00000000-0000-7000-8000-000000000000';

/** The one event of a subscription, as an answer. */
async function first(url: string, apiKey: string | null, query: string): Promise<GraphQLAnswer> {
  // A socket is for those who are known; streams over HTTP answer others too.
  if (apiKey === null) {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query }),
    });
    const event = /^data: (\{.*\})$/m.exec(await response.text())?.[1] ?? '{}';
    return JSON.parse(event) as GraphQLAnswer;
  }
  const client = socketClient(url, apiKey);
  try {
    const { value } = await client.iterate({ query }).next();
    return value as GraphQLAnswer;
  } finally {
    await client.dispose();
  }
}

describe('credentials that are none', () => {
  const viewer = async (authorization: string) => {
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization },
      body: '{"query": "{ viewer { id } }"}',
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as GraphQLAnswer };
  };
  const update = async (secret: string, data: { revokedAt?: Date; expiresAt?: Date }) => {
    const { hashToken } = await import('../../src/access/credentials/token.ts');
    await app.engines.db.apiKey.update({ where: { secretHash: hashToken(secret) }, data });
  };

  test.each([
    ['unknown', () => `Bearer ${makeToken('key')}`],
    ['cut', () => `Bearer ${app.apiKey.slice(0, -1)}`],
    ['mistyped', () => `Bearer ${app.apiKey.replace(/.$/, (last) => (last === 'x' ? 'y' : 'x'))}`],
    ['of another kind', () => `Bearer ${makeToken('session')}`],
    ['without its scheme', () => app.apiKey],
    ['Basic', () => `Basic ${Buffer.from(`api:${app.apiKey}`).toString('base64')}`],
    ['empty', () => 'Bearer'],
    ['doubled', () => `Bearer ${app.apiKey}, Bearer ${app.apiKey}`],
    ['huge', () => `Bearer ${'x'.repeat(10_000)}`],
    ['a JWT that signs itself', () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvd25lciJ9.'],
  ])('%s', async (_, authorization) => {
    const { status, headers, body } = await viewer(authorization());
    expect(status).toBe(401);
    expect(headers.get('www-authenticate')).toMatch(/^Bearer/);
    expect(body.data).toBeUndefined();
    expect(body.errors).toEqual([
      {
        message: expect.any(String),
        extensions: { code: 'UNAUTHENTICATED', requestId: headers.get('x-request-id') },
      },
    ]);
    expect(JSON.stringify(body)).not.toContain(app.apiKey);
  });

  test('one that was revoked is refused within a second, and one that expired too', async () => {
    for (const data of [{ revokedAt: new Date() }, { expiresAt: new Date(Date.now() - 1) }]) {
      const key = await createApiKey(app.engines.db, app.owner, 'short-lived');
      expect((await viewer(`Bearer ${key}`)).status).toBe(200);
      await update(key, data);
      const since = Date.now();
      await until(async () => (await viewer(`Bearer ${key}`)).status === 401, 'the key is refused', 2_000);
      expect(Date.now() - since).toBeLessThan(1_500);
    }
  });

  test('one of somebody who left', async () => {
    const owner = await createOwner(app, 'left');
    const key = await createApiKey(app.engines.db, owner, 'left');
    await app.engines.db.membership.deleteMany({ where: { userId: owner.userId } });
    expect((await viewer(`Bearer ${key}`)).status).toBe(401);
  });

  test('a key does no more than the person who made it', async () => {
    const scopes: Scope[] = ['READ', 'WRITE', 'ADMIN'];
    const owner = await createOwner(app, 'lowered');
    const key = await createApiKey(app.engines.db, owner, 'lowered', scopes);
    await app.engines.db.membership.updateMany({ where: { userId: owner.userId }, data: { role: 'VIEWER' } });
    const answer = await app.request('mutation { createProject(input: { name: "p" }) { project { id } } }', {}, key);
    expect(answer.errors?.[0]?.extensions.code).toBe('FORBIDDEN');
  });
});

describe('faults of ours', () => {
  test('are masked, and logged under the id that is answered', async () => {
    const log = recordingLog();
    const own = await startApp({ log });
    try {
      const id = await own.createRun();
      await own.engines.pool.query('ALTER TABLE journal RENAME TO journal_of_secrets');
      for (const [query, variables] of [
        [LOG, { id }],
        ['query($id: ID!) { run(id: $id) { metrics(first: 1) { totalCount } } }', { id }],
        ['query($id: ID!) { charts(input: { runIds: [$id], metrics: [{ name: "loss" }] }) { name } }', { id }],
      ] as const) {
        const answer = await own.request(query, variables);
        const [error] = answer.errors ?? [];
        const requestId = answer.headers.get('x-request-id');
        expect(error?.extensions).toEqual({ code: 'INTERNAL', requestId });
        expect(JSON.stringify(answer)).not.toMatch(/journal|relation|SELECT|src\//);
        const line = log.lines.findLast(({ level }) => level === 'error');
        expect(line?.fields).toMatchObject({ requestId, err: { message: expect.stringContaining('journal') } });
      }

      // What Prisma throws carries the statement.
      await own.engines.pool.query('ALTER TABLE project RENAME TO project_of_secrets');
      const answer = await own.request('{ project(name: "x") { id } }');
      expect(answer.errors?.[0]).toMatchObject({ extensions: { code: 'INTERNAL' } });
      expect(JSON.stringify(answer)).not.toMatch(/project_of|prisma|invocation|does not exist/i);

      const watched = await first(
        own.url,
        own.apiKey,
        `subscription { metrics(input: { runs: [{ id: "${id}", after: "7" }] }) { __typename } }`,
      );
      expect(watched.data?.metrics?.__typename ?? watched.errors?.[0]?.extensions.code).toMatch(
        /MetricsReset|INTERNAL/,
      );
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });

  test('in an open subscription are masked too, over both transports', async () => {
    const log = recordingLog();
    const own = await startApp({ log });
    try {
      const id = await own.createRun();
      await own.must(LOG, { id });
      const query = `subscription { metrics(input: { runs: [{ id: "${id}", after: "0" }] }) { __typename } }`;
      await own.engines.pool.query('ALTER TABLE journal RENAME TO journal_of_secrets');
      const client = socketClient(own.url, own.apiKey);
      const thrown = await client
        .iterate({ query })
        .next()
        .then(
          ({ value }) => value as unknown,
          (error: unknown) => error,
        );
      await client.dispose();
      expect(JSON.stringify(thrown)).toContain('"INTERNAL"');
      expect(JSON.stringify(thrown)).not.toMatch(/journal|relation/);
      const response = await fetch(`${own.url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'text/event-stream',
          authorization: `Bearer ${own.apiKey}`,
        },
        body: JSON.stringify({ query }),
      });
      const text = await response.text();
      expect(text).toContain('"INTERNAL"');
      expect(text).toContain('event: complete');
      expect(text).not.toMatch(/journal|relation/);
      expect(log.lines.filter(({ level }) => level === 'error').length).toBeGreaterThanOrEqual(2);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});

test('a database that is away is UNAVAILABLE at once, acknowledges nothing, and heals by itself', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'runtide-away-'));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), log: silentLog });
  try {
    await migrate(postgres.connectionString);
    const own = await startApp({ databaseUrl: postgres.connectionString });
    try {
      const id = await own.createRun();
      const acknowledged: string[] = [];
      const ways: [string, () => Promise<GraphQLAnswer>][] = [
        ['logMetrics', () => own.request(LOG, { id })],
        ['createRun', () => own.request('mutation { createRun(input: {}) { attempt } }')],
        [
          'updateRun',
          () =>
            own.request('mutation($id: ID!) { updateRun(input: { id: $id, config: { a: 1 } }) { run { id } } }', {
              id,
            }),
        ],
        [
          'run',
          () => own.request('query($id: ID!) { run(id: $id) { name metrics(first: 1) { totalCount } } }', { id }),
        ],
      ];
      for (const [, way] of ways) expect((await way()).errors).toBeUndefined();
      let away = 0;
      for (let kill = 0; kill < 3; kill++) {
        const pid = postgres.pid();
        process.kill(pid, 'SIGKILL');
        const since = Date.now();
        // The credential is still believed for a second, so that all kinds of statements meet the database that is gone.
        const answers = await Promise.all(
          ways.map(async ([name, way]) => {
            const answer = await way();
            return { name, answer, ms: Date.now() - since };
          }),
        );
        for (const { name, answer, ms } of answers) {
          expect(ms).toBeLessThan(2_500);
          if (!answer.errors) {
            if (name === 'logMetrics') acknowledged.push(answer.data.logMetrics.cursor);
            continue;
          }
          away++;
          expect([name, answer.errors[0]]).toMatchObject([
            name,
            { extensions: { code: 'UNAVAILABLE', retryAfterMs: expect.any(Number), requestId: expect.any(String) } },
          ]);
        }
        // Until then a connection may still be served by what the killed one left behind.
        await until(() => postgres.pid() !== pid, 'PostgreSQL is back', 10_000);
        await until(async () => (await fetch(`${own.url}/readyz`)).status === 200, 'ready again', 5_000);
        await until(async () => !(await own.request(LOG, { id })).errors, 'it takes points again', 5_000);
      }
      expect(away).toBeGreaterThan(0);
      const { run } = await until(
        async () => (await own.request('query($id: ID!) { run(id: $id) { cursor } }', { id })).data,
        'it is read again',
        5_000,
      );
      // The first one, one after each kill, and those that came through.
      expect(Number(run.cursor)).toBe(1 + 3 + acknowledged.length);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  } finally {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);

describe('every error has the same form', () => {
  test.each([
    ['syntax', '{ server {', {}],
    ['an unknown field', '{ nothing }', {}],
    ['an unknown argument', '{ server(x: 1) { version } }', {}],
    ['a missing variable', 'query($id: ID!) { run(id: $id) { id } }', {}],
    [
      'a wrong variable',
      'query($first: Int!) { project(name: "a") { runs(first: $first) { totalCount } } }',
      { first: 'x' },
    ],
    ['a variable that is no input', 'query($a: Run) { server { version } }', {}],
    ['a wrong date', 'mutation { createRun(input: { startedAt: "yesterday" }) { attempt } }', {}],
    ['a wrong enum', 'mutation($r: Resume) { createRun(input: { resume: $r }) { attempt } }', { r: 'SOMETIMES' }],
    ['a domain error', 'mutation { createRun(input: { name: "" }) { attempt } }', {}],
    ['null from a resolver', 'mutation { updateRun(input: { id: "x" }) { run { id } } }', {}],
  ])('%s', async (_, query, variables) => {
    const answer = await app.request(query, variables);
    expect(answer.errors?.length).toBeGreaterThan(0);
    for (const error of answer.errors ?? []) {
      expect(error.message).not.toBe('');
      expect(['INVALID_INPUT', 'NOT_FOUND']).toContain(error.extensions.code);
      expect(error.extensions.requestId).toBe(answer.headers.get('x-request-id'));
      expect(Object.keys(error).filter((key) => !['message', 'locations', 'path', 'extensions'].includes(key))).toEqual(
        [],
      );
      expect(
        Object.keys(error.extensions).filter((key) => !['code', 'requestId', 'field', 'index'].includes(key)),
      ).toEqual([]);
    }
  });

  test('a wrong variable names its field, and is not sent back whole', async () => {
    const query = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';
    const answer = await app.request(query, {
      input: {
        runId: nowhere,
        points: [
          { name: 'a', step: 1, value: 1 },
          { name: 'a', step: 'x'.repeat(1e6), value: 1 },
        ],
      },
    });
    expect(answer.errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT', field: 'points[1].step' });
    expect(JSON.stringify(answer.errors).length).toBeLessThan(5_000);
  });
});
