// The tenants' matrix: every field of the schema that does something or leads somewhere, and every route, asked by
// everybody: those of another workspace, nobody, each role, and every kind of key. A field that is not in ./cases.ts
// fails here, and so does a route that is not at the end of this file.
import {
  getNamedType,
  type GraphQLObjectType,
  isInterfaceType,
  isObjectType,
  isUnionType,
  parse,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.ts';
import { type App, startApp } from '../support/app.ts';
import type { GraphQLAnswer } from '../support/client.ts';
import { askAs, type Credential, mustAs } from '../support/people.ts';
import { type Case, mutations, queries, subscriptions } from './cases.ts';
import { type Asking, makeWorld, type World } from './world.ts';

let app: App;
let world: World;
beforeAll(async () => {
  app = await startApp();
  world = await makeWorld(app);
});
afterAll(() => app[Symbol.asyncDispose]());

const all = { ...queries, ...mutations, ...subscriptions };

describe('nothing is forgotten', () => {
  test('every field of the roots has a case', () => {
    const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
    const fields = roots.flatMap((type) => Object.keys(type?.getFields() ?? {}).map((name) => `${type?.name}.${name}`));
    expect(fields.length).toBeGreaterThan(30);
    const covered = new Set(Object.keys(all).map((name) => name.split(',')[0]));
    expect(fields.filter((field) => !covered.has(field))).toEqual([]);
  });

  test('every field that leads to an object is selected by one', () => {
    const selected = new Set<string>();
    const info = new TypeInfo(schema);
    const note = {
      Field: () => void selected.add(`${info.getParentType()?.name}.${info.getFieldDef()?.name}`),
    };
    for (const { document } of Object.values(all)) visit(parse(document), visitWithTypeInfo(info, note));
    const leading = Object.values(schema.getTypeMap())
      .filter((type): type is GraphQLObjectType => isObjectType(type) && !type.name.startsWith('__'))
      .flatMap((type) =>
        Object.values(type.getFields())
          .filter((field) => {
            const named = getNamedType(field.type);
            return isObjectType(named) || isInterfaceType(named) || isUnionType(named);
          })
          .map(({ name }) => `${type.name}.${name}`),
      );
    expect(leading).toContain('Workspace.members');
    expect(leading.filter((field) => !selected.has(field))).toEqual([]);
  });
});

/** `ok`, `null`, `unseen`, or the code of an error. */
type Outcome = string;

const ROLES = ['VIEWER', 'MEMBER', 'ADMIN', 'OWNER'];

function expected(
  who: string,
  { credential: shown, dead, out, server, grant }: Asking,
  { document, needs, hidden, but }: Case,
): Outcome {
  if (dead) return 'UNAUTHENTICATED';
  const credential = out ? null : shown;
  if (needs === 'open') return 'ok';
  if (needs === 'session') {
    const otherwise = credential ? ('cookie' in credential ? 'ok' : 'FORBIDDEN') : 'UNAUTHENTICATED';
    return but?.[who] ?? otherwise;
  }
  if (needs === 'server') return server ? 'ok' : credential ? 'FORBIDDEN' : 'UNAUTHENTICATED';
  if (!credential) return needs === 'self' ? 'null' : 'UNAUTHENTICATED';
  const has = (scope: string) => grant === undefined || grant.scopes.split(' ').includes(scope);
  const judged = (): Outcome => {
    if (needs === 'self') return grant?.service ? 'null' : 'ok';
    if (needs === 'person') return grant?.service || grant?.limited || !has('ADMIN') ? 'FORBIDDEN' : 'ok';
    // Whatever is reached by a query is read.
    const isQuery = document.startsWith('query');
    if (!grant || (!has('READ') && (isQuery || !has(needs.scope)))) return 'unseen';
    if (grant.limited && needs.in === 'project') return 'unseen';
    const isHigh = ROLES.indexOf(grant.role) >= ROLES.indexOf(needs.role);
    const may = isHigh && has(needs.scope) && !(grant.limited && needs.in === 'workspace');
    return may ? 'ok' : hidden ? 'unseen' : 'FORBIDDEN';
  };
  const outcome = judged();
  return outcome === 'ok' || outcome === 'INVALID_INPUT' ? (but?.[who] ?? outcome) : outcome;
}

function outcomeOf({ at }: Case, { data, errors }: GraphQLAnswer): Outcome {
  const code = errors?.[0]?.extensions.code;
  if (code !== undefined) return code === 'NOT_FOUND' ? 'unseen' : code;
  const value = at.split('.').reduce<unknown>((from, key) => (from as Record<string, unknown> | null)?.[key], data);
  return value == null ? 'null' : 'ok';
}

/** Everything that is stored, except what the looking itself leaves behind. */
async function stored(): Promise<string> {
  const tables = ['"user"', 'workspace', 'membership', 'invitation', 'service_account', 'project', 'run'];
  const more = ['attempt', 'run_head', 'run_writer', 'journal', 'audit_entry'];
  const keys = `SELECT id, name, scopes, all_projects, project_ids, enabled, expires_at, revoked_at FROM api_key`;
  const sessions = 'SELECT id, user_id, token_hash, expires_at FROM session';
  const sums = [...[...tables, ...more].map((table) => `SELECT * FROM ${table}`), keys, sessions].map(
    (rows) => `(SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM (${rows}) t)`,
  );
  const { rows } = await app.engines.pool.query({ text: `SELECT ${sums.join(', ')}`, rowMode: 'array' });
  return JSON.stringify(rows);
}

type Ask = (credential: Credential | null, one: Case, of: World) => Promise<GraphQLAnswer>;

const ask: Ask = (credential, { document, variables }, of) => askAs(app, credential, document, variables?.(of) ?? {});

/** The first event of a stream, while its project is being changed. */
const watch: Ask = async (credential, { document, variables }, of) => {
  const stop = new AbortController();
  const response = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', ...credential },
    body: JSON.stringify({ query: document, variables: variables?.(of) }),
    signal: stop.signal,
  });
  if (!response.headers.get('content-type')?.startsWith('text/event-stream'))
    return (await response.json()) as GraphQLAnswer;
  let text = '';
  const decoder = new TextDecoder();
  const changing = setInterval(
    () => void app.engines.db.run.update({ where: { id: of.runId }, data: { notes: '' } }).catch(() => {}),
    200,
  );
  try {
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      const event = /^data: (\{.*\})$/m.exec(text)?.[1];
      if (event !== undefined) return JSON.parse(event) as GraphQLAnswer;
    }
    throw new Error(`the stream ended without a word: ${text}`);
  } finally {
    clearInterval(changing);
    stop.abort();
  }
};

