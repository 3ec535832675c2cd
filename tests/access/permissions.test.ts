// The table of permissions, read row by row: who may do what, and how what they may not do is said.
import { describe, expect, test } from 'vitest';
import type { Access, Grant, Role, Scope } from '../../src/access/access.ts';
import {
  accountPermissions,
  type Action,
  isAllowed,
  permissions,
  projectsFor,
  requirePermission,
  requirePerson,
  requireServerAdmin,
  serverPermissions,
  workspaceIdsFor,
} from '../../src/access/permissions.ts';

const W = 'workspace-1';
const P = 'project-1';
const ALL: Scope[] = ['READ', 'WRITE', 'ADMIN'];
const NONE: ReadonlySet<string> = new Set();
const ROLES: Role[] = ['VIEWER', 'MEMBER', 'ADMIN', 'OWNER'];
const actions = Object.keys(permissions) as Action[];

function access(
  grant: { role: Role; scopes?: Scope[]; projectIds?: string[] } | null,
  over: Partial<Access> = {},
): Access {
  const { role = 'OWNER', scopes = ALL, projectIds = null } = grant ?? {};
  const full: Grant = {
    role,
    scopes: new Set(scopes),
    projectIds: projectIds && new Set(projectIds),
    hiddenProjectIds: NONE,
  };
  return {
    credential: { kind: 'session', id: 's', expiresAt: null },
    userId: 'u',
    name: 'somebody',
    workspaces: new Map(grant ? [[W, full]] : []),
    homeWorkspaceId: W,
    from: { address: null, userAgent: null },
    ...over,
  };
}

const place = { workspaceId: W, projectId: P };

test('what each role adds to the one before it', () => {
  const added: Record<string, string[]> = {};
  let before: Action[] = [];
  for (const role of ROLES) {
    const now = actions.filter((action) => isAllowed(access({ role }), place, action));
    expect(before.filter((action) => !now.includes(action))).toEqual([]);
    added[role] = now.filter((action) => !before.includes(action));
    before = now;
  }
  expect(added).toEqual({
    VIEWER: [
      'workspace.read',
      'workspace.leave',
      'member.read',
      'key.create',
      'key.changeOwn',
      'token.create',
      'project.read',
      'run.read',
      'points.read',
      'console.read',
    ],
    MEMBER: [
      'project.create',
      'project.update',
      'project.shareOwn',
      'project.deleteOwn',
      'run.create',
      'run.update',
      'run.finish',
      'run.heartbeat',
      'run.command',
      'command.receive',
      'command.acknowledge',
      'points.log',
      'points.delete',
      'console.append',
    ],
    ADMIN: [
      'workspace.update',
      'member.update',
      'member.remove',
      'invitation.read',
      'invitation.create',
      'invitation.revoke',
      'key.read',
      'key.change',
      'serviceAccount.read',
      'serviceAccount.create',
      'serviceAccount.delete',
      'audit.read',
      'project.share',
      'project.delete',
    ],
    OWNER: ['workspace.delete', 'workspace.transfer'],
  });
});

test('a scope, a role or a project more never takes anything away', () => {
  const subsets = Array.from({ length: 8 }, (_, bits) => ALL.filter((_scope, index) => bits & (1 << index)));
  let seen = 0;
  for (const action of actions)
    for (const role of ROLES)
      for (const scopes of subsets) {
        if (!isAllowed(access({ role, scopes, projectIds: [P] }), place, action)) continue;
        seen++;
        expect(isAllowed(access({ role, scopes }), place, action)).toBe(true);
        expect(isAllowed(access({ role: 'OWNER', scopes: ALL }), place, action)).toBe(true);
        for (const scope of ALL)
          expect(isAllowed(access({ role, scopes: [...scopes, scope], projectIds: [P] }), place, action)).toBe(true);
      }
  expect(seen).toBeGreaterThan(100);
});

describe('what is refused', () => {
  const refusal = (who: Access, where: { workspaceId: string; projectId?: string }, action: Action) => {
    try {
      requirePermission(who, where, action, 'thing');
      return null;
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return [code, message];
    }
  };

  test('does not exist where it may not be seen', () => {
    const none = ['NOT_FOUND', 'there is no such thing, or you may not see it'];
    for (const action of actions) {
      expect(refusal(access(null), place, action)).toEqual(none);
      expect(refusal(access({ role: 'OWNER' }), { workspaceId: 'workspace-2' }, action)).toEqual(none);
      expect(refusal(access({ role: 'OWNER', scopes: [] }), place, action)).toEqual(none);
      expect(refusal(access({ role: 'OWNER', projectIds: ['project-2'] }), place, action)).toEqual(none);
    }
    expect(refusal(access({ role: 'OWNER', scopes: ['WRITE'] }), place, 'run.read')).toEqual(none);
    expect(refusal(access({ role: 'OWNER', projectIds: [] }), place, 'run.read')).toEqual(none);
  });

  test('says what is missing where it may be seen', () => {
    expect(refusal(access({ role: 'VIEWER' }), place, 'run.create')).toEqual([
      'FORBIDDEN',
      'this takes the role MEMBER in the workspace, and yours is VIEWER',
    ]);
    expect(refusal(access({ role: 'OWNER', scopes: ['READ'] }), place, 'run.create')).toEqual([
      'FORBIDDEN',
      'this credential may not do that: it lacks the scope WRITE in the workspace',
    ]);
    expect(refusal(access({ role: 'OWNER', projectIds: [P] }), { workspaceId: W }, 'member.read')).toEqual([
      'FORBIDDEN',
      'this credential is limited to projects, and this is of the whole workspace',
    ]);
  });

  test('a key that may only write can write', () => {
    expect(refusal(access({ role: 'MEMBER', scopes: ['WRITE'] }), place, 'points.log')).toBeNull();
  });
});

