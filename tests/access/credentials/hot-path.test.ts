// What checking a credential costs logging: nothing at all after its first use, whatever is shown, and wherever projects
// are private, public or in the bin beside the one that is written to.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { type Credential, makeKeyOf, makePerson, makeWorkspace, mustAs } from '../../support/people.ts';

const LOG =
  'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { cursor } }';

let app: App;
let runId: string;
const credentials: Record<string, Credential> = {};
beforeAll(async () => {
  app = await startApp({ publicProjects: true, budget: { rateLimit: 1_000_000 } });
  const [owner, member] = [await makePerson(app, 'Olga'), await makePerson(app, 'Max')];
  const { workspaceId, slug } = await makeWorkspace(app, 'lab', [
    [owner, 'OWNER'],
    [member, 'MEMBER'],
  ]);
  const asOwner = (query: string, input: object) => mustAs(app, owner.session, query, { input });
  const project = async (name: string, visibility: string, memberIds: string[] = []) => {
    const create = 'mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } } }';
    const input = { workspace: slug, name, visibility, ...(visibility === 'PRIVATE' ? { memberIds } : {}) };
    return (await asOwner(create, input)).createProject.project.id as string;
  };
  const projectId = await project('shown to some', 'PRIVATE', [member.userId]);
  await project('hidden', 'PRIVATE');
  await project('paper', 'PUBLIC');
  await asOwner('mutation($input: DeleteProjectInput!) { deleteProject(input: $input) { goneAt } }', {
    id: await project('binned', 'WORKSPACE'),
  });
  const run = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
  runId = (await asOwner(run, { workspace: slug, project: 'shown to some' })).createRun.run.id;

  const account = await app.engines.db.serviceAccount.create({ data: { id: randomUUID(), workspaceId, name: 'ci' } });
  const keyOf = async (options: object) => (await makeKeyOf(app, { workspaceId, ...options })).bearer;
  const tokenOf = async (by: Credential): Promise<Credential> => {
    const create = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token } }';
    const { createToken } = await mustAs(app, by, create, { input: { workspaceId, scopes: ['WRITE'], ttl: 600 } });
    return { authorization: `Bearer ${createToken.token}` };
  };
  const { userId } = member;
  Object.assign(credentials, {
    'a key of an owner': await keyOf({ userId: owner.userId }),
    'a key of a member': await keyOf({ userId, scopes: ['WRITE'] }),
    'a key of a member for the project': await keyOf({ userId, projectIds: [projectId] }),
    'a key with a rate of its own': await keyOf({ userId, rateLimit: 2_000_000 }),
    'a key that expires': await keyOf({ userId, expiresAt: new Date(Date.now() + 3_600_000) }),
    'a key of a service account': await keyOf({ serviceAccountId: account.id }),
    'a session': member.session,
    'a token of a key': await tokenOf(await keyOf({ userId })),
    'a token of a session': await tokenOf(member.session),
  });
});
afterAll(() => app[Symbol.asyncDispose]());

test('of each kind of credential, logging costs the append alone, for longer than anything is believed without a look', async () => {
  const all = Object.entries(credentials);
  expect(all.length).toBe(9);
  // What was made for this test has been noticed.
  app.engines.changes.announce();
  for (const [, credential] of all) await mustAs(app, credential, LOG, { id: runId });
  const until = Date.now() + 1_500;
  while (Date.now() < until)
    for (const [name, credential] of all) {
      const { statements } = await app.countSql(() => mustAs(app, credential, LOG, { id: runId }));
      expect([name, statements]).toEqual([name, [expect.stringContaining('INSERT INTO journal')]]);
    }
});
