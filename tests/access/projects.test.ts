// The tenants' matrix once more, of a PRIVATE project and of a PUBLIC one: those who were chosen and those who were not,
// those who are in no workspace of it, and those who are nobody.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { askAs } from '../support/people.ts';
import { type Case, mutations, queries, subscriptions } from './cases.ts';
import { createMatrix, type Matrix, outcomeOf } from './matrix.ts';
import { makeWorld, type World } from './world.ts';

describe.each(['PRIVATE', 'PUBLIC'] as const)('of a %s project', (visibility) => {
  let app: App;
  let world: World;
  let matrix: Matrix;
  beforeAll(async () => {
    app = await startApp({ publicProjects: visibility === 'PUBLIC' });
    world = await makeWorld(app, visibility);
    matrix = createMatrix(app, world);
  });
  afterAll(() => app[Symbol.asyncDispose]());

  test.each(Object.entries(queries))('%s', async (_, one) => {
    await matrix.expectRefusals(one);
    const may = matrix.those(one, true);
    expect(may.length).toBeGreaterThan(0);
    expect(await matrix.answersTo(may, one, matrix.ask)).toEqual(matrix.allWanted(may, one));
  });

  test.each(Object.entries(mutations))('%s', { timeout: 60_000 }, async (_, one) => {
    await matrix.expectRefusals(one);
    for (const who of isOfProject(one) ? matrix.those(one, true) : []) {
      const fresh = await makeWorld(app, visibility);
      const answer = await matrix.ask(fresh.asking[who]?.credential ?? null, one, fresh);
      expect([who, outcomeOf(one, answer), answer.errors]).toEqual([who, 'ok', undefined]);
    }
  });

  test.each(Object.entries(subscriptions))('%s', async (_, one) => {
    const everybody = Object.keys(world.asking);
    expect(await matrix.answersTo(everybody, one, matrix.watch)).toEqual(matrix.allWanted(everybody, one));
  });

  test.runIf(visibility === 'PUBLIC')(
    'of the workspace around it guests are told the name, and what else is public',
    async () => {
      const query = `query($id: ID!) { project(id: $id) { workspace {
        name slug description viewerRole projects(first: 9) { totalCount nodes { name } } } } }`;
      await app.engines.db.workspace.update({
        where: { id: world.workspaceId },
        data: { description: 'for the group alone' },
      });
      const guests = Object.entries(world.asking).filter(([, { guest }]) => guest);
      expect(guests).toHaveLength(8);
      for (const [who, { credential, out }] of guests) {
        const { data } = await askAs(app, credential, query, { id: world.projectId });
        expect([who, data.project.workspace]).toEqual([
          who,
          {
            name: `${world.mark} workspace`,
            slug: world.slug,
            description: '',
            viewerRole: null,
            projects: { totalCount: 1, nodes: [{ name: world.project }] },
          },
        ]);
        for (const field of ['members', 'invitations', 'apiKeys', 'serviceAccounts', 'auditLog', 'deletedProjects']) {
          const inside = `query($id: ID!) { project(id: $id) { workspace { ${field}(first: 1) { totalCount } } } }`;
          const { errors } = await askAs(app, credential, inside, { id: world.projectId });
          const code = credential && !out ? 'NOT_FOUND' : 'UNAUTHENTICATED';
          expect([who, field, errors?.[0]?.extensions.code]).toEqual([who, field, code]);
        }
        const { data: self } = await askAs(app, credential, '{ viewer { workspaces { name } } }');
        expect(JSON.stringify(self)).not.toContain(world.mark);
      }
    },
  );
});

function isOfProject({ needs }: Case): boolean {
  return typeof needs === 'object' && (needs.in === 'project' || needs.in === 'shared');
}