test('what a person does as themself takes a person, who signed in or whose key has everything', () => {
  const key = { credential: { kind: 'key' as const, id: 'k', expiresAt: null } };
  for (const action of Object.keys(accountPermissions) as (keyof typeof accountPermissions)[]) {
    // Also in no workspace at all.
    const allowed = [access(null), access({ role: 'VIEWER' })];
    const refused = [
      access({ role: 'OWNER', scopes: ['READ', 'WRITE'] }, key),
      access({ role: 'OWNER', projectIds: [P] }, key),
      access({ role: 'ADMIN' }, { ...key, userId: null }),
    ];
    const byKey = access({ role: 'OWNER' }, key);
    if (accountPermissions[action] === 'SESSION') refused.push(byKey);
    else allowed.push(byKey);
    for (const who of allowed) expect(requirePerson(who, action)).toBe('u');
    for (const who of refused)
      expect(() => requirePerson(who, action)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
  }
});

describe('a project', () => {
  const as = (over: Partial<Grant>) =>
    ({
      ...access(null),
      workspaces: new Map([[W, { ...(access({ role: 'VIEWER' }).workspaces.get(W) as Grant), ...over }]]),
    }) as Access;

  test('that is hidden does not exist, whatever is asked of it, and the others do', () => {
    const who = as({ role: 'OWNER', hiddenProjectIds: new Set([P]) });
    for (const action of actions) {
      expect(() => requirePermission(who, place, action, 'thing')).toThrow(
        expect.objectContaining({ code: 'NOT_FOUND' }),
      );
      expect(isAllowed(who, { workspaceId: W, projectId: 'another' }, action)).toBe(true);
    }
  });

  test('that is public is read by guests, who do nothing else, and know nothing of the workspace', () => {
    const guest = as({ scopes: new Set<Scope>(['READ']), projectIds: new Set([P]), guest: true });
    expect(actions.filter((action) => isAllowed(guest, place, action))).toEqual([
      'project.read',
      'run.read',
      'points.read',
      'console.read',
    ]);
    const code = (action: Action, projectId: string) => {
      try {
        requirePermission(guest, { workspaceId: W, projectId }, action, 'thing');
        return null;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    const others = actions.filter((action) => !isAllowed(guest, place, action));
    expect(new Set(others.map((action) => code(action, P)))).toEqual(new Set(['FORBIDDEN']));
    expect(new Set(actions.map((action) => code(action, 'another')))).toEqual(new Set(['NOT_FOUND']));
    expect(workspaceIdsFor(guest, 'workspace.read')).toEqual([]);
    expect(projectsFor(guest, 'project.read')).toEqual({
      OR: [{ visibility: 'PUBLIC', deletedAt: null, workspace: { deletedAt: null } }],
    });
    expect(projectsFor(guest, 'run.update')).toEqual({ OR: [] });
  });
});

test('what concerns the server takes who administers it, signed in: no key, and no role in a workspace', () => {
  const refused = expect.objectContaining({ code: 'FORBIDDEN' }) as Error;
  const byKey = { credential: { kind: 'key' as const, id: 'k', expiresAt: null } };
  for (const action of Object.keys(serverPermissions) as (keyof typeof serverPermissions)[]) {
    expect(requireServerAdmin(access(null, { isServerAdmin: true }), action)).toBeUndefined();
    expect(() => requireServerAdmin(access({ role: 'OWNER' }), action)).toThrow(refused);
    expect(() => requireServerAdmin(access({ role: 'OWNER' }, { isServerAdmin: true, ...byKey }), action)).toThrow(
      refused,
    );
  }
});

test('lists hold what may be read there, and with nothing that may be read they are empty', () => {
  const two = access({ role: 'VIEWER' });
  const limited: Grant = {
    role: 'OWNER',
    scopes: new Set(ALL),
    projectIds: new Set(['a', 'b']),
    hiddenProjectIds: NONE,
  };
  const who = { ...two, workspaces: new Map([...two.workspaces, ['workspace-2', limited] as const]) };
  expect(workspaceIdsFor(who, 'project.read')).toEqual([W, 'workspace-2']);
  expect(workspaceIdsFor(who, 'project.create')).toEqual([]);
  const chosen = { OR: [{ visibility: { not: 'PRIVATE' } }, { members: { some: { userId: 'u' } } }] };
  const mine = { workspaceId: W, deletedAt: null, ...chosen };
  // Whoever administers a workspace sees what is private there.
  const some = { workspaceId: 'workspace-2', id: { in: ['a', 'b'] }, deletedAt: null };
  expect(projectsFor(who, 'project.read')).toEqual({ OR: [mine, some] });
  expect(projectsFor(who, 'project.read', ['workspace-2'])).toEqual({ OR: [some] });
  expect(projectsFor(access(null), 'project.read')).toEqual({ OR: [] });
});
