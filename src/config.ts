// Every variable that the server reads, in one table: nothing else in src/ looks at process.env. docs/configuration.md
// and .env.example are printed from it (npm run docs:config). Refuses to start with any value that is wrong.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  choice,
  clientId,
  clientSecret,
  flag,
  type GroupRole,
  groupRoles,
  integer,
  isLoopback,
  issuer,
  mailbox,
  origins,
  proxies,
  type Registration,
  registration,
  scopes,
  secret,
  secretUrl,
  text,
  url,
} from './config/kinds.ts';
import { type Environment, readVariables } from './config/values.ts';

/** What a signing key has to outlast (src/access/credentials/signing-keys.ts). */
export const MOST_TOKEN_SECONDS = 3_600;

export const variables = {
  // Where it is.
  host: text('RUNTIDE_HOST', {
    default: 'localhost',
    pattern: /^[\w.:-]+$/,
    expected: 'a host name or an address',
    description:
      'Where the server listens. `localhost` is this machine alone, by IPv4 and IPv6. Any other address needs `RUNTIDE_PUBLIC_URL`.',
  }),
  port: integer('RUNTIDE_PORT', {
    default: 4000,
    min: 0,
    max: 65535,
    description: 'The port of everything: pages, API, WebSocket. 0 takes a free one.',
  }),
  publicUrl: url('RUNTIDE_PUBLIC_URL', ['http:', 'https:'], {
    origin: true,
    defaultText: 'http://localhost:4000 (the port in use)',
    description: 'The address by which people reach the server, for links and for the check of origins.',
  }),
  allowedOrigins: origins('RUNTIDE_ALLOWED_ORIGINS', {
    description:
      "Origins of pages elsewhere that may call the API with their visitor's session. The server's own needs no entry.",
  }),
  trustProxy: proxies('RUNTIDE_TRUST_PROXY', {
    description:
      "Whose `X-Forwarded-For` is believed, so that people's own addresses stand in the audit log: the number of proxies in a row before the server, or their addresses, ranges, `loopback` and `private` among them. Without it the address is that of whoever connects. See [proxy.md](proxy.md).",
  }),
  // Where things are kept, and how processes hear of one another.
  dataDir: text('RUNTIDE_DATA_DIR', {
    default: '.runtide',
    description: 'The folder of everything that is stored without another engine: database, secrets, objects.',
  }),
  databaseUrl: url('DATABASE_URL', ['postgres:', 'postgresql:'], {
    defaultText: 'PostgreSQL 18, started by the server in the data folder',
    description:
      'A PostgreSQL 15 or later. `?schema=name` puts the tables into that schema, `?sslmode=verify-full` asks for TLS. The role needs no superuser rights.',
  }),
  databasePoolSize: integer('RUNTIDE_DATABASE_POOL_SIZE', {
    default: 10,
    min: 2,
    max: 500,
    description: 'Connections to the database that one server process opens at the most.',
  }),
  redisUrl: url('REDIS_URL', ['redis:', 'rediss:'], {
    defaultText: 'the bus stays in the process',
    description:
      'A Redis or Valkey through which several server processes wake one another’s subscribers, and share the budgets of credentials.',
  }),
  redisPrefix: text('RUNTIDE_REDIS_PREFIX', {
    default: 'runtide',
    pattern: /^[\w:.-]{1,64}$/,
    expected: 'up to 64 letters, digits and _ : . -',
    description: 'What every channel and key in Redis begins with, so that installations can share one.',
  }),
  // How much is taken in, and what others may read.
  tailLimitMb: integer('RUNTIDE_TAIL_LIMIT_MB', {
    default: 1024,
    min: 1,
    max: 1_000_000,
    description:
      'Megabytes of accepted points, over all runs, that may wait to be folded. Above it batches are refused with UNAVAILABLE, and clients keep them until it is less.',
  }),
  diskReserveMb: integer('RUNTIDE_DISK_RESERVE_MB', {
    default: 512,
    min: 0,
    max: 1_000_000,
    description:
      'Megabytes that the disk of the data folder must have left for batches to be accepted, while the database is there. 0 takes them until it is full.',
  }),
  rateLimit: integer('RUNTIDE_RATE_LIMIT', {
    default: 6_000_000,
    min: 0,
    max: 1_000_000_000,
    description:
      'Cost that one credential, or one address without a credential, may spend in a minute; see [access.md](access.md#how-much). Above it operations are refused with RATE_LIMITED. 0 lets everybody do as much as they like; keys with a limit of their own keep it.',
  }),
  publicProjects: flag('RUNTIDE_PUBLIC_PROJECTS', {
    description:
      'Whether projects may be made public: anybody who reaches the server can then read them, signed in or not. Without it, or once it is switched off again, projects that are public are read by their workspaces alone.',
  }),
  // Who has an account.
  registration: registration('RUNTIDE_REGISTRATION', {
    description:
      'Who may make an account: `open` (anybody), `invite` (whoever has an invitation), `domain:example.org,example.com` (verified addresses there, or an invitation), `closed`.',
  }),
  verifyEmail: flag('RUNTIDE_VERIFY_EMAIL', {
    description: 'Whether an account has to answer a mail before its first sign-in. Needs `RUNTIDE_SMTP_URL`.',
  }),
  smtpUrl: secretUrl('RUNTIDE_SMTP_URL', ['smtp:', 'smtps:'], {
    defaultText: 'no mail is sent',
    description:
      'The server that takes mail: `smtp://user:password@mail.example.org:587`, or `smtps://` for TLS from the start. A password goes over TLS alone, unless the address ends in `?requireTLS=false`. Without it, whoever administers the server hands links on.',
  }),
  mailFrom: mailbox('RUNTIDE_MAIL_FROM', {
    defaultText: '`Runtide <runtide@…>` with the host of the public address',
    description: 'Whom the mails of this server are from.',
  }),
  // At whom people sign in, beside here.
  oidcIssuer: issuer('RUNTIDE_OIDC_ISSUER', {
    description:
      'People sign in at this OpenID Connect provider: its address, as its `/.well-known/openid-configuration` names it. See [sign-in.md](sign-in.md).',
  }),
  oidcClientId: clientId('RUNTIDE_OIDC_CLIENT_ID', {
    description: 'What the provider calls this server.',
  }),
  oidcClientSecret: clientSecret('RUNTIDE_OIDC_CLIENT_SECRET', {
    description: 'What the provider knows this server by. None for a public client: PKCE is always used.',
  }),
  oidcName: text('RUNTIDE_OIDC_NAME', {
    default: 'single sign-on',
    pattern: /^[^\p{Cc}]{1,64}$/u,
    expected: 'a name of up to 64 characters',
    description: 'What the button says after “Sign in with”.',
  }),
  oidcScopes: scopes('RUNTIDE_OIDC_SCOPES', {
    default: 'openid email profile',
    description: 'What the provider is asked for. Some tell groups only where a scope for them is asked for.',
  }),
  oidcGroupsClaim: text('RUNTIDE_OIDC_GROUPS_CLAIM', {
    default: 'groups',
    pattern: /^[\x21-\x7e]{1,255}$/,
    expected: 'the name of a claim',
    description: 'The claim, of the ID token or of userinfo, that says which groups somebody is in.',
  }),
  oidcRoles: groupRoles('RUNTIDE_OIDC_ROLES', {
    description:
      'Which group at the provider has which role in which workspace (its slug), such as `ml-team=vision:MEMBER,ml-leads=vision:ADMIN`. Applied at every sign-in there; being in such a group counts as an invitation.',
  }),
  googleClientId: clientId('RUNTIDE_GOOGLE_CLIENT_ID', {
    description: 'People may sign in with Google: the id of the OAuth client that was made there.',
  }),
  googleClientSecret: clientSecret('RUNTIDE_GOOGLE_CLIENT_SECRET', {
    description: 'The secret of that client.',
  }),
  githubClientId: clientId('RUNTIDE_GITHUB_CLIENT_ID', {
    description: 'People may sign in with GitHub: the id of the OAuth app that was made there.',
  }),
  githubClientSecret: clientSecret('RUNTIDE_GITHUB_CLIENT_SECRET', {
    description: 'The secret of that app.',
  }),
  // What signs them in, and for how long.
  authSecret: secret('RUNTIDE_AUTH_SECRET', {
    minLength: 32,
    description:
      'Signs the cookies of sessions, and encrypts second factors and signing keys. The same for all processes on one database; with another one everybody is signed out.',
  }),
  sessionDays: integer('RUNTIDE_SESSION_DAYS', {
    default: 30,
    min: 1,
    max: 365,
    description: 'Days that a signed-in browser stays signed in.',
  }),
  tokenSeconds: integer('RUNTIDE_TOKEN_SECONDS', {
    default: MOST_TOKEN_SECONDS,
    min: 60,
    max: MOST_TOKEN_SECONDS,
    description: 'Seconds that a token of `createToken` lasts, at the most and unless it is asked for less.',
  }),
  // What is told of it.
  auditDays: integer('RUNTIDE_AUDIT_DAYS', {
    default: 730,
    min: 90,
    max: 36_500,
    description: 'Days that the audit log keeps what was done.',
  }),
  metricsToken: secret('RUNTIDE_METRICS_TOKEN', {
    minLength: 16,
    description: 'What Prometheus sends as a Bearer token to read `/metrics`.',
  }),
  logLevel: choice('RUNTIDE_LOG_LEVEL', ['debug', 'info', 'warn', 'error', 'silent'], {
    default: 'warn',
    description: 'How much goes to the log (JSON lines on standard error).',
  }),
};

