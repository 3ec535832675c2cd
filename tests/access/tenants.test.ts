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
import { mustAs } from '../support/people.ts';
import { type Case, mutations, queries, subscriptions } from './cases.ts';
import { createMatrix, type Matrix, outcomeOf } from './matrix.ts';
import { makeWorld, type World } from './world.ts';

let app: App;
let world: World;
let matrix: Matrix;
beforeAll(async () => {
  app = await startApp();
  world = await makeWorld(app);
  matrix = createMatrix(app, world);
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

test.each(Object.entries(queries))('%s', async (_, one) => {
  await matrix.expectRefusals(one);
  const may = matrix.those(one, true);
  expect(may.length).toBeGreaterThan(0);
  expect(await matrix.answersTo(may, one, matrix.ask)).toEqual(matrix.allWanted(may, one));
});

test.each(Object.entries(mutations))('%s', { timeout: 60_000 }, async (_, one) => {
  await matrix.expectRefusals(one);
  const may = matrix.those(one, true);
  expect(may.length).toBeGreaterThan(0);
  for (const who of may) {
    // What one has done the next cannot do again.
    const fresh = await makeWorld(app);
    const before = await matrix.stored();
    const answer = await matrix.ask(fresh.asking[who]?.credential ?? null, one, fresh);
    expect([who, outcomeOf(one, answer), answer.errors]).toEqual([who, 'ok', undefined]);
    expect([who, (await matrix.stored()) !== before]).toEqual([who, true]);
  }
});

test.each(Object.entries(subscriptions))('%s', async (_, one) => {
  const everybody = Object.keys(world.asking);
  expect(await matrix.answersTo(everybody, one, matrix.watch)).toEqual(matrix.allWanted(everybody, one));
});

describe('routes', () => {
  /** What each answers, to whom. The audit log and GraphQL are asked by everybody. */
  const open = {
    '/': 302,
    '/app': 302,
    '/app/': [200, 503],
    '/graphiql/': 404,
    '/.well-known/jwks.json': 200,
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
      Object.fromEntries(
        who.map((name) => [name, [answered[matrix.wanted(name, one)], matrix.wanted(name, one) === 'ok']]),
      );
    const before = await matrix.stored();
    expect(await fetchAs(matrix.those(one, false))).toEqual(told(matrix.those(one, false)));
    expect(await matrix.stored()).toEqual(before);
    expect(await fetchAs(matrix.those(one, true))).toEqual(told(matrix.those(one, true)));
  });
});