/** What those of `who` are answered, by name; what of this world they were told, though they have no part in it. */
async function answersTo(who: readonly string[], one: Case, how: Ask) {
  const outcomes: Record<string, Outcome> = {};
  const leaks: Record<string, string> = {};
  const wrong: Record<string, unknown> = {};
  for (const name of who) {
    const { credential, grant } = world.asking[name] as Asking;
    const answer = await how(credential, one, world);
    const outcome = outcomeOf(one, answer);
    // What may not be seen is null where a field may be null, and NOT_FOUND where it may not.
    outcomes[name] = outcome === 'null' && wanted(name, one) === 'unseen' ? 'unseen' : outcome;
    if (outcomes[name] !== wanted(name, one)) wrong[name] = answer.errors;
    const text = JSON.stringify(answer);
    // People are told of to those who administer the server, and nothing that is theirs.
    const ofPeople =
      one.needs === 'server'
        ? new RegExp(`${world.mark} (?!owner|admin|member|viewer|guest|stranger|suspended|server|keyed)`)
        : null;
    const secret = grant?.limited ? world.project : world.mark;
    const isTold = ofPeople ? ofPeople.test(text) || text.includes(world.slug) : text.includes(secret);
    if ((!grant || grant.limited) && outcome !== 'unseen' && isTold) leaks[name] = text;
  }
  return { outcomes, leaks, wrong };
}

const wanted = (who: string, one: Case) => expected(who, world.asking[who] as Asking, one);
const those = (one: Case, may: boolean) =>
  Object.keys(world.asking).filter((who) => (wanted(who, one) === 'ok') === may);
const allWanted = (who: readonly string[], one: Case) => ({
  outcomes: Object.fromEntries(who.map((name) => [name, wanted(name, one)])),
  leaks: {},
  wrong: {},
});

