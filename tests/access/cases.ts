// What the tenants' matrix asks: every field of the roots, and every field that leads from one object to another, with
// what it needs. Written apart from the table of permissions, so that a mistake there is seen here.
import type { Role, Scope } from '../../src/access/access.ts';
import type { World } from './world.ts';

export interface Case {
  /** Selects one field of a root; what is judged stands at `at` in the answer. */
  document: string;
  variables?: (world: World) => Record<string, unknown>;
  at: string;
  needs:
    | 'open' // to nobody as well
    | 'self' // what everybody knows of themself
    | 'person' // what a person does in no workspace
    | 'session' // what a person does who signed in, and no key
    | 'server' // what concerns the server: who administers it, signed in
    | Needs;
  /** Whoever may not do it may not even see what it is about. */
  hidden?: true;
  /** Who is answered otherwise, and how. */
  but?: Record<string, string>;
  /** What those in the workspace are told who do not see the project; default: it is unseen. */
  outside?: string;
  /** What those are told who are not in the workspace, where the project is public. */
  asGuest?: string;
}

/**
 * In a project; of a project, and not for keys that are limited to projects; in the workspace as a whole; in what of it
 * such a key may know.
 */
export interface Needs {
  /** ANY: whichever they have. */
  scope: Scope | 'ANY';
  role: Role;
  in: 'project' | 'shared' | 'workspace' | 'either';
}

const read = { scope: 'READ', role: 'VIEWER', in: 'project' } as const;
const readSome = { scope: 'READ', role: 'VIEWER', in: 'either' } as const;
const readAll = { scope: 'READ', role: 'VIEWER', in: 'workspace' } as const;
const write = { scope: 'WRITE', role: 'MEMBER', in: 'project' } as const;
const writeAll = { scope: 'WRITE', role: 'MEMBER', in: 'workspace' } as const;
const share = { scope: 'ADMIN', role: 'ADMIN', in: 'shared' } as const;
const administer = { scope: 'ADMIN', role: 'ADMIN', in: 'workspace' } as const;
const own = { scope: 'ADMIN', role: 'OWNER', in: 'workspace' } as const;
const mine = { scope: 'ADMIN', role: 'VIEWER', in: 'workspace' } as const;

const PAGE = 'pageInfo { hasNextPage } nodes { __typename } edges { node { __typename } }';
const bySlug = ({ slug }: World) => ({ slug });
const byRun = ({ runId: id }: World) => ({ id });
const byChild = ({ childId: id }: World) => ({ id });
const byProject = ({ projectId: id }: World) => ({ id });
const input = (of: (world: World) => Record<string, unknown>) => (world: World) => ({ input: of(world) });
const inWorkspace = (selection: string) => `query($slug: String!) { workspace(slug: $slug) { ${selection} } }`;
const inProject = (selection: string) => `query($id: ID!) { project(id: $id) { ${selection} } }`;
const inRun = (selection: string) => `query($id: ID!) { run(id: $id) { ${selection} } }`;
const mutation = (field: string, type: string, selection: string) =>
  `mutation($input: ${type}!) { ${field}(input: $input) { ${selection} } }`;

