// The audit log: every act leaves one entry, in its own transaction, which nobody can change; and it can be taken out.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSignInLink } from '../../src/identity/sign-in/links.ts';
import { createPurge } from '../../src/workspaces/purge.ts';
import { type App, startApp } from '../support/app.ts';
import { silentLog } from '../support/log.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../support/people.ts';
import { send } from '../support/send.ts';

let app: App;
let owner: Person;
let member: Person;
let workspaceId: string;
let slug: string;
beforeAll(async () => {
  app = await startApp();
});
beforeEach(async () => {
  [owner, member] = [await makePerson(app, 'Olga'), await makePerson(app, 'Max')];
  ({ workspaceId, slug } = await makeWorkspace(app, 'lab', [
    [owner, 'OWNER'],
    [member, 'MEMBER'],
  ]));
});
afterAll(() => app[Symbol.asyncDispose]());

interface Entry {
  action: string;
  [field: string]: unknown;
}

async function readLog(args = ''): Promise<Entry[]> {
  const query = `query($slug: String!) { workspace(slug: $slug) { auditLog(first: 100${args}) { totalCount nodes {
    id at action actorId actorName credentialKind credentialId address userAgent targetType targetId targetName details } } } }`;
  const { totalCount, nodes } = (await mustAs(app, owner.session, query, { slug })).workspace.auditLog;
  expect(totalCount).toBe(nodes.length);
  // The newest is told first.
  return nodes.toReversed();
}

const act = (who: Person, name: string, type: string, select: string, input: object) =>
  mustAs(
    app,
    { ...who.session, 'user-agent': 'a test' },
    `mutation($input: ${type}!) { ${name}(input: $input) { ${select} } }`,
    {
      input,
    },
  );

test('every act on people, keys, invitations, points and the workspace leaves an entry', async () => {
  const guest = await makePerson(app, 'Gil');
  const leaver = await makePerson(app, 'Lea');
  await app.engines.db.membership.create({ data: { workspaceId, userId: leaver.userId, role: 'VIEWER' } });
  await act(owner, 'updateWorkspace', 'UpdateWorkspaceInput', 'workspace { id }', { id: workspaceId, name: 'Lab' });
  const { inviteMember } = await act(owner, 'inviteMember', 'InviteMemberInput', 'token invitation { id }', {
    workspaceId,
  });
  const other = await act(owner, 'inviteMember', 'InviteMemberInput', 'invitation { id }', { workspaceId });
  await act(owner, 'revokeInvitation', 'RevokeInvitationInput', 'invitation { id }', {
    id: other.inviteMember.invitation.id,
  });
  await act(guest, 'acceptInvitation', 'AcceptInvitationInput', 'workspace { id }', { token: inviteMember.token });
  await act(owner, 'updateMember', 'UpdateMemberInput', 'member { role }', {
    workspaceId,
    userId: guest.userId,
    role: 'VIEWER',
  });
  await act(owner, 'removeMember', 'RemoveMemberInput', 'userId', { workspaceId, userId: guest.userId });
  await act(leaver, 'leaveWorkspace', 'LeaveWorkspaceInput', 'workspaceId', { workspaceId });
  const made = await act(owner, 'createServiceAccount', 'CreateServiceAccountInput', 'serviceAccount { id }', {
    workspaceId,
    name: 'ci',
  });
  const { createApiKey } = await act(owner, 'createApiKey', 'CreateApiKeyInput', 'secret apiKey { id }', {
    workspaceId,
    name: 'training',
    scopes: ['READ', 'WRITE'],
  });
  const keyId = createApiKey.apiKey.id;
  const run = (await act(owner, 'createRun', 'CreateRunInput', 'run { id }', { workspace: slug })).createRun.run;
  const remove = 'mutation($id: ID!) { deletePoints(input: { runId: $id, name: "loss", from: 3 }) { cursor } }';
  await mustAs(app, { authorization: `Bearer ${createApiKey.secret}` }, remove, { id: run.id });
  await act(owner, 'updateApiKey', 'UpdateApiKeyInput', 'apiKey { id }', { id: keyId, enabled: false });
  await act(owner, 'revokeApiKey', 'RevokeApiKeyInput', 'apiKey { id }', { id: keyId });
  await act(owner, 'revokeApiKey', 'RevokeApiKeyInput', 'apiKey { id }', { id: keyId });
  await act(owner, 'deleteServiceAccount', 'DeleteServiceAccountInput', 'id', {
    id: made.createServiceAccount.serviceAccount.id,
  });
  await act(owner, 'deleteWorkspace', 'DeleteWorkspaceInput', 'goneAt', { id: workspaceId });
  await act(owner, 'restoreWorkspace', 'RestoreWorkspaceInput', 'workspace { id }', { id: workspaceId });
  await act(owner, 'transferWorkspace', 'TransferWorkspaceInput', 'workspace { id }', {
    workspaceId,
    userId: member.userId,
  });

  const log = await readLog();
  expect(log.map(({ action, actorName, targetName }) => [action, actorName, targetName])).toEqual([
    ['workspace.update', 'Olga', 'Lab'],
    ['invitation.create', 'Olga', 'whoever has the link'],
    ['invitation.create', 'Olga', 'whoever has the link'],
    ['invitation.revoke', 'Olga', 'whoever had the link'],
    ['invitation.accept', 'Gil', 'Gil'],
    ['member.update', 'Olga', 'Gil'],
    ['member.remove', 'Olga', 'Gil'],
    ['workspace.leave', 'Lea', 'Lea'],
    ['serviceAccount.create', 'Olga', 'ci'],
    ['key.create', 'Olga', 'training'],
    ['points.delete', 'Olga', run.id],
    ['key.update', 'Olga', 'training'],
    ['key.revoke', 'Olga', 'training'],
    ['serviceAccount.delete', 'Olga', 'ci'],
    ['workspace.delete', 'Olga', 'Lab'],
    ['workspace.restore', 'Olga', 'Lab'],
    ['workspace.transfer', 'Olga', 'Max'],
  ]);
  expect(log.find(({ action }) => action === 'member.update')).toMatchObject({
    actorId: owner.userId,
    credentialKind: 'session',
    address: '127.0.0.1',
    userAgent: 'a test',
    targetType: 'USER',
    targetId: guest.userId,
    details: { from: 'MEMBER', to: 'VIEWER' },
  });
  expect(log.find(({ action }) => action === 'points.delete')).toMatchObject({
    credentialKind: 'key',
    credentialId: keyId,
    targetType: 'RUN',
    details: { name: 'loss', tag: '', from: 3, to: null },
  });
  expect(JSON.stringify(log)).not.toContain(createApiKey.secret);
  expect(JSON.stringify(log)).not.toContain(inviteMember.token);
  expect((await readLog(', action: "key.create"')).map(({ action }) => action)).toEqual(['key.create']);
  expect((await readLog(`, actorId: "${leaver.userId}"`)).map(({ action }) => action)).toEqual(['workspace.leave']);
});

