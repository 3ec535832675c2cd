// What is added where better-auth writes a row of its own: which addresses and sessions may come to be, what of a provider
// is kept, and what the audit log says of sessions. Of other changes of accounts: ./record.ts.
import type { BetterAuthOptions } from 'better-auth';
import { APIError } from 'better-auth/api';
import { recordSession } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { makeToken } from '../access/credentials/token.ts';
import type { OidcSettings } from '../config.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import { applyGroups } from '../workspaces/managed-members.ts';
import type { Shown } from './accounts/registration.ts';
import type { IdentityMails } from './mail/mails.ts';
import { current } from './store.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
  log: Log;
  mails: IdentityMails;
  /** Whose groups give roles. */
  oidc: OidcSettings | null;
  /** An address is verified before the first sign-in. */
  verifyEmail: boolean;
  /** Of the request in which the row is written. */
  shown: () => Shown;
}

export function createRowHooks({ db, changes, log, mails, oidc, verifyEmail, shown }: Parts) {
  return {
    user: {
      update: {
        async before(change, context) {
          const { email } = change;
          if (context?.path !== '/verify-email' || typeof email !== 'string') return undefined;
          if ((await db.user.count({ where: { email } })) > 0) throw addressTaken();
          // The mail to it was answered.
          return { data: { ...change, emailVerified: true } };
        },
      },
    },
    account: {
      create: {
        // Who somebody is at a provider is all that is needed of it: its tokens would open what is theirs there.
        before: async (account) => ({
          data: { ...account, accessToken: null, refreshToken: null, idToken: null },
        }),
        async after({ userId }, context) {
          if (context?.path !== '/set-password') return;
          mails.passwordChanged(await db.user.findUniqueOrThrow({ where: { id: userId } }));
        },
      },
    },
    session: {
      create: {
        async before({ userId, ...session }) {
          const where = { id: userId };
          const user = await current(db).user.findUnique({
            where,
            select: { suspendedAt: true, emailVerified: true },
          });
          if (user?.suspendedAt) throw suspended();
          const { provider, from } = shown();
          // By a password better-auth asks it; a link of the server's own is for whoever is at its machine.
          if (provider && verifyEmail && user?.emailVerified === false) throw unverified();
          if (oidc && provider?.id === 'oidc' && provider.groups) {
            const { name, roles } = oidc;
            await applyGroups(
              { db, changes, log },
              { id: 'oidc', name, roles },
              { userId, groups: provider.groups, from },
            );
          }
          return { data: { ...session, userId, token: makeToken('session') } };
        },
        async after({ id, userId }, context) {
          const { from, provider } = shown();
          const by = provider?.id ?? context?.path ?? '';
          await db.$transaction((tx) => recordSession(tx, 'session.create', { userId, sessionId: id, from, by }));
        },
      },
      delete: {
        async after({ id, userId }, context) {
          const from = shown().from;
          await db.$transaction((tx) =>
            recordSession(tx, 'session.delete', { userId, sessionId: id, from, by: context?.path ?? '' }),
          );
        },
      },
    },
  } satisfies BetterAuthOptions['databaseHooks'];
}

function addressTaken(): APIError {
  return new APIError('CONFLICT', { code: 'EMAIL_TAKEN', message: 'another account has this address by now' });
}

function suspended(): APIError {
  return new APIError('FORBIDDEN', {
    code: 'ACCOUNT_SUSPENDED',
    message: 'this account is suspended: ask who administers the server',
  });
}

function unverified(): APIError {
  return new APIError('FORBIDDEN', {
    code: 'EMAIL_NOT_VERIFIED',
    message: 'answer the mail to your address first, which the provider does not vouch for',
  });
}