export const queries: Record<string, Case> = {
  'Query.server': {
    document: '{ server { version limits { bodyBytes } signIn { password registration providers { id name } } } }',
    at: 'server',
    needs: 'open',
  },
  'Query.viewer': { document: '{ viewer { id } }', at: 'viewer', needs: 'self' },
  'Viewer.workspaces': { document: '{ viewer { workspaces { name } } }', at: 'viewer.workspaces', needs: 'self' },
  'Viewer.apiKeys': {
    document: `{ viewer { apiKeys(first: 5) { totalCount ${PAGE} nodes { name } } } }`,
    at: 'viewer.apiKeys',
    needs: 'self',
  },
  'Viewer.deletedWorkspaces': {
    document: '{ viewer { deletedWorkspaces { name } } }',
    at: 'viewer.deletedWorkspaces',
    needs: 'self',
  },
  'Viewer.sessions': {
    document: '{ viewer { sessions { device current } } }',
    at: 'viewer.sessions',
    needs: 'session',
    // Which is nobody, who has no viewer.
    but: {
      nobody: 'null',
      'somebody suspended': 'null',
      'a session that is over': 'null',
      'a service account': 'null',
      'a key of a service account for the project': 'null',
    },
  },
  'Query.users': {
    document: `{ users(first: 100, search: "example.org") { totalCount ${PAGE} nodes { name email lastSeenAt usage { runs bytes } } } }`,
    at: 'users',
    needs: 'server',
  },
  'Query.serverUsage': { document: '{ serverUsage { runs } }', at: 'serverUsage', needs: 'server' },
  'Query.auditLog': {
    document: `{ auditLog(first: 100) { totalCount ${PAGE} nodes { targetName details } } }`,
    at: 'auditLog',
    needs: 'server',
  },
  'Query.workspace': { document: inWorkspace('name'), variables: bySlug, at: 'workspace', needs: readSome },
  'Workspace.projects': {
    document: inWorkspace(`projects(first: 5) { totalCount ${PAGE} nodes { name } }`),
    variables: bySlug,
    at: 'workspace.projects',
    needs: readSome,
  },
  'Workspace.deletedProjects': {
    document: inWorkspace(`deletedProjects(first: 5) { totalCount ${PAGE} nodes { name goneAt } }`),
    variables: bySlug,
    at: 'workspace.deletedProjects',
    needs: readSome,
  },
  'Workspace.members': {
    document: inWorkspace(`members(first: 5) { totalCount ${PAGE} nodes { role managedBy user { name } } }`),
    variables: bySlug,
    at: 'workspace.members',
    needs: readAll,
  },
  'Workspace.invitations': {
    document: inWorkspace(`invitations(first: 5) { totalCount ${PAGE} nodes { email createdBy { name } } }`),
    variables: bySlug,
    at: 'workspace.invitations',
    needs: administer,
  },
  'Workspace.apiKeys': {
    document: inWorkspace(
      `apiKeys(first: 5) { totalCount ${PAGE} nodes { user { name } serviceAccount { name } workspace { name } } }`,
    ),
    variables: bySlug,
    at: 'workspace.apiKeys',
    needs: administer,
  },
  'Workspace.serviceAccounts': {
    document: inWorkspace(`serviceAccounts(first: 5) { totalCount ${PAGE} }`),
    variables: bySlug,
    at: 'workspace.serviceAccounts',
    needs: administer,
  },
  'Workspace.auditLog': {
    document: inWorkspace(`auditLog(first: 5) { totalCount ${PAGE} }`),
    variables: bySlug,
    at: 'workspace.auditLog',
    needs: administer,
  },
  'Workspace.usage': {
    document: inWorkspace('usage { members runs }'),
    variables: bySlug,
    at: 'workspace.usage',
    needs: readAll,
  },
  'Query.project, by id': { document: inProject('name'), variables: byProject, at: 'project', needs: read },
  'Query.project, by name': {
    document: 'query($slug: String, $name: String) { project(workspace: $slug, name: $name) { name } }',
    variables: ({ slug, project }) => ({ slug, name: project }),
    at: 'project',
    needs: read,
  },
  'Project.workspace': {
    document: inProject('workspace { name }'),
    variables: byProject,
    at: 'project.workspace',
    needs: read,
  },
  'Project.createdBy': {
    document: inProject('createdBy { name }'),
    variables: byProject,
    at: 'project.createdBy',
    needs: read,
    asGuest: 'null',
  },
  'Project.members': {
    document: inProject(`members(first: 5) { totalCount ${PAGE} nodes { user { name } } }`),
    variables: byProject,
    at: 'project.members',
    needs: { scope: 'READ', role: 'VIEWER', in: 'shared' },
  },
  'Project.runs': {
    document: inProject(`runs(first: 5) { totalCount ${PAGE} }`),
    variables: byProject,
    at: 'project.runs',
    needs: read,
  },
  'Query.run': { document: inRun('name config'), variables: byRun, at: 'run', needs: read },
  'Run.project': { document: inRun('project { name }'), variables: byRun, at: 'run.project', needs: read },
  'Run.parent': { document: inRun('parent { name }'), variables: byChild, at: 'run.parent', needs: read },
  'Run.children': {
    document: inRun(`children(first: 5) { totalCount ${PAGE} }`),
    variables: byRun,
    at: 'run.children',
    needs: read,
  },
  'Run.attempts': { document: inRun('attempts { number }'), variables: byRun, at: 'run.attempts', needs: read },
  'Run.createdBy': {
    document: inRun('createdBy { name }'),
    variables: byRun,
    at: 'run.createdBy',
    needs: read,
    asGuest: 'null',
  },
  'Run.metrics': {
    document: inRun(`metrics(first: 5) { totalCount ${PAGE} }`),
    variables: byRun,
    at: 'run.metrics',
    needs: read,
  },
  'Run.points': {
    document: inRun('points(name: "loss", first: 5) { steps }'),
    variables: byRun,
    at: 'run.points',
    needs: read,
  },
  'Run.commands': {
    document: inRun(`commands(first: 5) { totalCount ${PAGE} nodes { status sentBy { name } } }`),
    variables: byRun,
    at: 'run.commands',
    needs: read,
    asGuest: 'null',
  },
  'Run.console': {
    document: inRun('console(first: 5) { pieces { text } }'),
    variables: byRun,
    at: 'run.console',
    needs: read,
  },
  'Query.charts': {
    document:
      'query($id: ID!) { charts(input: { runIds: [$id], metrics: [{ name: "loss" }] }) { name run { name config } } }',
    variables: byRun,
    at: 'charts',
    needs: read,
  },
};

