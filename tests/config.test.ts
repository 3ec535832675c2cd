// The configuration: what holds with nothing set, what each variable takes, and that everything wrong is said at once.
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ConfigError, parseConfig, variables } from '../src/config.ts';
import { generatedSecret, readVariables } from '../src/config/values.ts';
import { runCommand } from './support/command.ts';
import { startServerProcess } from './support/server-process.ts';

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'runtide-config-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The problems of an environment; none when it is right. */
function problemsOf(environment: Record<string, string>): string[] {
  try {
    parseConfig(environment);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

test('with nothing set the server is for this machine alone', () => {
  expect(parseConfig({ HOME: '/home/ada', USER: 'ada' })).toEqual({
    host: 'localhost',
    port: 4000,
    publicUrl: undefined,
    allowedOrigins: [],
    trustProxy: [],
    dataDir: join(process.cwd(), '.runtide'),
    authSecret: undefined,
    registration: { mode: 'open' },
    verifyEmail: false,
    smtpUrl: undefined,
    mailFrom: undefined,
    databaseUrl: undefined,
    databasePoolSize: 10,
    tailLimitMb: 1024,
    diskReserveMb: 512,
    redisUrl: undefined,
    redisPrefix: 'runtide',
    rateLimit: 6_000_000,
    publicProjects: false,
    oidcIssuer: undefined,
    oidcClientId: undefined,
    oidcClientSecret: undefined,
    oidcName: 'single sign-on',
    oidcScopes: ['openid', 'email', 'profile'],
    oidcGroupsClaim: 'groups',
    oidcRoles: [],
    googleClientId: undefined,
    googleClientSecret: undefined,
    githubClientId: undefined,
    githubClientSecret: undefined,
    providers: { oidc: null, google: null, github: null },
    auditDays: 730,
    tokenSeconds: 3_600,
    sessionDays: 30,
    metricsToken: undefined,
    logLevel: 'warn',
    loopback: true,
    credentialsPath: '/home/ada/.config/runtide/credentials.json',
    userName: 'ada',
    testRhythm: {},
    unknownNames: [],
    isReadable: false,
  });
  expect(parseConfig({}).credentialsPath).toBe(join(homedir(), '.config/runtide/credentials.json'));
});

// For each variable: what it takes, with what comes of it, and what it refuses. None is left out.
const accepted: Record<keyof typeof variables, [string, unknown][]> = {
  host: [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
  ],
  port: [
    ['0', 0],
    [' 65535 ', 65535],
  ],
  publicUrl: [
    ['https://runs.example.org/', 'https://runs.example.org'],
    ['http://10.0.0.7:4000', 'http://10.0.0.7:4000'],
  ],
  allowedOrigins: [
    ['https://a.example.org, http://b.example.org:8080,', ['https://a.example.org', 'http://b.example.org:8080']],
  ],
  trustProxy: [
    ['0', 0],
    ['2', 2],
    ['loopback, private,', ['loopback', 'private']],
    ['10.0.0.7, 172.16.0.0/12,2001:db8::/32', ['10.0.0.7', '172.16.0.0/12', '2001:db8::/32']],
  ],
  dataDir: [
    ['/srv/runtide', '/srv/runtide'],
    ['~/runs', '/home/ada/runs'],
    ['data', join(process.cwd(), 'data')],
  ],
  databaseUrl: [
    ['postgres://ada:pw@db:5432/runs?schema=lab', 'postgres://ada:pw@db:5432/runs?schema=lab'],
    ['postgresql://db/runs', 'postgresql://db/runs'],
  ],
  databasePoolSize: [
    ['2', 2],
    ['500', 500],
  ],
  tailLimitMb: [
    ['1', 1],
    ['1000000', 1_000_000],
  ],
  diskReserveMb: [
    ['0', 0],
    ['4096', 4096],
  ],
  redisUrl: [
    ['redis://cache:6379', 'redis://cache:6379'],
    ['rediss://:pw@cache', 'rediss://:pw@cache'],
  ],
  redisPrefix: [['lab:7', 'lab:7']],
  rateLimit: [
    ['0', 0],
    ['1000000000', 1_000_000_000],
  ],
  publicProjects: [
    ['true', true],
    ['TRUE', true],
    ['false', false],
  ],
  tokenSeconds: [
    ['60', 60],
    ['3600', 3_600],
  ],
  auditDays: [
    ['90', 90],
    ['36500', 36_500],
  ],
  registration: [
    ['open', { mode: 'open' }],
    ['invite', { mode: 'invite' }],
    ['closed', { mode: 'closed' }],
    // Takes RUNTIDE_SMTP_URL as well.
    ['domain:Example.org, lab.example.com', { mode: 'domain', domains: ['example.org', 'lab.example.com'] }],
  ],
  verifyEmail: [
    ['true', true],
    ['false', false],
  ],
  smtpUrl: [
    ['smtp://ada:pw@mail.example.org:587', 'smtp://ada:pw@mail.example.org:587'],
    ['smtps://mail.example.org', 'smtps://mail.example.org'],
  ],
  mailFrom: [
    ['runs@example.org', 'runs@example.org'],
    ['Runs of the lab <runs@example.org>', 'Runs of the lab <runs@example.org>'],
  ],
  authSecret: [['n8Xw_2pQ-rT5vZ1k-n8Xw_2pQ-rT5vZ1k', 'n8Xw_2pQ-rT5vZ1k-n8Xw_2pQ-rT5vZ1k']],
  sessionDays: [
    ['1', 1],
    ['365', 365],
  ],
  oidcIssuer: [
    ['https://id.example.org/realms/lab', 'https://id.example.org/realms/lab'],
    ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
    ['http://[::1]:8080', 'http://[::1]:8080'],
  ],
  oidcClientId: [['runtide', 'runtide']],
  oidcClientSecret: [['s', 's']],
  oidcName: [['Example Lab', 'Example Lab']],
  oidcScopes: [['openid email  groups', ['openid', 'email', 'groups']]],
  oidcGroupsClaim: [['https://example.org/groups', 'https://example.org/groups']],
  oidcRoles: [
    [
      'ml-team=vision:MEMBER, /ml/leads=vision:ADMIN,\n',
      [
        { group: 'ml-team', workspace: 'vision', role: 'MEMBER' },
        { group: '/ml/leads', workspace: 'vision', role: 'ADMIN' },
      ],
    ],
    ['cn=ml,ou=groups=vision:OWNER', [{ group: 'cn=ml,ou=groups', workspace: 'vision', role: 'OWNER' }]],
  ],
  googleClientId: [['1.apps.googleusercontent.com', '1.apps.googleusercontent.com']],
  googleClientSecret: [['GOCSPX-1', 'GOCSPX-1']],
  githubClientId: [['Iv1.1', 'Iv1.1']],
  githubClientSecret: [['0a', '0a']],
  metricsToken: [['n8Xw_2pQ-rT5vZ1k', 'n8Xw_2pQ-rT5vZ1k']],
  logLevel: [
    ['DEBUG', 'debug'],
    ['silent', 'silent'],
  ],
};
const refused: Record<keyof typeof variables, string[]> = {
  host: ['two words', 'http://localhost'],
  port: ['-1', '65536', '4000.5', '4e3', 'http'],
  publicUrl: [
    'runs.example.org',
    'ftp://runs.example.org',
    'https://runs.example.org/path',
    'https://ada@runs.example.org',
  ],
  allowedOrigins: [
    '*',
    'https://a.example.org, b.example.org',
    'https://a.example.org/page',
    'https://a.example.org/#x',
  ],
  trustProxy: [
    'true',
    '21',
    '-1',
    '10.0.0.0/0',
    '10.0.0.0/33',
    '10.0.0',
    'proxy.example.org',
    '::1/129',
    '10.0.0.1/8/8',
  ],
  dataDir: [],
  databaseUrl: ['mysql://db/runs', 'db:5432/runs'],
  databasePoolSize: ['1', '501'],
  tailLimitMb: ['0', '1GB'],
  diskReserveMb: ['-1', '1000001'],
  redisUrl: ['cache:6379', 'http://cache'],
  redisPrefix: ['a b', 'x'.repeat(65)],
  rateLimit: ['-1', '1000000001', '60/s'],
  publicProjects: ['yes', '1'],
  tokenSeconds: ['59', '3601', '1h'],
  auditDays: ['89', '36501', 'ever'],
  registration: ['anybody', 'domain:', 'domain:example', 'domain:a b.org', 'OPEN'],
  verifyEmail: ['yes', '1'],
  smtpUrl: ['mail.example.org:587', 'http://mail.example.org'],
  mailFrom: ['runs', 'runs@', 'a@b, c@d', 'Runs <runs@example.org', 'runs@example.org>', 'Runs\nBcc: x <a@b.org>'],
  authSecret: ['short', 'change-me-change-me-change-me-change-me'],
  sessionDays: ['0', '366'],
  oidcIssuer: [
    'id.example.org',
    'http://id.example.org',
    'http://127.0.0.1.example.org',
    'https://ada@id.example.org',
    'https://id.example.org/?realm=lab',
  ],
  oidcClientId: ['two words'],
  oidcClientSecret: ['two words'],
  oidcName: ['x'.repeat(65), 'a\u0007b'],
  oidcScopes: ['email profile', 'openid "email"'],
  oidcGroupsClaim: ['two words'],
  oidcRoles: [
    'ml-team',
    'ml-team=vision',
    'ml-team=vision:KING',
    'ml-team=vision:KING,a=v:ADMIN',
    '=vision:ADMIN',
    'a=v:ADMIN,a=v:VIEWER',
    'a=V:ADMIN',
  ],
  googleClientId: ['two words'],
  googleClientSecret: ['two words'],
  githubClientId: ['two words'],
  githubClientSecret: ['two words'],
  metricsToken: [
    'short',
    'a'.repeat(40),
    'abababababababab',
    'changeme-changeme',
    'your-secret-key-here',
    'ThisIsMyPassword1',
  ],
  logLevel: ['loud'],
};

/** What is worth nothing alone, with what it needs. */
function whole(key: keyof typeof variables, environment: Record<string, string>): Record<string, string> {
  const about = /^(?:oidc|google|github)/.exec(key)?.[0].toUpperCase();
  const mail: Record<string, string> = key === 'smtpUrl' ? {} : { RUNTIDE_SMTP_URL: 'smtp://mail.example.org' };
  if (about === undefined) return { ...mail, ...environment };
  const client = { [`RUNTIDE_${about}_CLIENT_ID`]: 'id', [`RUNTIDE_${about}_CLIENT_SECRET`]: 'secret' };
  return {
    ...mail,
    ...client,
    ...(about === 'OIDC' ? { RUNTIDE_OIDC_ISSUER: 'https://id.example.org' } : {}),
    ...environment,
  };
}

test.for(Object.keys(variables) as (keyof typeof variables)[])('%s takes what it should, and nothing else', (key) => {
  const { name, description } = variables[key];
  expect(description.length).toBeGreaterThan(20);
  for (const [text, value] of accepted[key])
    expect(parseConfig(whole(key, { HOME: '/home/ada', [name]: text }))[key]).toEqual(value);
  for (const text of refused[key]) {
    const says = expect.stringMatching(new RegExp(`^${name}: (expected|this looks like an example)`));
    expect({ text, problems: problemsOf(whole(key, { [name]: text })) }).toEqual({ text, problems: [says] });
  }
  // Empty, as `NAME=` in a file, is not set.
  expect(parseConfig({ [name]: ' ' })[key]).toEqual(parseConfig({})[key]);
});

test('a provider is told of whole, or not at all', () => {
  expect(problemsOf({ RUNTIDE_OIDC_ISSUER: 'https://id.example.org' })).toEqual([
    'RUNTIDE_OIDC_CLIENT_ID: needed because RUNTIDE_OIDC_ISSUER is set',
  ]);
  expect(problemsOf({ RUNTIDE_OIDC_ROLES: 'a=v:ADMIN', RUNTIDE_OIDC_NAME: 'Lab' })).toEqual([
    'RUNTIDE_OIDC_ISSUER: needed because RUNTIDE_OIDC_NAME is set',
  ]);
  expect(problemsOf({ RUNTIDE_GOOGLE_CLIENT_ID: 'id', RUNTIDE_GITHUB_CLIENT_SECRET: 'hunter2' })).toEqual([
    'RUNTIDE_GOOGLE_CLIENT_SECRET: needed because RUNTIDE_GOOGLE_CLIENT_ID is set',
    'RUNTIDE_GITHUB_CLIENT_ID: needed because RUNTIDE_GITHUB_CLIENT_SECRET is set',
  ]);
  const { providers } = parseConfig({
    RUNTIDE_OIDC_ISSUER: 'https://id.example.org',
    RUNTIDE_OIDC_CLIENT_ID: 'runtide',
    RUNTIDE_GITHUB_CLIENT_ID: 'id',
    RUNTIDE_GITHUB_CLIENT_SECRET: 'secret',
  });
  expect(providers).toEqual({
    oidc: {
      issuer: 'https://id.example.org',
      clientId: 'runtide',
      clientSecret: undefined,
      name: 'single sign-on',
      scopes: ['openid', 'email', 'profile'],
      groupsClaim: 'groups',
      roles: [],
    },
    google: null,
    github: { clientId: 'id', clientSecret: 'secret' },
  });
});

test('all that is wrong is said at once, without secrets', () => {
  const problems = problemsOf({
    RUNTIDE_PORT: '70000',
    RUNTIDE_LOG_LEVEL: 'loud',
    RUNTIDE_HOST: '0.0.0.0',
    RUNTIDE_METRICS_TOKEN: 'hunter2',
    RUNTIDE_SMTP_URL: 'mail://ada:hunter2@mail.example.org',
    DATABASE_URL: 'mysql://ada:hunter2@db/runs',
  });
  expect(problems).toEqual([
    'RUNTIDE_PORT: expected an integer from 0 to 65535 (it is "70000")',
    'DATABASE_URL: expected postgres://… or postgresql://… (it is "…@db/runs")',
    'RUNTIDE_SMTP_URL: expected smtp://… or smtps://…',
    'RUNTIDE_METRICS_TOKEN: expected at least 16 characters',
    'RUNTIDE_LOG_LEVEL: expected one of debug, info, warn, error, silent (it is "loud")',
    'RUNTIDE_PUBLIC_URL: needed because RUNTIDE_HOST is 0.0.0.0: the address by which people reach the server, such as https://runs.example.org',
  ]);
  expect(problems.join()).not.toContain('hunter2');
});

test('whoever listens beyond this machine must say by which address', () => {
  for (const host of ['0.0.0.0', '::', '192.168.1.7', 'gpu-box']) {
    expect(problemsOf({ RUNTIDE_HOST: host })).toEqual([expect.stringMatching(/^RUNTIDE_PUBLIC_URL: needed because/)]);
    const config = parseConfig({ RUNTIDE_HOST: host, RUNTIDE_PUBLIC_URL: 'https://runs.example.org' });
    expect(config).toMatchObject({ loopback: false, publicUrl: 'https://runs.example.org' });
    // One mistake is told once.
    expect(problemsOf({ RUNTIDE_HOST: host, RUNTIDE_PUBLIC_URL: 'runs' })).toHaveLength(1);
  }
  for (const host of ['localhost', '127.0.0.1', '127.8.8.8', '::1'])
    expect(parseConfig({ RUNTIDE_HOST: host }).loopback).toBe(true);
});

test('who may register is whoever reaches a server of this machine alone, and else whoever is invited', () => {
  const modeOf = (environment: Record<string, string>) => parseConfig(environment).registration.mode;
  const lan = { RUNTIDE_HOST: '192.168.1.7', RUNTIDE_PUBLIC_URL: 'http://192.168.1.7:4000' };
  expect(modeOf({})).toBe('open');
  for (const here of ['http://localhost:4001', 'http://127.0.0.1', 'http://[::1]:4001'])
    expect(modeOf({ RUNTIDE_PUBLIC_URL: here })).toBe('open');
  expect(modeOf(lan)).toBe('invite');
  // Behind a proxy that runs beside it.
  expect(modeOf({ RUNTIDE_PUBLIC_URL: 'https://runs.example.org' })).toBe('invite');
  expect(modeOf({ ...lan, RUNTIDE_REGISTRATION: 'open' })).toBe('open');
});

test('verifying addresses takes somebody who sends mail', () => {
  for (const [name, value, why] of [
    ['RUNTIDE_VERIFY_EMAIL', 'true', 'RUNTIDE_VERIFY_EMAIL is true'],
    ['RUNTIDE_REGISTRATION', 'domain:example.org', 'RUNTIDE_REGISTRATION names domains'],
  ] as const) {
    expect(problemsOf({ [name]: value })).toEqual([expect.stringContaining(`RUNTIDE_SMTP_URL: needed because ${why}`)]);
    expect(problemsOf({ [name]: value, RUNTIDE_SMTP_URL: 'smtp://mail.example.org' })).toEqual([]);
    // One mistake is told once.
    expect(problemsOf({ [name]: value, RUNTIDE_SMTP_URL: 'mail' })).toHaveLength(1);
  }
});

test('a value can stand in a file, and another tracker’s name for it is read where ours is not set', async () => {
  const folder = await makeFolder();
  const path = join(folder, 'database-url');
  await writeFile(path, 'postgres://ada:pw@db/runs\n');
  expect(parseConfig({ DATABASE_URL_FILE: path }).databaseUrl).toBe('postgres://ada:pw@db/runs');
  expect(parseConfig({ DATABASE_URL_FILE: path, DATABASE_URL: 'postgres://db/other' }).databaseUrl).toBe(
    'postgres://db/other',
  );
  expect(problemsOf({ DATABASE_URL_FILE: join(folder, 'absent') })).toEqual([
    expect.stringMatching(/^DATABASE_URL_FILE: ENOENT/),
  ]);
  await writeFile(path, 'mysql://ada:hunter2@db/runs\n');
  expect(problemsOf({ DATABASE_URL_FILE: path })).toEqual([
    'DATABASE_URL_FILE: expected postgres://… or postgresql://… (it is "…@db/runs")',
  ]);

  const table = { port: { ...variables.port, name: 'OURS', aliases: ['THEIRS', 'OLDER'] } };
  const read = (environment: Record<string, string>) => readVariables(table, environment);
  expect(read({ THEIRS: '1', OLDER: '2' }).values).toEqual({ port: 1 });
  expect(read({ OURS: '3', THEIRS: '1' }).values).toEqual({ port: 3 });
  expect(read({ OURS: '', OLDER: '2' }).values).toEqual({ port: 2 });
  expect(read({ OLDER: 'x' }).problems).toEqual([expect.stringMatching(/^OLDER: expected an integer/)]);
});

test('a secret that nobody set is made once, for its owner alone', async () => {
  const folder = join(await makeFolder(), 'data');
  const made = generatedSecret(folder, 'metrics-token');
  expect(made).toMatch(/^[\w-]{43}$/);
  expect(generatedSecret(folder, 'metrics-token')).toBe(made);
  expect(generatedSecret(folder, 'another')).not.toBe(made);
  const path = join(folder, 'secrets', 'metrics-token');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(join(folder, 'secrets'))).mode & 0o777).toBe(0o700);
  expect(problemsOf({ RUNTIDE_METRICS_TOKEN: made })).toEqual([]);
  // Cut short by a power cut, it would open the door to an empty token.
  await writeFile(path, '');
  const again = generatedSecret(folder, 'metrics-token');
  expect(again).toMatch(/^[\w-]{43}$/);
  expect((await readFile(path, 'utf8')).trim()).toBe(again);
});