test('signing in and out is told in every workspace of the person, with where it came from', async () => {
  const second = await makeWorkspace(app, 'second', [[member, 'VIEWER']]);
  const token = await createSignInLink(app.engines.db, member.userId);
  const headers = { 'content-type': 'application/json', 'user-agent': 'a browser' };
  const signedIn = await send(app.url, '/api/auth/sign-in-link', {
    method: 'POST',
    headers,
    body: JSON.stringify({ token }),
  });
  const cookie = signedIn.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  await send(app.url, '/api/auth/sign-out', { method: 'POST', headers: { ...headers, cookie }, body: '{}' });
  const entries = (id: string) =>
    app.engines.db.auditEntry.findMany({ where: { workspaceId: id }, orderBy: { id: 'asc' } });
  for (const id of [workspaceId, second.workspaceId])
    expect(await entries(id)).toMatchObject(
      ['session.create', 'session.delete'].map((action) => ({
        action,
        actorId: member.userId,
        actorName: 'Max',
        address: '127.0.0.1',
        userAgent: 'a browser',
        credentialKind: 'session',
      })),
    );
});

test('an act that fails leaves no entry, and an entry that cannot be written undoes the act', async () => {
  const update = 'mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { name } } }';
  const taken = await makeWorkspace(app, 'taken', []);
  expect(await codeAs(app, owner.session, update, { input: { id: workspaceId, slug: taken.slug } })).toBe('CONFLICT');
  expect(await readLog()).toEqual([]);
  const run = 'mutation($slug: String!) { createRun(input: { workspace: $slug }) { run { id } } }';
  const { id } = (await mustAs(app, owner.session, run, { slug })).createRun.run;
  const { pool } = app.engines;
  await pool.query('ALTER TABLE audit_entry RENAME TO audit_entry_away');
  try {
    expect(await codeAs(app, owner.session, update, { input: { id: workspaceId, name: 'unheard' } })).toBe('INTERNAL');
    const remove = 'mutation($id: ID!) { deletePoints(input: { runId: $id, name: "loss" }) { cursor } }';
    expect(await codeAs(app, owner.session, remove, { id })).toBe('INTERNAL');
  } finally {
    await pool.query('ALTER TABLE audit_entry_away RENAME TO audit_entry');
  }
  const look = 'query($slug: String!, $id: ID!) { workspace(slug: $slug) { name } run(id: $id) { cursor } }';
  expect(await mustAs(app, owner.session, look, { slug, id })).toEqual({
    workspace: { name: 'lab' },
    run: { cursor: '0' },
  });
});

