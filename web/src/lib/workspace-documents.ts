// What the pages of workspaces send: their settings, members, invitations, keys, service accounts and audit log.
import { graphql } from './generated/gql.ts';

export const workspacesDocument = graphql(`
  query Workspaces {
    viewer {
      id
      workspaces {
        id
        slug
        name
        description
        viewerRole
      }
      deletedWorkspaces {
        id
        slug
        name
        goneAt
      }
    }
  }
`);

export const createWorkspaceDocument = graphql(`
  mutation CreateWorkspace($input: CreateWorkspaceInput!) {
    createWorkspace(input: $input) {
      workspace {
        slug
      }
    }
  }
`);

export const restoreWorkspaceDocument = graphql(`
  mutation RestoreWorkspace($id: ID!) {
    restoreWorkspace(input: { id: $id }) {
      workspace {
        slug
      }
    }
  }
`);

export const settingsDocument = graphql(`
  query Settings($slug: String!) {
    workspace(slug: $slug) {
      id
      slug
      name
      description
      viewerRole
      createdAt
    }
  }
`);

export const updateWorkspaceDocument = graphql(`
  mutation UpdateWorkspace($input: UpdateWorkspaceInput!) {
    updateWorkspace(input: $input) {
      workspace {
        slug
      }
    }
  }
`);

export const deleteWorkspaceDocument = graphql(`
  mutation DeleteWorkspace($id: ID!) {
    deleteWorkspace(input: { id: $id }) {
      goneAt
    }
  }
`);

export const leaveWorkspaceDocument = graphql(`
  mutation LeaveWorkspace($workspaceId: ID!) {
    leaveWorkspace(input: { workspaceId: $workspaceId }) {
      workspaceId
    }
  }
`);

export const membersDocument = graphql(`
  query Members($slug: String!, $after: String) {
    workspace(slug: $slug) {
      members(first: 50, after: $after) {
        totalCount
        pageInfo {
          hasNextPage
          endCursor
        }
        nodes {
          role
          email
          joinedAt
          managedBy
          user {
            id
            name
          }
        }
      }
    }
  }
`);

export const updateMemberDocument = graphql(`
  mutation UpdateMember($input: UpdateMemberInput!) {
    updateMember(input: $input) {
      member {
        role
      }
    }
  }
`);

export const removeMemberDocument = graphql(`
  mutation RemoveMember($input: RemoveMemberInput!) {
    removeMember(input: $input) {
      userId
    }
  }
`);

export const transferWorkspaceDocument = graphql(`
  mutation TransferWorkspace($input: TransferWorkspaceInput!) {
    transferWorkspace(input: $input) {
      workspace {
        id
      }
    }
  }
`);

export const invitationsDocument = graphql(`
  query Invitations($slug: String!, $after: String) {
    workspace(slug: $slug) {
      invitations(first: 50, after: $after) {
        totalCount
        pageInfo {
          hasNextPage
          endCursor
        }
        nodes {
          id
          email
          role
          createdAt
          expiresAt
          acceptedAt
          revokedAt
          createdBy {
            name
          }
        }
      }
    }
  }
`);

export const inviteMemberDocument = graphql(`
  mutation InviteMember($input: InviteMemberInput!) {
    inviteMember(input: $input) {
      link
      mailSent
    }
  }
`);

export const revokeInvitationDocument = graphql(`
  mutation RevokeInvitation($id: ID!) {
    revokeInvitation(input: { id: $id }) {
      invitation {
        id
      }
    }
  }
`);

export const workspaceKeysDocument = graphql(`
  query WorkspaceKeys($slug: String!, $after: String) {
    workspace(slug: $slug) {
      apiKeys(first: 50, after: $after) {
        ...KeyPage
      }
    }
  }

  fragment KeyPage on ApiKeyConnection {
    totalCount
    pageInfo {
      hasNextPage
      endCursor
    }
    nodes {
      id
      name
      start
      scopes
      projectIds
      rateLimit
      enabled
      createdAt
      expiresAt
      revokedAt
      lastUsedAt
      lastUsedAddress
      user {
        id
        name
      }
      serviceAccount {
        id
        name
      }
      workspace {
        id
        name
      }
    }
  }
`);

export const ownKeysDocument = graphql(`
  query OwnKeys($after: String) {
    viewer {
      apiKeys(first: 50, after: $after) {
        ...KeyPage
      }
    }
  }
`);

export const keyChoicesDocument = graphql(`
  query KeyChoices($slug: String!, $administers: Boolean!) {
    workspace(slug: $slug) {
      projects(first: 100) {
        nodes {
          id
          name
        }
      }
      serviceAccounts(first: 100) @include(if: $administers) {
        nodes {
          id
          name
        }
      }
    }
  }
`);

export const createApiKeyDocument = graphql(`
  mutation CreateApiKey($input: CreateApiKeyInput!) {
    createApiKey(input: $input) {
      secret
    }
  }
`);

export const updateApiKeyDocument = graphql(`
  mutation UpdateApiKey($input: UpdateApiKeyInput!) {
    updateApiKey(input: $input) {
      apiKey {
        id
      }
    }
  }
`);

export const revokeApiKeyDocument = graphql(`
  mutation RevokeApiKey($id: ID!) {
    revokeApiKey(input: { id: $id }) {
      apiKey {
        id
      }
    }
  }
`);

export const serviceAccountsDocument = graphql(`
  query ServiceAccounts($slug: String!, $after: String) {
    workspace(slug: $slug) {
      serviceAccounts(first: 50, after: $after) {
        totalCount
        pageInfo {
          hasNextPage
          endCursor
        }
        nodes {
          id
          name
          createdAt
        }
      }
    }
  }
`);

export const createServiceAccountDocument = graphql(`
  mutation CreateServiceAccount($input: CreateServiceAccountInput!) {
    createServiceAccount(input: $input) {
      serviceAccount {
        id
      }
    }
  }
`);

export const deleteServiceAccountDocument = graphql(`
  mutation DeleteServiceAccount($id: ID!) {
    deleteServiceAccount(input: { id: $id }) {
      id
    }
  }
`);

export const auditLogDocument = graphql(`
  query AuditLog($slug: String!, $after: String) {
    workspace(slug: $slug) {
      auditLog(first: 50, after: $after) {
        totalCount
        pageInfo {
          hasNextPage
          endCursor
        }
        nodes {
          id
          at
          action
          actorName
          targetType
          targetName
          address
          userAgent
          credentialKind
          details
        }
      }
    }
  }
`);