test('a wrong configuration ends the start with exit code 2 and the whole list, before anything is touched', async () => {
  const home = await makeFolder();
  const env = { RUNTIDE_PORT: 'http', RUNTIDE_HOST: '0.0.0.0' };
  const { code, stdout, stderr } = await runCommand([], { home, env });
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toBe(`
Runtide could not go on: the configuration is wrong:
  RUNTIDE_PORT: expected an integer from 0 to 65535 (it is "http")
  RUNTIDE_PUBLIC_URL: needed because RUNTIDE_HOST is 0.0.0.0: the address by which people reach the server, such as https://runs.example.org
`);
  await expect(stat(join(home, 'data'))).rejects.toThrow('ENOENT');
});

test('.env of the folder is read, and the real environment wins', async () => {
  const home = await makeFolder();
  await writeFile(join(home, '.env'), '# ours\nRUNTIDE_LOG_LEVEL=loud\nRUNTIDE_SESSION_DAYS="0"\nRUNTIDE_PORT=-1\n');
  const { code, stderr } = await runCommand(['migrate'], { home, env: { RUNTIDE_SESSION_DAYS: '7' } });
  expect(code).toBe(2);
  // The port is set by the tests' environment.
  expect(stderr.match(/RUNTIDE_\w+: expected/g)).toEqual(['RUNTIDE_LOG_LEVEL: expected']);

  await writeFile(join(home, '.env'), 'RUNTIDE_PUBLIC_URL=http://from.env.example:8080\nRUNTIDE_DATA_DIR=elsewhere\n');
  const server = await startServerProcess({ home });
  try {
    expect(server.output()).toContain('http://from.env.example:8080/app/');
    expect(server.output()).toContain(join(home, 'data'));
  } finally {
    await server.end();
  }
  await rm(join(home, '.env'));
  await mkdir(join(home, '.env'));
  const unreadable = await runCommand(['migrate'], { home });
  expect(unreadable).toMatchObject({ code: 2, stderr: expect.stringMatching(/ {2}\.env: it cannot be read: /) });
});

test('a misspelt variable is noticed; those of the clients and the tests are not', () => {
  const environment = { RUNTIDE_PROT: '1', RUNTIDE_API_KEY: 'x', RUNTIDE_TEST_SEED: '1', RUNTIDE_PORT_FILE: '' };
  expect(parseConfig(environment).unknownNames).toEqual(['RUNTIDE_PROT']);
});

test.each([
  ['http://runs.example.org', true],
  ['http://10.0.0.7:4000', true],
  ['https://runs.example.org', false],
  ['http://localhost:4000', false],
  ['http://127.0.0.1:4000', false],
  ['http://[::1]:4000', false],
  [undefined, false],
])('that what goes to %s can be read on its way is said at the start: %s', (publicUrl, isReadable) => {
  expect(parseConfig({ RUNTIDE_PUBLIC_URL: publicUrl })).toMatchObject({ isReadable });
});
