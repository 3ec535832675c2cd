// Who people are: accounts, passwords, second factors, sessions, providers. better-auth does it, on our tables; what this
// adds is who may register, how often something is attempted, and what the audit log says.
import { AsyncLocalStorage } from 'node:async_hooks';
import { hash } from 'node:crypto';
import { betterAuth, type BetterAuthOptions, type GenericEndpointContext } from 'better-auth';
import { APIError, createAuthMiddleware, getOAuthState, isAPIError } from 'better-auth/api';
import { twoFactor, username } from 'better-auth/plugins';
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import type { From } from '../access/access.ts';
import { recordSession } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { makeToken } from '../access/token.ts';
import type { Registration } from '../config.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import { checkName } from '../runs/text.ts';
import { isReserved } from '../workspaces/slug.ts';
import { type Bound, countAttempt } from './attempts.ts';
import { linksPlugin } from './links.ts';
import { createAccountRecord } from './record.ts';
import { beginAccount, requireRegistration, type Shown } from './registration.ts';
import { createStore } from './store.ts';

export interface IdentityOptions {
  /** The address by which people reach the server. */
  url: string;
  /** Signs cookies, encrypts second factors and signing keys. */
  secret: string;
  /** Cookies go over TLS alone. */
  secure: boolean;
  allowedOrigins: readonly string[];
  sessionDays: number;
  registration: Registration;
}

export interface Identity {
  /** Answers what is below /api/auth/. Throws what is a fault of the server, or of an engine. */
  handle(request: Request, body: Record<string, unknown> | null, from: From): Promise<Response>;
  /** Of the session. */
  cookieName: string;
}

const PATH = '/api/auth';
const PASSWORD_LENGTH = 8;
const MINUTE = 60;
const HOUR = 3_600;
/** What better-auth would let anybody ask who has an account, that is someone else's here or nobody's. */
const CLOSED = [
  // Their answers hold tokens of sessions; `Viewer.sessions` and `revokeSession` are for that.
  '/list-sessions',
  '/revoke-session',
  '/revoke-sessions',
  '/revoke-other-sessions',
  '/update-session',
  '/is-username-available',
  // Would hand a provider's tokens to the page.
  '/get-access-token',
  '/refresh-token',
];

/** Which session is whose: installations on one host, told apart by what only they know, do not sign one another out. */
export function sessionCookieName({ secret, secure }: Pick<IdentityOptions, 'secret' | 'secure'>): string {
  return `${secure ? '__Secure-' : ''}${cookiePrefix(secret)}.session_token`;
}

function cookiePrefix(secret: string): string {
  return `runtide-${hash('sha256', `cookies of ${secret}`).slice(0, 8)}`;
}

