// Who is in a workspace and as what: roles, the last owner, invitations.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashToken, makeToken } from '../../src/access/credentials/token.ts';
import { type App, startApp } from '../support/app.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../support/people.ts';

const UPDATE = 'mutation($input: UpdateMemberInput!) { updateMember(input: $input) { member { role user { name } } } }';
const REMOVE = 'mutation($input: RemoveMemberInput!) { removeMember(input: $input) { userId } }';
const LEAVE = 'mutation($id: ID!) { leaveWorkspace(input: { workspaceId: $id }) { workspaceId } }';
const TRANSFER =
  'mutation($input: TransferWorkspaceInput!) { transferWorkspace(input: $input) { workspace { viewerRole } } }';
const INVITE =
  'mutation($input: InviteMemberInput!) { inviteMember(input: $input) { token link invitation { id role email } } }';
const ACCEPT =
  'mutation($token: String!) { acceptInvitation(input: { token: $token }) { workspace { slug viewerRole members(first: 9) { totalCount } } } }';

let app: App;
let owner: Person;
let admin: Person;
let member: Person;
let guest: Person;
let workspaceId: string;
let slug: string;
beforeAll(async () => {
  app = await startApp();
});
beforeEach(async () => {
  [owner, admin, member, guest] = (await Promise.all(
    ['Olga', 'Ann', 'Max', 'Gil'].map((name) => makePerson(app, name)),
  )) as [Person, Person, Person, Person];
  ({ workspaceId, slug } = await makeWorkspace(app, 'lab', [
    [owner, 'OWNER'],
    [admin, 'ADMIN'],
    [member, 'MEMBER'],
  ]));
});
afterAll(() => app[Symbol.asyncDispose]());

const roles = async () => {
  const rows = await app.engines.db.membership.findMany({ where: { workspaceId }, include: { user: true } });
  return Object.fromEntries(rows.map(({ role, user }) => [user.name, role]));
};
const setRole = (by: Person, { userId }: Person, role: string) =>
  codeAs(app, by.session, UPDATE, { input: { workspaceId, userId, role } });
const remove = (by: Person, { userId }: Person) => askAs(app, by.session, REMOVE, { input: { workspaceId, userId } });
const invite = async (by: Person, input: object = {}) =>
  (await mustAs(app, by.session, INVITE, { input: { workspaceId, ...input } })).inviteMember as {
    token: string;
    link: string;
    invitation: { id: string; role: string; email: string | null };
  };
const accept = (by: Person, token: string) => askAs(app, by.session, ACCEPT, { token });

