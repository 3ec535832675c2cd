// What the profile sends: the account, and where it is signed in. Passwords and second factors go to /api/auth.
import { graphql } from './generated/gql.ts';

export const accountDocument = graphql(`
  query Account {
    viewer {
      id
      name
      username
      email
      emailVerified
      hasPassword
      twoFactorEnabled
    }
  }
`);

export const sessionsDocument = graphql(`
  query Sessions {
    viewer {
      sessions {
        id
        device
        userAgent
        address
        createdAt
        lastUsedAt
        expiresAt
        current
      }
    }
  }
`);

export const revokeSessionDocument = graphql(`
  mutation RevokeSession($id: ID!) {
    revokeSession(input: { id: $id }) {
      id
    }
  }
`);

export const revokeOtherSessionsDocument = graphql(`
  mutation RevokeOtherSessions {
    revokeOtherSessions {
      count
    }
  }
`);