export function createIdentity(
  { db, pool, changes, log }: { db: Db; pool: pg.Pool; changes: AccessChanges; log: Log },
  options: IdentityOptions,
): Identity {
  const asking = new AsyncLocalStorage<Shown>();
  const shown = () => asking.getStore() ?? { invitation: undefined, setUp: undefined, from: NOWHERE };
  const { registration } = options;
  const record = createAccountRecord({ db, log }, () => shown().from);
  const provesAddress = registration.mode === 'domain';

  const settings = {
    appName: 'Runtide',
    baseURL: options.url,
    basePath: PATH,
    secret: options.secret,
    trustedOrigins: [...options.allowedOrigins],
    disabledPaths: CLOSED,
    telemetry: { enabled: false },
    logger: { log: (level, message, ...about) => log[level === 'error' ? 'error' : 'debug']({ about }, message) },
    // The edge answers what is a fault of ours, as everywhere.
    onAPIError: { throw: true, errorURL: `${options.url}/app/sign-in` },
    database: createStore(db, async (tx, user) => {
      const { username } = user as { username?: string | null };
      await beginAccount(tx, { ...user, username: username ?? null }, shown());
    }),
    advanced: {
      database: { generateId: () => uuidv7() },
      cookiePrefix: cookiePrefix(options.secret),
      useSecureCookies: options.secure,
      defaultCookieAttributes: { httpOnly: true, sameSite: 'lax', path: '/' },
      // The edge says it (src/http/identity.ts), whatever the client says.
      ipAddress: { ipAddressHeaders: [ADDRESS_HEADER] },
      // The edge takes JSON from our own pages alone, whether there is a cookie or not.
      disableCSRFCheck: true,
    },
    session: {
      fields: { token: 'tokenHash' },
      expiresIn: options.sessionDays * 86_400,
      updateAge: 86_400,
    },
    verification: { storeIdentifier: 'hashed' },
    user: {
      additionalFields: {
        suspendedAt: { type: 'date', required: false, input: false, returned: false },
        isAdmin: { type: 'boolean', required: false, input: false },
      },
      changeEmail: { enabled: true, updateEmailWithoutVerification: !provesAddress },
      async validateUserInfo({ user, source }) {
        if (source.action !== 'create-user' || source.method === 'email-password') return;
        const { email = '', emailVerified = false } = user;
        const { invitation } = (await getOAuthState<{ invitation?: unknown }>()) ?? {};
        const store = shown();
        if (typeof invitation === 'string') store.invitation = invitation;
        await requireRegistration(db, registration, { email, emailVerified }, store);
      },
    },
    emailAndPassword: {
      enabled: true,
      minPasswordLength: PASSWORD_LENGTH,
      requireEmailVerification: provesAddress,
      revokeSessionsOnPasswordReset: true,
      onPasswordReset: ({ user }) => record.passwordReset(user),
    },
    databaseHooks: {
      ...record.hooks,
      session: {
        create: {
          async before({ userId, ...session }) {
            const user = await db.user.findUnique({ where: { id: userId }, select: { suspendedAt: true } });
            if (user?.suspendedAt) throw suspended();
            return { data: { ...session, userId, token: makeToken('session') } };
          },
          async after({ id, userId }, context) {
            const from = shown().from;
            await db.$transaction((tx) =>
              recordSession(tx, 'session.create', { userId, sessionId: id, from, by: context?.path ?? '' }),
            );
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
    },
    hooks: {
      before: createAuthMiddleware(async (ctx) => {
        const body = (ctx.body ?? {}) as Record<string, unknown>;
        await requireAttempts(pool, boundsOf(ctx.path, body, shown().from));
        const { username, name, email } = body;
        if (typeof name === 'string' && (ctx.path === '/update-user' || ctx.path === '/sign-up/email'))
          requireName(name);
        if (ctx.path !== '/sign-up/email') return undefined;
        if (typeof username !== 'string')
          throw new APIError('BAD_REQUEST', { code: 'USERNAME_MISSING', message: 'username must be given' });
        if (typeof email === 'string')
          await requireRegistration(db, registration, { email, emailVerified: provesAddress }, shown());
        return { context: { body: { ...body, name: typeof name === 'string' && name !== '' ? name : username } } };
      }),
      after: createAuthMiddleware(async (ctx) => {
        const { returned } = ctx.context;
        record.refused({ path: ctx.path, body: ctx.body, returned, pending: () => pendingOf(ctx) });
        // Nothing of it for scripts: the cookie is what signs in.
        if (typeof returned === 'object' && returned !== null && !isAPIError(returned)) return withoutTokens(returned);
        return undefined;
      }),
    },
    rateLimit: {
      enabled: true,
      // What is attempted on people is counted above, for people behind one address too.
      customStorage: {
        async consume(key, { window, max }) {
          const seconds = await countAttempt(pool, [{ key: `route ${key}`, most: max, seconds: window }]);
          return { allowed: seconds === 0, retryAfter: seconds };
        },
      },
      // Its own are for single people: three sign-ins in ten seconds.
      customRules: { '/get-session': false, '/**': { window: MINUTE, max: 300 } },
    },
    plugins: [
      username({
        minUsernameLength: 2,
        maxUsernameLength: 39,
        displayUsername: false,
        usernameValidator: (text) => /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/i.test(text) && !isReserved(text.toLowerCase()),
      }),
      twoFactor({ issuer: 'Runtide', allowPasswordless: true }),
      linksPlugin(db),
    ],
  } satisfies BetterAuthOptions;
  const auth = betterAuth(settings);

  return {
    cookieName: sessionCookieName(options),
    async handle(request, body, from) {
      const { invitation, setUp } = body ?? {};
      const about: Shown = {
        invitation: typeof invitation === 'string' ? invitation : undefined,
        setUp: typeof setUp === 'string' ? setUp : undefined,
        from,
      };
      const response = await asking.run(about, () => auth.handler(request));
      // Whatever it was, it may have changed who may do what: the database's triggers know, others are told.
      if (request.method !== 'GET' && response.ok) changes.announce();
      return response;
    },
  };
}

/** By which the edge tells the client's address; what a client sends under this name is overwritten. */
export const ADDRESS_HEADER = 'x-runtide-address';

const NOWHERE: From = { address: null, userAgent: null };

function requireName(name: string): void {
  try {
    checkName(name, 'name');
  } catch (error) {
    throw new APIError('BAD_REQUEST', { code: 'INVALID_NAME', message: (error as Error).message });
  }
}

function suspended(): APIError {
  return new APIError('FORBIDDEN', {
    code: 'ACCOUNT_SUSPENDED',
    message: 'this account is suspended: ask who administers the server',
  });
}

/**
 * How often it may be attempted: by account and by address. A pair of both is bounded more closely than either, so that
 * nobody locks a person out from where that person is.
 */
function boundsOf(path: string, body: Record<string, unknown>, { address }: From): Bound[] {
  const account = JSON.stringify(body.email ?? body.username ?? '').toLowerCase();
  const where = address ?? '';
  switch (path) {
    case '/sign-in/email':
    case '/sign-in/username':
      return [
        { key: `sign-in ${account} from ${where}`, most: 10, seconds: 10 * MINUTE },
        { key: `sign-in ${account}`, most: 50, seconds: 10 * MINUTE },
        { key: `sign-in from ${where}`, most: 100, seconds: 10 * MINUTE },
      ];
    case '/sign-in-link':
      return [{ key: `link from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/sign-up/email':
      return [{ key: `sign-up from ${where}`, most: 50, seconds: HOUR }];
    case '/request-password-reset':
    case '/send-verification-email':
      return [
        { key: `mail to ${account}`, most: 5, seconds: HOUR },
        { key: `mail from ${where}`, most: 50, seconds: HOUR },
      ];
    case '/two-factor/verify-totp':
    case '/two-factor/verify-backup-code':
      return [{ key: `second factor from ${where}`, most: 50, seconds: 10 * MINUTE }];
    default:
      return [];
  }
}

async function requireAttempts(pool: pg.Pool, bounds: readonly Bound[]): Promise<void> {
  if (bounds.length === 0) return;
  const seconds = await countAttempt(pool, bounds);
  if (seconds > 0)
    throw new APIError(
      'TOO_MANY_REQUESTS',
      { code: 'RATE_LIMITED', message: `too many attempts: wait ${seconds} s`, retryAfterMs: seconds * 1_000 },
      { 'retry-after': String(seconds) },
    );
}

/** Who has given their password in this browser, and still has to give the second factor. */
async function pendingOf({ context, getSignedCookie }: GenericEndpointContext): Promise<string | null> {
  const identifier = await getSignedCookie(context.createAuthCookie('two_factor').name, context.secret);
  const found = identifier ? await context.internalAdapter.findVerificationValue(identifier) : null;
  return found?.value ?? null;
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
