// Who people are: accounts, passwords, second factors, sessions, providers. better-auth does it, on our tables; what this
// adds is who may register, how often something is attempted, and what the audit log says.
import { AsyncLocalStorage } from 'node:async_hooks';
import { hash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { betterAuth, type BetterAuthOptions, type GenericEndpointContext } from 'better-auth';
import { APIError, createAuthMiddleware, getOAuthState, isAPIError } from 'better-auth/api';
import { twoFactor, username } from 'better-auth/plugins';
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import type { From } from '../access/access.ts';
import { networkOf } from '../access/budget.ts';
import { recordSession } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { makeToken } from '../access/token.ts';
import type { Providers, Registration } from '../config.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import { checkName } from '../runs/text.ts';
import type { Mailer } from '../mail/mailer.ts';
import { applyGroups } from '../workspaces/managed-members.ts';
import { type Bound, countAttempt } from './attempts.ts';
import { linksPlugin } from './links.ts';
import { createIdentityMails, readVerification, VERIFY_HOURS } from './mails.ts';
import { createPasswords } from './passwords.ts';
import { isMapped, type Known, type ProviderAddresses, providerRequest, providersPlugin } from './providers.ts';
import { createAccountRecord, namedBy } from './record.ts';
import { beginAccount, requireRegistration, type Shown } from './registration.ts';
import { endWhatWasBegun, expectChange, RESET_MINUTES, takeChange } from './reset.ts';
import { factorBounds } from './second-factor.ts';
import { findRoute } from './routes.ts';
import { createStore, current } from './store.ts';
import { createTurns } from './turns.ts';
import { isUsername, USERNAME_LENGTHS } from './usernames.ts';

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
  providers: Providers;
  providerAddresses?: ProviderAddresses;
  /** An address is verified by mail before the first sign-in. */
  verifyEmail: boolean;
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
/** What writes for an account that there is, and not for another, answers after the same time. */
const EVEN = ['/request-password-reset', '/change-email'];
const EVEN_MS = 300;
const HOUR = 3_600;
/** Which session is whose: installations on one host, told apart by what only they know, do not sign one another out. */
export function sessionCookieName({ secret, secure }: Pick<IdentityOptions, 'secret' | 'secure'>): string {
  return `${secure ? '__Secure-' : ''}${cookiePrefix(secret)}.session_token`;
}

function cookiePrefix(secret: string): string {
  return `runtide-${hash('sha256', `cookies of ${secret}`).slice(0, 8)}`;
}

export function createIdentity(
  {
    db,
    pool,
    changes,
    mailer,
    log,
  }: { db: Db; pool: pg.Pool; changes: AccessChanges; mailer: Mailer | null; log: Log },
  options: IdentityOptions,
): Identity {
  const asking = new AsyncLocalStorage<Shown>();
  const shown = () => asking.getStore() ?? { invitation: undefined, setUp: undefined, from: NOWHERE };
  const { registration, providers } = options;
  const provesAddress = registration.mode === 'domain' || options.verifyEmail;
  const mails = createIdentityMails({ pool, mailer, log }, options.url);
  const passwords = createPasswords();
  const record = createAccountRecord({ db, log }, () => shown().from);

  const settings = {
    appName: 'Runtide',
    baseURL: options.url,
    basePath: PATH,
    secret: options.secret,
    trustedOrigins: [...options.allowedOrigins],
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
      // Said, since it would be otherwise in tests: where somebody is sent on to is ours.
      disableOriginCheck: false,
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
      // With mail, an address is one's own only when the mail to it was answered.
      changeEmail: { enabled: true, updateEmailWithoutVerification: !mails.areSent },
      async validateUserInfo({ user, source }) {
        if (source.method === 'email-password') return undefined;
        if (!source.oauth) return { error: 'REGISTRATION_REFUSED', errorDescription: 'there is no such way in' };
        const { groups } = source.oauth.profile as unknown as Known;
        const store = shown();
        store.provider = { id: source.oauth.providerId, groups };
        if (source.action !== 'create-user') return undefined;
        const { email = '', emailVerified = false } = user;
        const { invitation, setUp } = (await getOAuthState<{ invitation?: unknown; setUp?: unknown }>()) ?? {};
        if (typeof invitation === 'string') store.invitation = invitation;
        if (typeof setUp === 'string') store.setUp = setUp;
        const candidate = { email, emailVerified, isMapped: isMapped(providers.oidc?.roles ?? [], groups) };
        return requireRegistration(db, registration, candidate, store).then(() => undefined, refusalOf);
      },
    },
    emailAndPassword: {
      enabled: true,
      minPasswordLength: PASSWORD_LENGTH,
      requireEmailVerification: provesAddress,
      revokeSessionsOnPasswordReset: true,
      resetPasswordTokenExpiresIn: RESET_MINUTES * MINUTE,
      password: passwords,
      // Nothing here waits for the mail.
      async sendResetPassword({ user, token }) {
        mails.resetPassword(user, token);
      },
      async onPasswordReset({ user }) {
        await unlinkUnvouched(db, user);
        await endWhatWasBegun(db, user.id);
        await record.passwordReset(user);
        mails.passwordChanged(user);
      },
      async onExistingUserSignUp({ user }) {
        mails.accountExists(user);
      },
    },
    emailVerification: {
      expiresIn: VERIFY_HOURS * HOUR,
      sendOnSignUp: mails.areSent,
      sendOnSignIn: provesAddress,
      async sendVerificationEmail({ user, token }) {
        if (readVerification(token)?.newEmail == null) {
          mails.verifyAddress(user, token);
          return;
        }
        await expectChange(db, user.id, token, VERIFY_HOURS);
        mails.confirmAddress(user, token);
      },
    },
    account: {
      // Nothing of a sign-in that has only begun is kept here: what it needs to go on is in the browser, encrypted.
      storeStateStrategy: 'cookie',
      updateAccountOnSignIn: false,
      // An address leads to an account only where the provider vouches for it, and the account has proven it too.
      accountLinking: { trustedProviders: [], requireLocalEmailVerified: true },
    },
    databaseHooks: {
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
            if (provider && options.verifyEmail && user?.emailVerified === false) throw unverified();
            if (providers.oidc && provider?.id === 'oidc' && provider.groups) {
              const { name, roles } = providers.oidc;
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
    },
    hooks: {
      before: createAuthMiddleware(async (ctx) => {
        const body = (ctx.body ?? {}) as Record<string, unknown>;
        await requireAttempts(pool, [...boundsOf(ctx.path, body, shown().from), ...(await factorBounds(pool, ctx))]);
        if (ctx.path === '/verify-email') {
          const change = readVerification(ctx.query?.token);
          // Whether the token is genuine is asked behind this; one that is not was never waited for.
          if (change?.newEmail && !(await takeChange(db, change.userId, ctx.query?.token as string))) throw linkOver();
        }
        const { username, name, email, image } = body;
        if (ctx.path === '/update-user' || (ctx.path === '/sign-up/email' && typeof name === 'string'))
          requireName(name);
        if (ctx.path === '/sign-in/social' || ctx.path === '/link-social')
          return { context: { body: await providerRequest(body) } };
        requireImage(image);
        const takesUsername = ctx.path === '/sign-up/email' || (ctx.path === '/update-user' && username !== undefined);
        if (takesUsername && typeof username !== 'string')
          throw new APIError('BAD_REQUEST', { code: 'USERNAME_MISSING', message: 'username must be given' });
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
        const change =
          ctx.path === '/verify-email' && !isAPIError(returned) ? readVerification(ctx.query?.token) : null;
        if (change?.newEmail) {
          const { name } = await db.user.findUniqueOrThrow({ where: { id: change.userId } });
          mails.addressChanged({ name, email: change.email }, change.newEmail);
        }
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
        minUsernameLength: USERNAME_LENGTHS.least,
        maxUsernameLength: USERNAME_LENGTHS.most,
        displayUsername: false,
        usernameValidator: isUsername,
      }),
      twoFactor({ issuer: 'Runtide', allowPasswordless: true }),
      linksPlugin(db),
      // Beside the hooks above, which are ours too: of each kind both are heard.
      { id: 'record', init: () => ({ options: { databaseHooks: record.hooks } }) },
      providersPlugin({ db, log }, providers, options.providerAddresses ?? {}),
    ],
  } satisfies BetterAuthOptions;
  const auth = betterAuth(settings);
  const turns = createTurns();

  async function answer(path: string, request: Request, body: Record<string, unknown> | null): Promise<Response> {
    if (path === '/verify-email') {
      const address = new URL(request.url);
      address.search = new URLSearchParams({ token: typeof body?.token === 'string' ? body.token : '' }).toString();
      return auth.handler(new Request(address, { headers: request.headers }));
    }
    if (!EVEN.includes(path)) return auth.handler(request);
    const [response] = await Promise.all([auth.handler(request), setTimeout(EVEN_MS)]);
    return response;
  }

  return {
    cookieName: sessionCookieName(options),
    async handle(request, body, from) {
      const { invitation, setUp } = body ?? {};
      const about: Shown = {
        invitation: typeof invitation === 'string' ? invitation : undefined,
        setUp: typeof setUp === 'string' ? setUp : undefined,
        from,
      };
      const path = new URL(request.url).pathname.slice(PATH.length);
      const route = findRoute(request.method, path);
      if (!route) return nothingHere();
      const work = () => asking.run(about, () => passwords.run(() => answer(path, request, body)));
      const response = await (route.hashes ? (turns.take(networkOf(from.address), work) ?? comeAgain()) : work());
      // Whatever it was, it may have changed who may do what: the database's triggers know, others are told.
      if (request.method !== 'GET' && response.ok) changes.announce();
      return response;
    },
  };
}

/** By which the edge tells the client's address; what a client sends under this name is overwritten. */
export const ADDRESS_HEADER = 'x-runtide-address';

const NOWHERE: From = { address: null, userAgent: null };

function requireName(name: unknown): void {
  if (name === undefined) return;
  try {
    if (typeof name !== 'string') throw new Error('name must be a string');
    checkName(name, 'name');
  } catch (error) {
    throw new APIError('BAD_REQUEST', { code: 'INVALID_NAME', message: (error as Error).message });
  }
}

/** What validateUserInfo takes: thrown, it would be a fault. */
function refusalOf(thrown: unknown): { error: string; errorDescription: string } {
  if (!(thrown instanceof APIError)) throw thrown;
  return { error: String(thrown.body?.code), errorDescription: thrown.message };
}

/**
 * An account that a provider made with an address that it does not vouch for: whoever gets the mail that goes there is
 * its owner from then on, and whoever made it does not stay in by the provider.
 */
async function unlinkUnvouched(db: Db, { id, emailVerified }: { id: string; emailVerified: boolean }): Promise<void> {
  if (!emailVerified) await db.account.deleteMany({ where: { userId: id, providerId: { not: 'credential' } } });
}

/** What pages may show. */
function requireImage(image: unknown): void {
  if (image == null) return;
  if (typeof image !== 'string' || image.length > 2_000 || !/^https:\/\/[\x21-\x7e]+$/.test(image))
    throw new APIError('BAD_REQUEST', { code: 'INVALID_IMAGE', message: 'image must be an https:// address' });
}

function nothingHere(): Response {
  return new Response('{"code":"NOT_FOUND","message":"there is nothing at this address"}', {
    status: 404,
    headers: { 'content-type': 'application/json' },
  });
}

function comeAgain(): Response {
  return Response.json(
    { code: 'RATE_LIMITED', message: 'too many sign in at this moment: try again', retryAfterMs: 2_000 },
    { status: 429, headers: { 'retry-after': '2' } },
  );
}

function linkOver(): APIError {
  return new APIError('UNAUTHORIZED', { code: 'INVALID_TOKEN', message: 'this link was used already, or is over' });
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

/**
 * How often it may be attempted: by account and by address. A pair of both is bounded more closely than either, and what
 * one bound refuses does not count for those after it: nobody locks a person out by guessing on from one address.
 */
export function boundsOf(path: string, body: Record<string, unknown>, { address }: From): Bound[] {
  const account = JSON.stringify(namedBy(path, body) ?? '').toLowerCase();
  const where = networkOf(address);
  switch (path) {
    case '/sign-in/email':
    case '/sign-in/username':
      return [
        { key: `sign-in ${account} from ${where}`, most: 10, seconds: 10 * MINUTE },
        { key: `sign-in from ${where}`, most: 100, seconds: 10 * MINUTE },
        { key: `sign-in ${account}`, most: 50, seconds: 10 * MINUTE },
      ];
    case '/sign-in/social':
    case '/link-social':
      return [{ key: `provider from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/sign-in-link':
      return [{ key: `link from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/sign-up/email':
      return [{ key: `sign-up from ${where}`, most: 50, seconds: HOUR }];
    case '/request-password-reset':
    case '/send-verification-email':
    case '/change-email':
      return [
        { key: `mail to ${account}`, most: 5, seconds: HOUR },
        { key: `mail from ${where}`, most: 50, seconds: HOUR },
      ];
    case '/reset-password':
    case '/verify-email':
      return [{ key: `token from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/change-password':
    case '/two-factor/enable':
    case '/two-factor/disable':
    case '/two-factor/get-totp-uri':
    case '/two-factor/generate-backup-codes':
      // They ask for the password again, which a stolen session does not know.
      return [{ key: `password from ${where}`, most: 50, seconds: 10 * MINUTE }];
    case '/two-factor/verify-totp':
    case '/two-factor/verify-backup-code':
      return [{ key: `second factor from ${where}`, most: 50, seconds: 10 * MINUTE }];
    default:
      return [];
  }
}

/** One after the other, see boundsOf. */
export async function requireAttempts(pool: pg.Pool, bounds: readonly Bound[]): Promise<void> {
  for (const bound of bounds) {
    const seconds = await countAttempt(pool, [bound]);
    if (seconds === 0) continue;
    throw new APIError(
      'TOO_MANY_REQUESTS',
      { code: 'RATE_LIMITED', message: `too many attempts: wait ${seconds} s`, retryAfterMs: seconds * 1_000 },
      { 'retry-after': String(seconds) },
    );
  }
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