export const mutations: Record<string, Case> = {
  'Mutation.createProject': {
    document: mutation('createProject', 'CreateProjectInput', 'project { name }'),
    variables: input(({ slug }) => ({ workspace: slug, name: 'new' })),
    at: 'createProject',
    needs: writeAll,
  },
  'Mutation.createRun': {
    document: mutation('createRun', 'CreateRunInput', 'run { id }'),
    variables: input(({ slug, project }) => ({ workspace: slug, project })),
    at: 'createRun',
    needs: write,
    outside: 'CONFLICT',
    asGuest: 'unseen',
  },
  'Mutation.createRun, in a new project': {
    document: mutation('createRun', 'CreateRunInput', 'run { id }'),
    variables: input(({ slug }) => ({ workspace: slug, project: 'new' })),
    at: 'createRun',
    needs: write,
    but: { 'a key of a service account for the project': 'unseen' },
    outside: 'ok',
    asGuest: 'unseen',
  },
  'Mutation.createProject, private': {
    document: mutation('createProject', 'CreateProjectInput', 'project { name }'),
    variables: input(({ slug, people }) => ({
      workspace: slug,
      name: 'new',
      visibility: 'PRIVATE',
      memberIds: [people.viewer.userId],
    })),
    at: 'createProject',
    needs: writeAll,
  },
  'Mutation.updateProject': {
    document: mutation('updateProject', 'UpdateProjectInput', 'project { name }'),
    variables: input(({ projectId }) => ({ id: projectId, name: 'renamed' })),
    at: 'updateProject',
    needs: write,
  },
  'Mutation.updateProject, who sees it': {
    document: mutation('updateProject', 'UpdateProjectInput', 'project { visibility }'),
    variables: input(({ projectId, people }) => ({
      id: projectId,
      visibility: 'PRIVATE',
      memberIds: [people.guest.userId],
    })),
    at: 'updateProject',
    needs: share,
  },
  'Mutation.deleteProject': {
    document: mutation('deleteProject', 'DeleteProjectInput', 'goneAt'),
    variables: input(({ projectId }) => ({ id: projectId })),
    at: 'deleteProject',
    needs: share,
  },
  'Mutation.restoreProject': {
    document: mutation('restoreProject', 'RestoreProjectInput', 'project { name }'),
    variables: input(({ binnedProjectId }) => ({ id: binnedProjectId })),
    at: 'restoreProject',
    needs: administer,
    hidden: true,
  },
  'Mutation.updateRun': {
    document: mutation('updateRun', 'UpdateRunInput', 'run { id }'),
    variables: input(({ runId }) => ({ id: runId, name: 'renamed', config: { a: 1 } })),
    at: 'updateRun',
    needs: write,
  },
  'Mutation.finishRun': {
    document: mutation('finishRun', 'FinishRunInput', 'run { id }'),
    variables: input(({ runId }) => ({ id: runId, status: 'FAILED' })),
    at: 'finishRun',
    needs: write,
  },
  'Mutation.heartbeat': {
    document: mutation('heartbeat', 'HeartbeatInput', 'commands { id }'),
    variables: input(({ runId }) => ({ runId })),
    at: 'heartbeat',
    needs: write,
  },
  'Mutation.logMetrics': {
    document: mutation('logMetrics', 'LogMetricsInput', 'accepted commands { id }'),
    variables: input(({ runId }) => ({ runId, points: [{ name: 'loss', step: 9, value: 9 }] })),
    at: 'logMetrics',
    needs: write,
  },
  'Mutation.appendConsole': {
    document: mutation('appendConsole', 'AppendConsoleInput', 'accepted commands { id }'),
    variables: input(({ runId }) => ({ runId, writer: 'another', offset: 0, text: 'hello' })),
    at: 'appendConsole',
    needs: write,
  },
  'Mutation.sendRunCommand': {
    document: mutation('sendRunCommand', 'SendRunCommandInput', 'command { id kind }'),
    variables: input(({ runId }) => ({ runId, kind: 'STOP' })),
    at: 'sendRunCommand',
    needs: write,
  },
  'Mutation.acknowledgeRunCommand': {
    document: mutation('acknowledgeRunCommand', 'AcknowledgeRunCommandInput', 'command { id acknowledgedAt }'),
    variables: input(({ commandId }) => ({ id: commandId })),
    at: 'acknowledgeRunCommand',
    needs: write,
  },
  'Mutation.deletePoints': {
    document: mutation('deletePoints', 'DeletePointsInput', 'cursor run { id }'),
    variables: input(({ runId }) => ({ runId, name: 'loss' })),
    at: 'deletePoints',
    needs: write,
  },
  'Mutation.createWorkspace': {
    document: mutation('createWorkspace', 'CreateWorkspaceInput', 'workspace { name }'),
    variables: input(({ mark }) => ({ name: 'new', slug: `new-${mark}` })),
    at: 'createWorkspace',
    needs: 'person',
  },
  'Mutation.restoreWorkspace': {
    document: mutation('restoreWorkspace', 'RestoreWorkspaceInput', 'workspace { name }'),
    variables: input(({ binnedId }) => ({ id: binnedId })),
    at: 'restoreWorkspace',
    needs: 'person',
    but: {
      'somebody from another workspace': 'unseen',
      'a key of another workspace': 'unseen',
      'a viewer': 'unseen',
      'a member': 'unseen',
      'an admin': 'unseen',
      'an administrator of the server': 'unseen',
      'a key of an administrator of the server': 'unseen',
    },
  },
  'Mutation.acceptInvitation': {
    document: mutation('acceptInvitation', 'AcceptInvitationInput', 'workspace { id }'),
    variables: input(({ token }) => ({ token })),
    at: 'acceptInvitation',
    needs: 'person',
  },
  'Mutation.revokeSession': {
    document: mutation('revokeSession', 'RevokeSessionInput', 'id'),
    variables: input(({ people }) => ({ id: people.owner.sessionId })),
    at: 'revokeSession',
    needs: 'session',
    but: {
      'somebody from another workspace': 'unseen',
      'a viewer': 'unseen',
      'a member': 'unseen',
      'an admin': 'unseen',
      'an administrator of the server': 'unseen',
    },
  },
  'Mutation.revokeOtherSessions': {
    document: 'mutation { revokeOtherSessions { count } }',
    at: 'revokeOtherSessions',
    needs: 'session',
  },
  'Mutation.deleteViewer': {
    document: mutation('deleteViewer', 'DeleteViewerInput', 'id'),
    variables: input(() => ({})),
    at: 'deleteViewer',
    needs: 'session',
    // Others are in what they alone own.
    but: { 'the owner': 'CONFLICT' },
  },
  'Mutation.suspendUser': {
    document: mutation('suspendUser', 'SuspendUserInput', 'user { suspendedAt }'),
    variables: input(({ people }) => ({ id: people.guest.userId })),
    at: 'suspendUser',
    needs: 'server',
  },
  'Mutation.restoreUser': {
    document: mutation('restoreUser', 'RestoreUserInput', 'user { suspendedAt }'),
    variables: input(({ people }) => ({ id: people.suspended.userId })),
    at: 'restoreUser',
    needs: 'server',
  },
  'Mutation.setServerAdmin': {
    document: mutation('setServerAdmin', 'SetServerAdminInput', 'user { isAdmin }'),
    variables: input(({ people }) => ({ id: people.guest.userId, isAdmin: true })),
    at: 'setServerAdmin',
    needs: 'server',
  },
  'Mutation.deleteUser': {
    document: mutation('deleteUser', 'DeleteUserInput', 'id'),
    variables: input(({ people }) => ({ id: people.owner.userId, handOverTo: people.admin.userId })),
    at: 'deleteUser',
    needs: 'server',
  },
  'Mutation.updateWorkspace': {
    document: mutation('updateWorkspace', 'UpdateWorkspaceInput', 'workspace { name }'),
    variables: input(({ workspaceId }) => ({ id: workspaceId, name: 'renamed' })),
    at: 'updateWorkspace',
    needs: administer,
  },
  'Mutation.deleteWorkspace': {
    document: mutation('deleteWorkspace', 'DeleteWorkspaceInput', 'goneAt'),
    variables: input(({ workspaceId }) => ({ id: workspaceId })),
    at: 'deleteWorkspace',
    needs: own,
  },
  'Mutation.transferWorkspace': {
    document: mutation('transferWorkspace', 'TransferWorkspaceInput', 'workspace { name }'),
    variables: input(({ workspaceId, people }) => ({ workspaceId, userId: people.admin.userId })),
    at: 'transferWorkspace',
    needs: own,
  },
  'Mutation.leaveWorkspace': {
    document: mutation('leaveWorkspace', 'LeaveWorkspaceInput', 'workspaceId'),
    variables: input(({ workspaceId }) => ({ workspaceId })),
    at: 'leaveWorkspace',
    needs: mine,
    but: { 'the owner': 'CONFLICT', 'a key that administers': 'CONFLICT', 'a service account': 'FORBIDDEN' },
  },
  'Mutation.updateMember': {
    document: mutation('updateMember', 'UpdateMemberInput', 'member { role }'),
    variables: input(({ workspaceId, people }) => ({ workspaceId, userId: people.guest.userId, role: 'MEMBER' })),
    at: 'updateMember',
    needs: administer,
  },
  'Mutation.removeMember': {
    document: mutation('removeMember', 'RemoveMemberInput', 'userId'),
    variables: input(({ workspaceId, people }) => ({ workspaceId, userId: people.guest.userId })),
    at: 'removeMember',
    needs: administer,
  },
  'Mutation.inviteMember': {
    document: mutation('inviteMember', 'InviteMemberInput', 'token invitation { id }'),
    variables: input(({ workspaceId }) => ({ workspaceId })),
    at: 'inviteMember',
    needs: administer,
  },
  'Mutation.revokeInvitation': {
    document: mutation('revokeInvitation', 'RevokeInvitationInput', 'invitation { id }'),
    variables: input(({ invitationId }) => ({ id: invitationId })),
    at: 'revokeInvitation',
    needs: administer,
  },
  'Mutation.createApiKey': {
    document: mutation('createApiKey', 'CreateApiKeyInput', 'secret apiKey { id }'),
    variables: input(({ workspaceId }) => ({ workspaceId, name: 'new', scopes: ['READ'] })),
    at: 'createApiKey',
    needs: mine,
    // The one lacks READ itself, and the other has no keys of its own.
    but: { 'a key that administers': 'FORBIDDEN', 'a service account': 'INVALID_INPUT' },
  },
  'Mutation.createApiKey, of a service account': {
    document: mutation('createApiKey', 'CreateApiKeyInput', 'secret apiKey { id }'),
    variables: input(({ workspaceId, serviceAccountId }) => ({
      workspaceId,
      serviceAccountId,
      name: 'new',
      scopes: ['ADMIN'],
    })),
    at: 'createApiKey',
    needs: administer,
  },
  'Mutation.updateApiKey': {
    document: mutation('updateApiKey', 'UpdateApiKeyInput', 'apiKey { id }'),
    variables: input(({ keyId }) => ({ id: keyId, name: 'renamed' })),
    at: 'updateApiKey',
    needs: administer,
    hidden: true,
  },
  'Mutation.revokeApiKey': {
    document: mutation('revokeApiKey', 'RevokeApiKeyInput', 'apiKey { id }'),
    variables: input(({ keyId }) => ({ id: keyId })),
    at: 'revokeApiKey',
    needs: administer,
    hidden: true,
  },
  'Mutation.createToken': {
    document: mutation('createToken', 'CreateTokenInput', 'token expiresAt'),
    variables: input(({ workspaceId }) => ({ workspaceId, scopes: ['READ'], ttl: 60 })),
    at: 'createToken',
    needs: { scope: 'ANY', role: 'VIEWER', in: 'either' },
    // They lack READ themselves.
    but: { 'a key that writes': 'FORBIDDEN', 'a key that administers': 'FORBIDDEN' },
  },
  'Mutation.createToken, for a project': {
    document: mutation('createToken', 'CreateTokenInput', 'token expiresAt'),
    variables: input(({ projectId }) => ({ projectIds: [projectId], scopes: ['WRITE'] })),
    at: 'createToken',
    needs: { scope: 'ANY', role: 'VIEWER', in: 'project' },
    // Seen to read, and not to make a token for.
    asGuest: 'unseen',
    // They lack WRITE: the one by their role.
    but: {
      'a viewer': 'FORBIDDEN',
      'a key that reads': 'FORBIDDEN',
      'a token that reads': 'FORBIDDEN',
      'a key that administers': 'FORBIDDEN',
    },
  },
  'Mutation.createServiceAccount': {
    document: mutation('createServiceAccount', 'CreateServiceAccountInput', 'serviceAccount { id }'),
    variables: input(({ workspaceId }) => ({ workspaceId, name: 'new' })),
    at: 'createServiceAccount',
    needs: administer,
  },
  'Mutation.deleteServiceAccount': {
    document: mutation('deleteServiceAccount', 'DeleteServiceAccountInput', 'id'),
    variables: input(({ serviceAccountId }) => ({ id: serviceAccountId })),
    at: 'deleteServiceAccount',
    needs: administer,
  },
};

export const subscriptions: Record<string, Case> = {
  'Subscription.metrics': {
    document: `subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) {
      ... on MetricsAppended { runId metrics { name values } } ... on MetricsReset { reason } } }`,
    variables: byRun,
    at: 'metrics',
    needs: read,
  },
  'Subscription.commands': {
    document: 'subscription($id: ID!) { commands(runId: $id) { id kind payload } }',
    variables: byRun,
    at: 'commands',
    needs: write,
  },
  'Subscription.console': {
    document: 'subscription($id: ID!) { console(runId: $id, after: "0") { cursor pieces { text } } }',
    variables: byRun,
    at: 'console',
    needs: read,
  },
  'Subscription.runs': {
    document: 'subscription($id: ID!) { runs(projectId: $id) { type run { name } } }',
    variables: byProject,
    at: 'runs',
    needs: read,
  },
};
