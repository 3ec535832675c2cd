// What the page of those who administer the server sends.
import { graphql } from './generated/gql.ts';

export const serverUsageDocument = graphql(`
  query ServerUsage {
    serverUsage {
      users
      suspendedUsers
      workspaces
      projects
      runs
      points
      bytes
      databaseBytes
    }
  }
`);

export const usersDocument = graphql(`
  query Users($after: String, $search: String, $suspended: Boolean) {
    users(first: 50, after: $after, search: $search, suspended: $suspended) {
      totalCount
      pageInfo {
        hasNextPage
        endCursor
      }
      nodes {
        id
        name
        username
        email
        isAdmin
        suspendedAt
        createdAt
        lastSeenAt
        twoFactorEnabled
        usage {
          workspaces
          runs
          bytes
        }
      }
    }
  }
`);

export const findUsersDocument = graphql(`
  query FindUsers($search: String!) {
    users(first: 10, search: $search, suspended: false) {
      nodes {
        id
        name
        email
      }
    }
  }
`);

export const suspendUserDocument = graphql(`
  mutation SuspendUser($id: ID!) {
    suspendUser(input: { id: $id }) {
      user {
        id
      }
    }
  }
`);

export const restoreUserDocument = graphql(`
  mutation RestoreUser($id: ID!) {
    restoreUser(input: { id: $id }) {
      user {
        id
      }
    }
  }
`);

export const setServerAdminDocument = graphql(`
  mutation SetServerAdmin($id: ID!, $isAdmin: Boolean!) {
    setServerAdmin(input: { id: $id, isAdmin: $isAdmin }) {
      user {
        id
      }
    }
  }
`);

export const deleteUserDocument = graphql(`
  mutation DeleteUser($id: ID!, $handOverTo: ID!) {
    deleteUser(input: { id: $id, handOverTo: $handOverTo }) {
      id
    }
  }
`);

export const serverAuditLogDocument = graphql(`
  query ServerAuditLog($after: String) {
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
`);