/** Everybody who may not is refused, and nothing of what is stored has changed. */
async function expectRefusals(one: Case): Promise<void> {
  const refused = those(one, false);
  const before = await stored();
  expect(await answersTo(refused, one, ask)).toEqual(allWanted(refused, one));
  expect(await stored()).toEqual(before);
}

test.each(Object.entries(queries))('%s', async (_, one) => {
  await expectRefusals(one);
  const may = those(one, true);
  expect(may.length).toBeGreaterThan(0);
  expect(await answersTo(may, one, ask)).toEqual(allWanted(may, one));
});

test.each(Object.entries(mutations))('%s', { timeout: 60_000 }, async (_, one) => {
  await expectRefusals(one);
  const may = those(one, true);
  expect(may.length).toBeGreaterThan(0);
  for (const who of may) {
    // What one has done the next cannot do again.
    const fresh = await makeWorld(app);
    const before = await stored();
    const answer = await ask(fresh.asking[who]?.credential ?? null, one, fresh);
    expect([who, outcomeOf(one, answer), answer.errors]).toEqual([who, 'ok', undefined]);
    expect([who, (await stored()) !== before]).toEqual([who, true]);
  }
});

test.each(Object.entries(subscriptions))('%s', async (_, one) => {
  const everybody = Object.keys(world.asking);
  expect(await answersTo(everybody, one, watch)).toEqual(allWanted(everybody, one));
});

describe('routes', () => {
  /** What each answers, to whom. The audit log and GraphQL are asked by everybody. */
  const open = {
    '/': 302,
    '/app': 302,
    '/app/': [200, 503],
    '/graphiql/': 404,
    '/healthz': 200,
    '/readyz': 200,
    // What is below it: tests/identity/.
    '/api/auth/': 404,
  };
  const closed = ['/graphql', '/metrics', '/api/audit-log/'];

  test('every route has a case', () => {
    expect(app.paths().toSorted()).toEqual([...Object.keys(open), ...closed].toSorted());
  });

  test.each(Object.entries(open))('%s says the same to everybody, and nothing of anybody', async (path, status) => {
    const said = new Set<string>();
    for (const { credential } of Object.values(world.asking)) {
      const response = await fetch(app.url + path, { headers: { ...credential }, redirect: 'manual' });
      expect([status].flat()).toContain(response.status);
      said.add((await response.text()).replace(/[\da-f]{8}-[\da-f-]{27}/, ''));
    }
    expect(said.size).toBe(1);
    expect([...said].join('')).not.toContain(world.mark);
  });

  test('/metrics takes no credential of a person or a program', async () => {
    for (const { credential } of Object.values(world.asking))
      expect((await fetch(`${app.url}/metrics`, { headers: { ...credential } })).status).toBe(401);
  });

  test('/api/audit-log/ gives the log to those who administer the workspace', async () => {
    const one: Case = { document: '', at: '', needs: { scope: 'ADMIN', role: 'ADMIN', in: 'workspace' } };
    const answered: Record<string, number> = { UNAUTHENTICATED: 401, unseen: 404, FORBIDDEN: 403, ok: 200 };
    await mustAs(app, world.people.owner.session, mutations['Mutation.updateWorkspace']!.document, {
      input: { id: world.workspaceId, name: `${world.mark}, said in the log` },
    });
    const fetchAs = async (who: readonly string[]) => {
      const answers: Record<string, [status: number, hasLog: boolean]> = {};
      for (const name of who) {
        const headers = { ...world.asking[name]?.credential };
        const response = await fetch(`${app.url}/api/audit-log/${world.slug}.jsonl`, { headers });
        answers[name] = [response.status, (await response.text()).includes('said in the log')];
      }
      return answers;
    };
    const told = (who: readonly string[]) =>
      Object.fromEntries(who.map((name) => [name, [answered[wanted(name, one)], wanted(name, one) === 'ok']]));
    const before = await stored();
    expect(await fetchAs(those(one, false))).toEqual(told(those(one, false)));
    expect(await stored()).toEqual(before);
    expect(await fetchAs(those(one, true))).toEqual(told(those(one, true)));
  });
});