type Parsed = { [Key in keyof typeof variables]: ReturnType<(typeof variables)[Key]['parse']> };

/** By which this server is known at a provider. */
export interface ProviderClient {
  clientId: string;
  /** None: a public client. */
  clientSecret: string | undefined;
}

export interface OidcSettings extends ProviderClient {
  issuer: string;
  name: string;
  scopes: readonly string[];
  groupsClaim: string;
  roles: readonly GroupRole[];
}

/** At whom people may sign in, beside here. */
export interface Providers {
  oidc: OidcSettings | null;
  google: ProviderClient | null;
  github: ProviderClient | null;
}

export interface Config extends Omit<Parsed, 'registration'> {
  dataDir: string;
  providers: Providers;
  registration: Registration;
  /** Listening on this machine alone. */
  loopback: boolean;
  /** Where this user's programs find the keys of servers. */
  credentialsPath: string;
  /** What the first person is called until they say otherwise. */
  userName: string;
  /** For tests alone, and in no list of variables: another rhythm of the fold (RUNTIDE_TEST_RHYTHM, JSON). */
  testRhythm: Record<string, number>;
  /** Set, of our prefix, and read by nobody: most often a slip of the keyboard. */
  unknownNames: string[];
}

export class ConfigError extends Error {
  readonly problems: string[];
  constructor(problems: string[]) {
    super(`the configuration is wrong:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** Reads `.env` of the current folder (the real environment wins) and then the environment; reports all errors at once. */
export function loadConfig(): Config {
  if (existsSync('.env')) {
    try {
      process.loadEnvFile('.env');
    } catch (error) {
      throw new ConfigError([`.env: it cannot be read: ${(error as Error).message}`]);
    }
  }
  return parseConfig(process.env);
}

export function parseConfig(environment: Environment): Config {
  const { values, problems } = readVariables(variables, environment);
  const parsed = values as Parsed;
  // A host or an address that are wrong are not there.
  const loopback = Boolean(parsed.host) && isLoopback(parsed.host);
  if (parsed.host && !loopback && !parsed.publicUrl && 'publicUrl' in values)
    problems.push(
      `RUNTIDE_PUBLIC_URL: needed because RUNTIDE_HOST is ${parsed.host}: the address by which people reach the server, such as https://runs.example.org`,
    );
  problems.push(...missingHalves(environment, values));
  const { registration, verifyEmail, smtpUrl } = parsed;
  if (!smtpUrl && 'smtpUrl' in values && (verifyEmail || registration?.mode === 'domain'))
    problems.push(
      `RUNTIDE_SMTP_URL: needed because ${verifyEmail ? 'RUNTIDE_VERIFY_EMAIL is true' : 'RUNTIDE_REGISTRATION names domains'}: addresses are verified by mail`,
    );
  if (problems.length > 0) throw new ConfigError(problems);
  const home = environment.HOME || homedir();
  return {
    ...parsed,
    loopback,
    providers: providersOf(parsed),
    registration: registration ?? { mode: loopback && isHere(parsed.publicUrl) ? 'open' : 'invite' },
    // In .env no shell puts the home in.
    dataDir: resolve(parsed.dataDir.replace(/^~(?=\/|$)/, () => home)),
    credentialsPath: join(environment.XDG_CONFIG_HOME || join(home, '.config'), 'runtide', 'credentials.json'),
    userName: environment.USER || environment.LOGNAME || 'owner',
    testRhythm: JSON.parse(environment.RUNTIDE_TEST_RHYTHM || '{}') as Record<string, number>,
    unknownNames: unknownNames(environment),
  };
}

/** What is worth nothing without another variable. Not said of one that is wrong itself. */
function missingHalves(environment: Environment, values: Record<string, unknown>): string[] {
  const needs = (key: keyof typeof variables, other: keyof typeof variables): string[] => {
    const isSet = [variables[key].name, `${variables[key].name}_FILE`].some((name) => environment[name]?.trim());
    const isMissing = other in values && values[other] === undefined;
    return isSet && isMissing ? [`${variables[other].name}: needed because ${variables[key].name} is set`] : [];
  };
  const ofOidc = (
    ['oidcClientId', 'oidcClientSecret', 'oidcName', 'oidcScopes', 'oidcGroupsClaim', 'oidcRoles'] as const
  )
    .flatMap((key) => needs(key, 'oidcIssuer'))
    .slice(0, 1);
  return [
    ...ofOidc,
    ...needs('oidcIssuer', 'oidcClientId'),
    ...needs('googleClientId', 'googleClientSecret'),
    ...needs('googleClientSecret', 'googleClientId'),
    ...needs('githubClientId', 'githubClientSecret'),
    ...needs('githubClientSecret', 'githubClientId'),
  ];
}

function providersOf(parsed: Parsed): Providers {
  const { oidcIssuer: issuer, oidcName: name, oidcScopes, oidcGroupsClaim: groupsClaim, oidcRoles: roles } = parsed;
  const client = (clientId: string | undefined, clientSecret: string | undefined) =>
    clientId === undefined ? null : { clientId, clientSecret };
  const oidc = client(parsed.oidcClientId, parsed.oidcClientSecret);
  return {
    oidc: issuer && oidc ? { ...oidc, issuer, name, scopes: oidcScopes, groupsClaim, roles } : null,
    google: client(parsed.googleClientId, parsed.googleClientSecret),
    github: client(parsed.githubClientId, parsed.githubClientSecret),
  };
}

/** Where people reach the server: by what they configured, or by where it listens. */
export function addressOf(config: Pick<Config, 'host' | 'publicUrl'>, port: number): string {
  return config.publicUrl ?? localAddress(config, port);
}

export function localAddress({ host }: Pick<Config, 'host'>, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** A proxy on this machine opens a server to others that listens for itself alone. */
function isHere(publicUrl: string | undefined): boolean {
  return publicUrl === undefined || isLoopback(new URL(publicUrl).hostname);
}

/** What the clients and the tests read, which may stand in the same environment. */
const OTHERS = /^RUNTIDE_(API_KEY|BASE_URL|PROJECT|MODE|EXIT_TIMEOUT|TEST_\w+)$/;

function unknownNames(environment: Environment): string[] {
  const known = new Set(Object.values(variables).flatMap(({ name }) => [name, `${name}_FILE`]));
  return Object.keys(environment).filter(
    (name) => name.startsWith('RUNTIDE_') && !known.has(name) && !OTHERS.test(name),
  );
}
