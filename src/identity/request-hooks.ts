// What is looked at before better-auth answers a request, and after: how often it is attempted, what it may set, who may
// register, and what becomes known by the answer.
import { APIError, createAuthMiddleware, isAPIError } from 'better-auth/api';
import type pg from 'pg';
import type { Registration } from '../config/kinds.ts';
import type { Db } from '../db/prisma.ts';
import { checkName } from '../runs/text.ts';
import { requireRegistration, type Shown } from './accounts/registration.ts';
import { faultOf } from './accounts/usernames.ts';
import type { IdentityMails } from './mail/mails.ts';
import { providerRequest } from './providers/providers.ts';
import type { AccountRecord } from './record.ts';
import { boundsOf, passwordBounds, requireAttempts } from './sign-in/bounds.ts';
import type { Passwords } from './sign-in/passwords.ts';
import { endWhatWasBegun, readVerification, takeChange } from './sign-in/reset.ts';
import { factorBounds, pendingOf } from './sign-in/second-factor.ts';

interface Parts {
  db: Db;
  pool: pg.Pool;
  mails: IdentityMails;
  passwords: Passwords;
  record: AccountRecord;
  registration: Registration;
  /** Whoever registers with a password has to answer a mail before they get in. */
  provesAddress: boolean;
  /** Of the request. */
  shown: () => Shown;
}

export function createRequestHooks(parts: Parts) {
  const { db, pool, mails, passwords, record, registration, provesAddress, shown } = parts;
  return {
    before: createAuthMiddleware(async (ctx) => {
      const body = (ctx.body ?? {}) as Record<string, unknown>;
      const bounds = [...boundsOf(ctx.path, body, shown().from), ...(await passwordBounds(ctx))];
      await requireAttempts(pool, [...bounds, ...(await factorBounds(pool, ctx))]);
      if (ctx.path === '/verify-email') {
        const change = readVerification(ctx.query?.token);
        // Whether the token is genuine is asked behind this; one that is not was never waited for.
        if (change?.newEmail && !(await takeChange(db, change.userId, ctx.query?.token as string))) throw linkOver();
      }
      const { username, name, email, image } = body;
      if (ctx.path === '/update-user' || (ctx.path === '/sign-up/email' && typeof name === 'string')) requireName(name);
      if (ctx.path === '/sign-in/social' || ctx.path === '/link-social')
        return { context: { body: await providerRequest(body) } };
      requireImage(image);
      const takesUsername = ctx.path === '/sign-up/email' || (ctx.path === '/update-user' && username !== undefined);
      if (takesUsername && typeof username !== 'string')
        throw new APIError('BAD_REQUEST', { code: 'USERNAME_MISSING', message: 'username must be given' });
      if (takesUsername && username) requireUsername(username as string);
      if (ctx.path !== '/sign-up/email') return undefined;
      if (typeof email === 'string')
        await requireRegistration(db, registration, { email, emailVerified: provesAddress }, shown());
      return { context: { body: { ...body, name: typeof name === 'string' && name !== '' ? name : username } } };
    }),
    after: createAuthMiddleware(async (ctx) => {
      const { returned } = ctx.context;
      if (ctx.path === '/sign-in/username' && isAPIError(returned) && returned.statusCode === 401)
        await passwords.pretend();
      if (ctx.path === '/change-password' && !isAPIError(returned)) {
        const { user } = returned as { user: { id: string; name: string; email: string } };
        await endWhatWasBegun(db, user.id);
        mails.passwordChanged(user);
      }
      if (ctx.path === '/two-factor/generate-backup-codes' && !isAPIError(returned)) await record.renewedCodes(ctx);
      const change = ctx.path === '/verify-email' && !isAPIError(returned) ? readVerification(ctx.query?.token) : null;
      if (change?.newEmail) {
        const { name } = await db.user.findUniqueOrThrow({ where: { id: change.userId } });
        mails.addressChanged({ name, email: change.email }, change.newEmail);
      }
      record.refused({ path: ctx.path, body: ctx.body, returned, pending: () => pendingOf(ctx) });
      // Nothing of it for scripts: the cookie is what signs in.
      if (typeof returned === 'object' && returned !== null && !isAPIError(returned)) return withoutTokens(returned);
      return undefined;
    }),
  };
}

function requireName(name: unknown): void {
  if (name === undefined) return;
  try {
    if (typeof name !== 'string') throw new Error('name must be a string');
    checkName(name, 'name');
  } catch (error) {
    throw new APIError('BAD_REQUEST', { code: 'INVALID_NAME', message: (error as Error).message });
  }
}

/** The library says no more than that it is invalid. */
function requireUsername(username: string): void {
  const fault = faultOf(username);
  if (fault !== null) throw new APIError('BAD_REQUEST', { code: 'INVALID_USERNAME', message: fault });
}

/** What pages may show. */
function requireImage(image: unknown): void {
  if (image == null) return;
  if (typeof image !== 'string' || image.length > 2_000 || !/^https:\/\/[\x21-\x7e]+$/.test(image))
    throw new APIError('BAD_REQUEST', { code: 'INVALID_IMAGE', message: 'image must be an https:// address' });
}

function linkOver(): APIError {
  return new APIError('UNAUTHORIZED', { code: 'INVALID_TOKEN', message: 'this link was used already, or is over' });
}

/** A session's token leaves the server in its cookie alone. */
function withoutTokens(answer: object): object {
  const { session } = answer as { session?: unknown };
  const shownSession = typeof session === 'object' && session !== null ? { session: without(session) } : {};
  return { ...without(answer), ...shownSession };
}

function without(value: object): object {
  return 'token' in value ? { ...value, token: null } : value;
}
