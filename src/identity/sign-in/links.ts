// Links that the server prints: one signs in whoever is at its machine, another makes the first account. Good once, and
// for a while.
import { APIError, createAuthEndpoint, sensitiveSessionMiddleware } from 'better-auth/api';
import { setSessionCookie } from 'better-auth/cookies';
import { v7 as uuidv7 } from 'uuid';
import { z } from 'zod';
import { hashToken, isToken, makeToken } from '../../access/credentials/token.ts';
import type { Db } from '../../db/prisma.ts';

const SIGN_IN_MINUTES = 15;
const SET_UP_HOURS = 24;

/** Returns the token for the link's fragment, which browsers keep to themselves. */
export function createSignInLink(db: Db, userId: string): Promise<string> {
  return createLink(db, userId, SIGN_IN_MINUTES * 60_000);
}

/** For the first account; worth nothing once there is one. */
export function createSetUpLink(db: Db): Promise<string> {
  return createLink(db, null, SET_UP_HOURS * 3_600_000);
}

async function createLink(db: Db, userId: string | null, milliseconds: number): Promise<string> {
  const token = makeToken('link');
  const expiresAt = new Date(Date.now() + milliseconds);
  await db.signInLink.deleteMany({ where: { expiresAt: { lt: new Date() } } });
  await db.signInLink.create({ data: { id: uuidv7(), userId, tokenHash: hashToken(token), expiresAt } });
  return token;
}

/** What better-auth does not have: signing in by a link, and a first password for whoever came without one. */
export function linksPlugin(db: Db) {
  return {
    id: 'links',
    endpoints: {
      signInByLink: createAuthEndpoint(
        '/sign-in-link',
        { method: 'POST', body: z.object({ token: z.unknown() }) },
        async (ctx) => {
          const refused = new APIError('UNAUTHORIZED', {
            code: 'LINK_REFUSED',
            message: `this link was used already, or is older than ${SIGN_IN_MINUTES} minutes: \`npm run open\` prints a new one`,
          });
          const { token } = ctx.body;
          if (typeof token !== 'string' || !isToken('link', token)) throw refused;
          const tokenHash = hashToken(token);
          // Of two at once one wins.
          const [link] = await db.signInLink.updateManyAndReturn({
            where: { tokenHash, usedAt: null, expiresAt: { gt: new Date() }, NOT: { userId: null } },
            data: { usedAt: new Date() },
          });
          if (!link?.userId) throw refused;
          try {
            const user = await db.user.findUniqueOrThrow({ where: { id: link.userId } });
            const session = await ctx.context.internalAdapter.createSession(user.id);
            await setSessionCookie(ctx, { session, user });
            return ctx.json({ expiresAt: session.expiresAt });
          } catch (error) {
            // Not used up by a session that could not be stored.
            await db.signInLink.update({ where: { tokenHash }, data: { usedAt: null } });
            throw error;
          }
        },
      ),
      setFirstPassword: createAuthEndpoint(
        '/set-password',
        {
          method: 'POST',
          body: z.object({ newPassword: z.string() }),
          use: [sensitiveSessionMiddleware],
        },
        async (ctx) => {
          const { id } = ctx.context.session.user;
          const { minPasswordLength: least, maxPasswordLength: most } = ctx.context.password.config;
          const { newPassword } = ctx.body;
          if (newPassword.length < least || newPassword.length > most)
            throw new APIError('BAD_REQUEST', {
              code: 'INVALID_PASSWORD',
              message: `a password has ${least} to ${most} characters`,
            });
          if (await ctx.context.internalAdapter.findCredentialAccount(id))
            throw new APIError('CONFLICT', {
              code: 'PASSWORD_ALREADY_SET',
              message: 'there is a password already: change it with the old one, or reset it',
            });
          await ctx.context.internalAdapter.linkAccount({
            userId: id,
            providerId: 'credential',
            accountId: id,
            password: await ctx.context.password.hash(newPassword),
          });
          return ctx.json({ status: true });
        },
      ),
    },
  };
}