describe('roles', () => {
  test('members are listed with their roles; addresses are for who administers', async () => {
    const list = `query($slug: String!, $after: String) { workspace(slug: $slug) {
      members(first: 2, after: $after) { totalCount pageInfo { endCursor } nodes { role email user { name } } } } }`;
    const first = (await mustAs(app, admin.session, list, { slug })).workspace.members;
    expect(first.totalCount).toBe(3);
    expect(first.nodes).toMatchObject([
      { role: 'OWNER', email: `${owner.userId}@example.org`, user: { name: 'Olga' } },
      { role: 'ADMIN', user: { name: 'Ann' } },
    ]);
    const { endCursor: after } = first.pageInfo;
    const rest = (await mustAs(app, member.session, list, { slug, after })).workspace.members;
    expect(rest.nodes).toEqual([{ role: 'MEMBER', email: null, user: { name: 'Max' } }]);
  });

  test('one above one’s own is neither given nor taken', async () => {
    expect(await setRole(admin, member, 'OWNER')).toBe('FORBIDDEN');
    expect(await setRole(admin, owner, 'MEMBER')).toBe('FORBIDDEN');
    expect((await remove(admin, owner)).errors?.[0]?.extensions.code).toBe('FORBIDDEN');
    expect(await setRole(member, admin, 'VIEWER')).toBe('FORBIDDEN');
    expect(await setRole(admin, admin, 'OWNER')).toBe('FORBIDDEN');
    expect(await codeAs(app, admin.session, INVITE, { input: { workspaceId, role: 'OWNER' } })).toBe('FORBIDDEN');
    expect(await roles()).toEqual({ Olga: 'OWNER', Ann: 'ADMIN', Max: 'MEMBER' });
    expect(await setRole(admin, member, 'ADMIN')).toBeNull();
    expect(await setRole(owner, member, 'OWNER')).toBeNull();
    expect(await roles()).toEqual({ Olga: 'OWNER', Ann: 'ADMIN', Max: 'OWNER' });
  });

  test('who is no member is not found', async () => {
    expect(await setRole(owner, guest, 'MEMBER')).toBe('NOT_FOUND');
    expect((await remove(owner, guest)).errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    expect(await codeAs(app, owner.session, TRANSFER, { input: { workspaceId, userId: guest.userId } })).toBe(
      'NOT_FOUND',
    );
  });

  test('who is removed is out at once, with their keys; oneself leaves instead', async () => {
    const key = await makeKeyOf(app, { workspaceId, userId: member.userId });
    const look = 'query($slug: String!) { workspace(slug: $slug) { name } }';
    expect((await mustAs(app, key.bearer, look, { slug })).workspace).toEqual({ name: 'lab' });
    expect((await remove(admin, member)).errors).toBeUndefined();
    expect((await mustAs(app, member.session, look, { slug })).workspace).toBeNull();
    const refused = await askAs(app, key.bearer, look, { slug });
    expect([refused.status, refused.errors?.[0]?.message]).toEqual([
      401,
      expect.stringMatching(/unknown or was revoked/),
    ]);
    // Who comes back does so without them.
    const { token } = await invite(admin);
    expect((await accept(member, token)).errors).toBeUndefined();
    expect((await askAs(app, key.bearer, look, { slug })).status).toBe(401);
    await remove(admin, member);
    const self = await remove(admin, admin);
    expect(self.errors?.[0]).toMatchObject({
      message: expect.stringContaining('leaveWorkspace'),
      extensions: { code: 'INVALID_INPUT', field: 'userId' },
    });
    expect(await codeAs(app, admin.session, LEAVE, { id: workspaceId })).toBeNull();
    expect(await roles()).toEqual({ Olga: 'OWNER' });
  });

  test('the last owner neither leaves nor becomes less, until the workspace is handed over', async () => {
    expect(await codeAs(app, owner.session, LEAVE, { id: workspaceId })).toBe('CONFLICT');
    expect(await setRole(owner, owner, 'ADMIN')).toBe('CONFLICT');
    const input = { workspaceId, userId: member.userId };
    expect(await codeAs(app, admin.session, TRANSFER, { input })).toBe('FORBIDDEN');
    expect(await codeAs(app, owner.session, TRANSFER, { input: { ...input, userId: owner.userId } })).toBe(
      'INVALID_INPUT',
    );
    expect(await codeAs(app, owner.session, TRANSFER, { input })).toBeNull();
    expect(await roles()).toEqual({ Olga: 'ADMIN', Ann: 'ADMIN', Max: 'OWNER' });
    expect(await codeAs(app, owner.session, LEAVE, { id: workspaceId })).toBeNull();
  });

  test('of two owners who take the role from one another at once, one keeps it', async () => {
    for (let round = 0; round < 5; round++) {
      const two = await makeWorkspace(app, 'two', [
        [owner, 'OWNER'],
        [member, 'OWNER'],
      ]);
      const demote = (by: Person, { userId }: Person) =>
        codeAs(app, by.session, UPDATE, { input: { workspaceId: two.workspaceId, userId, role: 'VIEWER' } });
      // What was made behind the server's back has been noticed.
      app.engines.changes.announce();
      const codes = await Promise.all([demote(owner, member), demote(member, owner)]);
      expect(new Set(codes)).toEqual(new Set(['FORBIDDEN', null]));
      const left = await app.engines.db.membership.count({ where: { workspaceId: two.workspaceId, role: 'OWNER' } });
      expect(left).toBe(1);
    }
  });

  test('of two owners who leave at once, one stays', async () => {
    await app.engines.db.membership.updateMany({
      where: { workspaceId, userId: admin.userId },
      data: { role: 'OWNER' },
    });
    const codes = await Promise.all(
      [owner, admin].map(({ session }) => codeAs(app, session, LEAVE, { id: workspaceId })),
    );
    expect(new Set(codes)).toEqual(new Set(['CONFLICT', null]));
  });
});

describe('invitations', () => {
  test('a link lets one person in, once, and is shown once', async () => {
    const { token, link, invitation } = await invite(admin);
    expect(link).toBe(`${app.url}/app/invitation#${token}`);
    expect(invitation).toMatchObject({ role: 'MEMBER', email: null });
    // In the same answer the workspace is open already.
    expect((await accept(guest, token)).data.acceptInvitation.workspace).toEqual({
      slug,
      viewerRole: 'MEMBER',
      members: { totalCount: 4 },
    });
    const late = await makePerson(app, 'Lea');
    expect((await accept(late, token)).errors?.[0]).toMatchObject({
      message: expect.stringMatching(/used already: ask for a new one/),
      extensions: { code: 'CONFLICT' },
    });
    const list =
      'query($slug: String!) { workspace(slug: $slug) { invitations(first: 5) { nodes { id acceptedAt createdBy { name } } } } }';
    const seen = await mustAs(app, admin.session, list, { slug });
    expect(seen.workspace.invitations.nodes).toEqual([
      { id: invitation.id, acceptedAt: expect.any(String), createdBy: { name: 'Ann' } },
    ]);
    expect(
      await codeAs(
        app,
        admin.session,
        'mutation($id: ID!) { revokeInvitation(input: { id: $id }) { invitation { id } } }',
        { id: invitation.id },
      ),
    ).toBe('CONFLICT');
  });

  test('of ten who follow it at once, one joins', async () => {
    const { token } = await invite(owner, { role: 'VIEWER' });
    const people = await Promise.all(Array.from({ length: 10 }, (_, n) => makePerson(app, `guest ${n}`)));
    const codes = await Promise.all(people.map(async (one) => (await accept(one, token)).errors?.[0]?.extensions.code));
    expect(codes.filter((code) => code === undefined)).toHaveLength(1);
    expect(codes.filter((code) => code === 'CONFLICT')).toHaveLength(9);
    expect(Object.keys(await roles())).toHaveLength(4);
  });

  test('one for an address is for the account that has it, in capitals or not', async () => {
    const { token, invitation } = await invite(owner, { email: ` ${guest.userId.toUpperCase()}@Example.org` });
    expect(invitation.email).toBe(`${guest.userId}@example.org`);
    const other = await makePerson(app, 'Eve');
    expect((await accept(other, token)).errors?.[0]).toMatchObject({
      message: expect.stringMatching(/another address/),
      extensions: { code: 'FORBIDDEN' },
    });
    expect((await accept(guest, token)).errors).toBeUndefined();
  });

  test('one that is over, taken back, or was sent by who may no longer invite, lets nobody in', async () => {
    const expired = await invite(owner);
    await app.engines.db.invitation.update({
      where: { tokenHash: hashToken(expired.token) },
      data: { expiresAt: new Date(Date.now() - 1) },
    });
    const revoked = await invite(owner);
    await mustAs(
      app,
      admin.session,
      'mutation($id: ID!) { revokeInvitation(input: { id: $id }) { invitation { revokedAt } } }',
      {
        id: revoked.invitation.id,
      },
    );
    const demoted = await invite(admin);
    expect(await setRole(owner, admin, 'MEMBER')).toBeNull();
    const told = async (token: string) => {
      const { errors } = await accept(guest, token);
      return [errors?.[0]?.extensions.code, errors?.[0]?.message];
    };
    expect(await told(expired.token)).toEqual(['CONFLICT', expect.stringMatching(/has expired/)]);
    expect(await told(demoted.token)).toEqual(['CONFLICT', expect.stringMatching(/may no longer invite/)]);
    const none = ['NOT_FOUND', expect.stringMatching(/revoked, or the link was cut or mistyped/)];
    for (const token of [
      revoked.token,
      makeToken('invitation'),
      makeToken('key'),
      revoked.token.slice(1),
      '',
      'x'.repeat(9_000),
    ])
      expect(await told(token)).toEqual(none);
    expect(await roles()).toEqual({ Olga: 'OWNER', Ann: 'MEMBER', Max: 'MEMBER' });
  });

  test('who was removed does not come back by a link of their own', async () => {
    const { token } = await invite(admin);
    await remove(owner, admin);
    expect((await accept(admin, token)).errors?.[0]?.message).toMatch(/may no longer invite/);
  });

  test('a member stays what they are, and the link stays good for another', async () => {
    const { token } = await invite(owner, { role: 'VIEWER' });
    expect((await accept(member, token)).errors?.[0]).toMatchObject({
      message: expect.stringMatching(/member of this workspace already/),
      extensions: { code: 'CONFLICT' },
    });
    expect(await roles()).toMatchObject({ Max: 'MEMBER' });
    expect((await accept(guest, token)).errors).toBeUndefined();
    const input = { workspaceId, email: `${member.userId}@example.org` };
    expect(await codeAs(app, owner.session, INVITE, { input })).toBe('CONFLICT');
  });

  test.each([
    ['no address', { email: 'nobody' }, /must be an e-mail address/],
    ['two addresses', { email: 'a@b@c' }, /must be an e-mail address/],
    ['an address with a line break', { email: 'a@b.org\nBcc: c@d.org' }, /must be an e-mail address/],
    ['a long address', { email: `${'x'.repeat(260)}@example.org` }, /must be an e-mail address/],
    ['a time that is over', { expiresAt: '2020-01-01T00:00:00Z' }, /within the next 90 days/],
    ['a time too far away', { expiresAt: '2099-01-01T00:00:00Z' }, /within the next 90 days/],
  ])('%s is refused', async (_, input, message) => {
    const { errors } = await askAs(app, owner.session, INVITE, { input: { workspaceId, ...input } });
    expect(errors?.[0]).toMatchObject({
      message: expect.stringMatching(message),
      extensions: { code: 'INVALID_INPUT' },
    });
  });
});
