// Every variable that the server reads, in one table: nothing else in src/ looks at process.env. docs/configuration.md
// and .env.example are printed from it (npm run docs:config). Refuses to start with any value that is wrong.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

export interface Variable<Value> {
  name: string;
  /** Other trackers' names for the same thing, read when `name` is not set. */
  aliases: string[];
  type: string;
  /** The value without the variable, as a person would write it. */
  defaultText: string;
  bounds: string;
  description: string;
  secret: boolean;
  /** Throws an Error that says what was expected. */
  parse(text: string | undefined): Value;
}

type Options = { aliases?: string[]; description: string };

function text(name: string, options: Options & { default: string; pattern?: RegExp; expected?: string }) {
  return variable(name, 'text', options.default, options.expected ?? '', options, (value) => {
    if (options.pattern && !options.pattern.test(value)) throw new Error(`expected ${options.expected}`);
    return value;
  });
}

function integer(name: string, options: Options & { default: number; min: number; max: number }) {
  const bounds = `${options.min} to ${options.max}`;
  return variable(name, 'integer', String(options.default), bounds, options, (value) => {
    const number = Number(value);
    if (!/^-?\d+$/.test(value) || number < options.min || number > options.max)
      throw new Error(`expected an integer from ${bounds}`);
    return number;
  });
}

function choice<const Choice extends string>(name: string, choices: Choice[], options: Options & { default: Choice }) {
  return variable(name, 'choice', options.default, choices.join(', '), options, (value): Choice => {
    const found = choices.find((one) => one === value.toLowerCase());
    if (!found) throw new Error(`expected one of ${choices.join(', ')}`);
    return found;
  });
}

function flag(name: string, options: Options) {
  return variable(name, 'choice', 'false', 'true, false', options, (value) => {
    if (!/^(true|false)$/i.test(value)) throw new Error('expected true or false');
    return value.toLowerCase() === 'true';
  });
}

function url(name: string, protocols: string[], options: Options & { origin?: boolean; defaultText: string }) {
  const bounds = protocols.map((protocol) => `${protocol}//…`).join(' or ');
  const found: Variable<string | undefined> = {
    ...variable(name, 'URL', '', bounds, options, (value) => value),
    defaultText: options.defaultText,
    parse(value) {
      if (!value) return undefined;
      if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol)) throw new Error(`expected ${bounds}`);
      return options.origin ? originOf(value) : value;
    },
  };
  return found;
}

/** With a password in it: never shown. */
function secretUrl(...options: Parameters<typeof url>): Variable<string | undefined> {
  return { ...url(...options), secret: true };
}

export type Registration = { mode: 'open' | 'invite' | 'closed' } | { mode: 'domain'; domains: string[] };

