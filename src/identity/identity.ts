// Who people are: accounts, passwords, second factors, sessions, providers. better-auth does it, on our tables; what this
// adds is who may register, how often something is attempted, and what the audit log says.
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout } from 'node:timers/promises';
import type { BetterAuthOptions } from 'better-auth';
// Its other entries load every plugin and database there is: some 30 MB of memory more.
import { betterAuth } from 'better-auth/minimal';
import { twoFactor } from 'better-auth/plugins/two-factor';
import { username } from 'better-auth/plugins/username';
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { type From, networkOf } from '../access/access.ts';
import type { AccessChanges } from '../access/changes.ts';
import type { Providers } from '../config.ts';
import type { Registration } from '../config/kinds.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import type { Mailer } from '../mail/mailer.ts';
import { beginAccount, type Shown } from './accounts/registration.ts';
import { isUsername, USERNAME_LENGTHS } from './accounts/usernames.ts';
import { countAttempt } from './attempts.ts';
import { createIdentityMails } from './mail/mails.ts';
import { createArrivalCheck } from './providers/arrival.ts';
import { type ProviderAddresses, providersPlugin } from './providers/providers.ts';
import { createAccountRecord } from './record.ts';
import { createRequestHooks } from './request-hooks.ts';
import { findRoute } from './routes.ts';
import { createRowHooks } from './row-hooks.ts';
import { cookiePrefix, sessionCookieName } from './sign-in/cookie.ts';
import { linksPlugin } from './sign-in/links.ts';
import { createPasswords } from './sign-in/passwords.ts';
import {
  endWhatWasBegun,
  expectChange,
  readVerification,
  RESET_MINUTES,
  unlinkUnvouched,
  VERIFY_HOURS,
} from './sign-in/reset.ts';
import { createTurns } from './sign-in/turns.ts';
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
const HOUR = 3_600;
/** What writes for an account that there is, and not for another, answers after the same time. */
const EVEN = ['/request-password-reset', '/change-email'];
const EVEN_MS = 300;

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
      validateUserInfo: createArrivalCheck({
        db,
        registration,
        oidc: providers.oidc,
        shown,
      }),
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
    databaseHooks: createRowHooks({
      db,
      changes,
      log,
      mails,
      oidc: providers.oidc,
      verifyEmail: options.verifyEmail,
      shown,
    }),
    hooks: createRequestHooks({ db, pool, mails, passwords, record, registration, provesAddress, shown }),
    rateLimit: {
      enabled: true,
      // What is attempted on people is counted in ./sign-in/bounds.ts, for people behind one address too.
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