describe('an entry', () => {
  const write = async (age: string) => {
    const id = randomUUID();
    await app.engines.pool.query(
      `INSERT INTO audit_entry (id, workspace_id, at, action, actor_name, credential_kind, target_type, target_name)
       VALUES ($1, $2, now() - $3::interval, 'key.create', 'Olga', 'session', 'KEY', 'old')`,
      [id, workspaceId, age],
    );
    return id;
  };

  test('is neither changed nor deleted, by whatever statement', async () => {
    const id = await write('89 days');
    const { pool, db } = app.engines;
    for (const statement of [
      `UPDATE audit_entry SET actor_name = 'nobody' WHERE id = '${id}'`,
      `DELETE FROM audit_entry WHERE id = '${id}'`,
      'TRUNCATE audit_entry',
      `INSERT INTO audit_entry SELECT * FROM audit_entry WHERE id = '${id}' ON CONFLICT (id) DO UPDATE SET action = 'none'`,
    ])
      await expect(pool.query(statement)).rejects.toThrow(/the audit log is only added to/);
    await expect(db.auditEntry.deleteMany()).rejects.toThrow(/only added to/);
    expect(await db.auditEntry.findUnique({ where: { id } })).toMatchObject({
      actorName: 'Olga',
      action: 'key.create',
    });
  });

  test('goes when its time is over', async () => {
    const ids = [await write('99 days'), await write('101 days')];
    const purge = createPurge({ pool: app.engines.pool, log: silentLog, auditDays: 100 });
    await purge.run();
    purge.close();
    const left = await app.engines.db.auditEntry.findMany({ where: { id: { in: ids } } });
    expect(left.map(({ id }) => id)).toEqual([ids[0]]);
  });

  test('outlives the person and the workspace', async () => {
    const { db } = app.engines;
    await mustAs(
      app,
      owner.session,
      'mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { id } } }',
      {
        input: { id: workspaceId, name: 'Lab' },
      },
    );
    await db.workspace.delete({ where: { id: workspaceId } });
    await db.user.delete({ where: { id: owner.userId } });
    expect(await db.auditEntry.findMany({ where: { workspaceId } })).toMatchObject([
      { actorName: 'Olga', targetName: 'Lab' },
    ]);
  });
});

test('all of it can be taken out, in order, and taking it out is in it', async () => {
  const count = 2_345;
  await app.engines.pool.query(
    `INSERT INTO audit_entry (id, workspace_id, action, actor_name, credential_kind, target_type, target_name, details)
     SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, 'key.create', E'line\\nbreak', 'session', 'KEY',
            n::text, '{"a": [1]}' FROM generate_series(1, ${count}) n`,
    [workspaceId],
  );
  const path = `${app.url}/api/audit-log/${slug}.jsonl`;
  const response = await fetch(path, { headers: owner.session });
  expect(response.headers.get('content-disposition')).toBe(`attachment; filename="audit-log-${slug}.jsonl"`);
  const entries = (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Entry);
  expect(entries.slice(0, count).map(({ targetName }) => Number(targetName))).toEqual(
    Array.from({ length: count }, (_, index) => index + 1),
  );
  expect(entries[0]).toMatchObject({ actorName: 'line\nbreak', details: { a: [1] } });
  expect(entries.slice(count)).toMatchObject([{ action: 'auditLog.export', actorName: 'Olga' }]);
  // What is no slug of anybody's, however it is written.
  for (const name of ['nothing', '%00', '..%2f', `${slug}/x`, '']) {
    const none = await fetch(`${app.url}/api/audit-log/${name}.jsonl`, { headers: owner.session });
    expect([name, none.status]).toEqual([name, 404]);
  }
  const key = await makeKeyOf(app, { workspaceId, userId: owner.userId });
  expect((await fetch(path, { method: 'POST', headers: key.bearer })).status).toBe(405);
  expect((await askAs(app, key.bearer, '{ viewer { id } }')).status).toBe(200);
});