function registration(name: string, options: Options) {
  const found: Variable<Registration | undefined> = {
    ...variable(name, 'text', '', 'open, invite, domain:…, closed', options, () => undefined),
    defaultText: '`open` where this machine alone reaches the server, else `invite`',
    parse(value) {
      if (!value) return undefined;
      if (value === 'open' || value === 'invite' || value === 'closed') return { mode: value };
      const domains = /^domain:(.+)$/.exec(value)?.[1]?.toLowerCase().split(',');
      const isDomain = (one: string) => /^(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(one);
      if (!domains?.every((one) => isDomain(one.trim())))
        throw new Error('expected open, invite, closed, or domain: and domains with commas between them');
      return { mode: 'domain', domains: domains.map((one) => one.trim()) };
    },
  };
  return found;
}

/** What may be left out, and has no default. */
function optional(name: string, type: string, options: Options & { pattern: RegExp; expected: string }) {
  const found: Variable<string | undefined> = {
    ...variable(name, type, '', '', options, (value) => value),
    secret: type === 'secret',
    parse(value) {
      if (!value) return undefined;
      if (!options.pattern.test(value)) throw new Error(`expected ${options.expected}`);
      return value;
    },
  };
  return found;
}

/** As a provider gives them to whoever registers with it. */
function clientId(name: string, options: Options) {
  return optional(name, 'text', { ...options, pattern: /^[\x21-\x7e]{1,255}$/, expected: 'an id without spaces' });
}

function clientSecret(name: string, options: Options) {
  return optional(name, 'secret', { ...options, pattern: /^[\x21-\x7e]{1,512}$/, expected: 'a secret without spaces' });
}

/** In plain text over this machine alone: whoever stood between could be anybody. */
function issuer(name: string, options: Options) {
  const bounds = 'https://…, or http://… on this machine';
  const found: Variable<string | undefined> = {
    ...variable(name, 'URL', '', bounds, options, (value) => value),
    parse(value) {
      if (!value) return undefined;
      const parsed = URL.canParse(value) ? new URL(value) : null;
      const isPlain = parsed?.protocol === 'http:' && isLoopbackHost(parsed.hostname);
      if (!parsed || !(parsed.protocol === 'https:' || isPlain) || /[?#@]/.test(value))
        throw new Error(`expected ${bounds}, without a query`);
      return value;
    },
  };
  return found;
}

/** Of a URL: with brackets around an IPv6 address. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Whoever is in the group at the provider has this role in the workspace. */
export interface GroupRole {
  group: string;
  /** Its slug. */
  workspace: string;
  role: 'OWNER' | 'ADMIN' | 'MEMBER' | 'VIEWER';
}

function groupRoles(name: string, options: Options) {
  const form = /^(?<group>.{1,255})=(?<workspace>[a-z0-9-]{1,48}):(?<role>OWNER|ADMIN|MEMBER|VIEWER)$/;
  const bounds = 'group=workspace:ROLE, separated by commas or in lines of their own';
  return variable(name, 'list of groups', '', bounds, options, (value) => {
    // Names of groups may hold commas, as those of LDAP do: only one behind a role ends an entry.
    const entries = value
      .split(/\n|(?<=:(?:OWNER|ADMIN|MEMBER|VIEWER)\s*),/)
      .map((one) => one.trim())
      .filter((one) => one !== '');
    const roles = entries.map((entry): GroupRole => {
      const { group, workspace, role } = form.exec(entry)?.groups ?? {};
      // What holds another entry has a role that is none.
      if (!group || !workspace || !role || /=[\w-]*:\w*\s*,/.test(group))
        throw new Error(`expected group=workspace:ROLE such as ml-team=vision:MEMBER, not "${entry}"`);
      return { group: group.trim(), workspace, role: role as GroupRole['role'] };
    });
    const pairs = roles.map(({ group, workspace }) => `${group}=${workspace}`);
    const twice = pairs.find((pair, index) => pairs.indexOf(pair) !== index);
    if (twice) throw new Error(`expected one role a group and workspace: ${twice} stands there twice`);
    return roles;
  });
}

function scopes(name: string, options: Options & { default: string }) {
  return variable(name, 'list of scopes', options.default, 'separated by spaces', options, (value) => {
    const found = value.split(/[\s,]+/).filter((one) => one !== '');
    if (!found.includes('openid') || found.some((one) => !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(one)))
      throw new Error('expected scopes with spaces between them, openid among them');
    return found;
  });
}

function origins(name: string, options: Options) {
  return variable(name, 'list of origins', '', 'separated by commas', options, (value) =>
    value
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '')
      .map(originOf),
  );
}

/** Of proxies that are believed: how many stand before the server, or what addresses they have. */
function proxies(name: string, options: Options) {
  const bounds = 'a number to 20, or a list separated by commas';
  return variable(name, 'number or list of addresses', '', bounds, options, (value): number | string[] => {
    if (/^\d+$/.test(value)) {
      if (Number(value) > 20) throw new Error('expected at most 20 proxies in a row');
      return Number(value);
    }
    const list = value.split(',').map((one) => one.trim());
    return list.filter((one) => one !== '').map(checkProxy);
  });
}

function checkProxy(value: string): string {
  if (value === 'loopback' || value === 'private') return value;
  const [address = '', length, ...rest] = value.split('/');
  const family = isIP(address);
  const isRange =
    length === undefined || (/^[1-9]\d{0,2}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128));
  if (family !== 0 && isRange && rest.length === 0) return value;
  throw new Error(
    `expected a number of proxies, or addresses such as 10.0.0.7, 10.0.0.0/8, loopback or private, not "${value}"`,
  );
}

/** At least `minLength` characters and none of the examples that people copy; generated into the data folder. */
function secret(name: string, options: Options & { minLength: number }) {
  const found: Variable<string | undefined> = {
    ...variable(name, 'secret', '', `at least ${options.minLength} characters`, options, (value) => value),
    defaultText: 'generated into the data folder',
    secret: true,
    parse(value) {
      if (!value) return undefined;
      if (value.length < options.minLength) throw new Error(`expected at least ${options.minLength} characters`);
      const isPlain = new Set(value).size < 8;
      if (isPlain || /change.?me|example|secret.?key|\byour[-_ ]|password|default|123456/i.test(value))
        throw new Error('this looks like an example: make one with `openssl rand -base64 32`, or leave it out');
      return value;
    },
  };
  return found;
}

/** `ada@example.org` or `Ada Lovelace <ada@example.org>`. */
function mailbox(name: string, options: Options & { defaultText: string }) {
  const found: Variable<string | undefined> = {
    ...variable(name, 'address', '', '', options, () => undefined),
    defaultText: options.defaultText,
    parse(value) {
      if (!value) return undefined;
      if (
        !/^(?:[^<>"@,;:\p{Cc}]{1,100} )?<?[\w.+-]{1,64}@[\w.-]{1,190}>?$/u.test(value) ||
        value.includes('<') !== value.endsWith('>')
      )
        throw new Error('expected an address such as runtide@example.org, or Runtide <runtide@example.org>');
      return value;
    },
  };
  return found;
}

function variable<Value>(
  name: string,
  type: string,
  defaultText: string,
  bounds: string,
  options: Options,
  parse: (value: string) => Value,
): Variable<Value> {
  const { description, aliases = [] } = options;
  const read = (value: string | undefined) => parse(value || defaultText);
  return { name, aliases, type, defaultText, bounds, description, secret: false, parse: read };
}

function originOf(value: string): string {
  if (!URL.canParse(value)) throw new Error(`expected an origin such as https://runs.example.org, not "${value}"`);
  const parsed = new URL(value);
  const isOrigin = parsed.href === `${parsed.origin}/` && /^https?:$/.test(parsed.protocol);
  if (!isOrigin) throw new Error(`expected an origin such as https://runs.example.org, not "${value}"`);
  return parsed.origin;
}

/** What a signing key has to outlast (src/access/credentials/signing-keys.ts). */
export const MOST_TOKEN_SECONDS = 3_600;

export const variables = {
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
  rateLimit: integer('RUNTIDE_RATE_LIMIT', {
    default: 6_000_000,
    min: 0,
    max: 1_000_000_000,
    description:
      'Cost that one credential, or one address without a credential, may spend in a minute; see [access.md](access.md#how-much). Above it operations are refused with RATE_LIMITED. 0 lets everybody do as much as they like; keys with a limit of their own keep it.',
  }),
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
  publicProjects: flag('RUNTIDE_PUBLIC_PROJECTS', {
    description:
      'Whether projects may be made public: anybody who reaches the server can then read them, signed in or not. Without it, or once it is switched off again, projects that are public are read by their workspaces alone.',
  }),
  tokenSeconds: integer('RUNTIDE_TOKEN_SECONDS', {
    default: MOST_TOKEN_SECONDS,
    min: 60,
    max: MOST_TOKEN_SECONDS,
    description: 'Seconds that a token of `createToken` lasts, at the most and unless it is asked for less.',
  }),
  oidcIssuer: issuer('RUNTIDE_OIDC_ISSUER', {
    description:
      'People sign in at this OpenID Connect provider: its address, as its `/.well-known/openid-configuration` names it. See `docs/sign-in.md`.',
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
  const loopback = isLoopback(parsed.host);
  // Not said of a host or an address that are wrong anyway.
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

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** A proxy on this machine opens a server to others that listens for itself alone. */
function isHere(publicUrl: string | undefined): boolean {
  return publicUrl === undefined || isLoopback(new URL(publicUrl).hostname.replace(/^\[|\]$/g, ''));
}

/** What the clients and the tests read, which may stand in the same environment. */
const OTHERS = /^RUNTIDE_(API_KEY|BASE_URL|PROJECT|MODE|EXIT_TIMEOUT|TEST_\w+)$/;

function unknownNames(environment: Environment): string[] {
  const known = new Set(Object.values(variables).flatMap(({ name }) => [name, `${name}_FILE`]));
  return Object.keys(environment).filter(
    (name) => name.startsWith('RUNTIDE_') && !known.has(name) && !OTHERS.test(name),
  );
}

type Environment = Record<string, string | undefined>;

/** Every value by its key in `table`, or why it is wrong. A variable that is empty counts as not set. */
export function readVariables(
  table: Record<string, Variable<unknown>>,
  environment: Environment,
): { values: Record<string, unknown>; problems: string[] } {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, one] of Object.entries(table)) {
    const names = [one.name, ...one.aliases].flatMap((name) => [name, `${name}_FILE`]);
    const name = names.find((candidate) => environment[candidate]?.trim()) ?? one.name;
    let text: string | undefined;
    try {
      text = environment[name]?.trim();
      if (text && name.endsWith('_FILE')) text = readFileSync(text, 'utf8').trim();
      values[key] = one.parse(text);
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}${shown(one, text)}`);
    }
  }
  return { values, problems };
}

/** What was written, for the message; of an address with a password only what follows it. */
function shown({ secret }: Variable<unknown>, text: string | undefined): string {
  if (secret || text === undefined) return '';
  return ` (it is ${JSON.stringify(text.replace(/^.*@/s, '…@'))})`;
}

/** A secret that nobody configured: made once, kept in the data folder, readable by its owner alone. */
export function generatedSecret(dataDir: string, name: string): string {
  const path = join(dataDir, 'secrets', name);
  const kept = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  // A power cut can leave an empty file: no secret at all.
  if (kept !== '') return kept;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const made = randomBytes(32).toString('base64url');
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${made}\n`, { mode: 0o600, flush: true });
  renameSync(temporary, path);
  return made;
}
