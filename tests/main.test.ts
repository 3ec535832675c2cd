// The program as a person meets it: the first start and the ones after it, and the commands beside a server and alone.
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readMigrations } from '../src/db/migrate.ts';
import { must } from './support/client.ts';
import { runCommand } from './support/command.ts';
import { createDatabase } from './support/database.ts';
import { makeHome, removeHome, type ServerProcess, startServerProcess } from './support/server-process.ts';

const WHO = '{ viewer { name workspaces { slug viewerRole } } }';
const names = readMigrations().map(({ name }) => name);

async function newHome(): Promise<string> {
  const home = await makeHome();
  onTestFinished(() => removeHome(home));
  return home;
}

async function start(home: string, env: Record<string, string> = {}): Promise<ServerProcess> {
  const server = await startServerProcess({ home, env });
  onTestFinished(async () => {
    await server.end();
  });
  return server;
}

/** The link in what a server or a command printed, and the token in it. */
function linkIn(output: string): { link: string; token: string } {
  const found = /(http:\S+\/app\/sign-in)#(\S+)/.exec(output);
  if (!found) throw new Error(`no link in:\n${output}`);
  return { link: found[1] as string, token: found[2] as string };
}

async function signIn(url: string, token: string): Promise<{ status: number; cookie: string }> {
  const response = await fetch(`${url}/api/auth/sign-in-link`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  return { status: response.status, cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '' };
}

/** What the API says to a browser with that cookie. */
async function viewerWith(url: string, cookie: string): Promise<unknown> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', cookie },
    body: JSON.stringify({ query: WHO }),
  });
  return ((await response.json()) as { data: { viewer: unknown } }).data.viewer;
}

test('the first start makes a key that programs find, and a link that signs in once', async () => {
  const home = await newHome();
  const path = join(home, '.config/runtide/credentials.json');
  const kept = { 'https://runs.example.org': { apiKey: 'of another server', note: 'kept' }, odd: 7 };
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(kept));
  await chmod(path, 0o644);
  const first = await start(home, { USER: 'ada' });
  const written = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  expect(written).toEqual({ ...kept, [first.url]: { apiKey: first.apiKey } });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const owner = { name: 'ada', workspaces: [{ slug: 'personal', viewerRole: 'OWNER' }] };
  expect((await must(first.url, first.apiKey, WHO)).viewer).toEqual(owner);

  const { link, token } = linkIn(first.output());
  expect(link).toBe(`${first.url}/app/sign-in`);
  const signedIn = await signIn(first.url, token);
  expect(signedIn.status).toBe(200);
  expect(await viewerWith(first.url, signedIn.cookie)).toEqual(owner);
  expect(await signIn(first.url, token)).toEqual({ status: 401, cookie: '' });
  expect(await viewerWith(first.url, '')).toBeNull();

  // The next start, at the same address: the same key, the same session, and another link.
  expect(await first.end()).toBe(0);
  const second = await start(home, { RUNTIDE_PORT: new URL(first.url).port, USER: 'bob' });
  expect(second.url).toBe(first.url);
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(written);
  expect((await must(second.url, second.apiKey, WHO)).viewer).toEqual(owner);
  expect(await viewerWith(second.url, signedIn.cookie)).toEqual(owner);
  expect(linkIn(second.output()).token).not.toBe(token);

  // A key that this server does not know (its data folder is another one by now) is replaced.
  await writeFile(path, JSON.stringify({ [first.url]: { apiKey: 'of a data folder that is gone' } }));
  expect(await second.end()).toBe(0);
  const third = await start(home, { RUNTIDE_PORT: new URL(first.url).port });
  expect((await must(third.url, third.apiKey, WHO)).viewer).toEqual(owner);
});

test('credentials that cannot be read are left as they are, and the start says so and goes on', async () => {
  const home = await newHome();
  const path = join(home, '.config/runtide/credentials.json');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, '{"http://localhost:4000": {"apiKey": "cut o');
  const server = await start(home);
  expect(server.output()).toContain(`API key    not written: ${path} is not a JSON object: mend it, or move it away`);
  expect(await readFile(path, 'utf8')).toBe('{"http://localhost:4000": {"apiKey": "cut o');
  const { stdout } = await runCommand(['key'], { home });
  expect((await must(server.url, stdout.trim(), WHO)).viewer).not.toBeNull();
});

test('beside a server, commands use its database', async () => {
  const home = await newHome();
  const server = await start(home);
  const opened = await runCommand(['open'], { home });
  expect(opened).toMatchObject({ code: 0, stderr: '' });
  const { link, token } = linkIn(opened.stdout);
  expect(link).toBe(`${server.url}/app/sign-in`);
  expect((await signIn(server.url, token)).status).toBe(200);

  const key = await runCommand(['key'], { home });
  expect(key).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^rtk_\w+\n$/) });
  expect((await must(server.url, key.stdout.trim(), WHO)).viewer).not.toBeNull();

  expect(await runCommand(['migrate'], { home })).toEqual({
    code: 0,
    stdout: 'The database is up to date.\n',
    stderr: '',
  });
  const status = await runCommand(['migrate', '--status'], { home });
  expect(status).toEqual({ code: 0, stdout: names.map((name) => `applied  ${name}\n`).join(''), stderr: '' });
  // It serves on: a command stops nothing that it did not start.
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
});

test('without a server, commands start the database for as long as they need it', async () => {
  const home = await newHome();
  const pending = await runCommand(['migrate', '--status'], { home });
  expect(pending).toMatchObject({ code: 0, stdout: names.map((name) => `pending  ${name}\n`).join('') });
  const applied = await runCommand(['migrate'], { home });
  expect(applied).toMatchObject({ code: 0, stdout: names.map((name) => `applied  ${name}\n`).join('') });

  const opened = await runCommand(['open'], { home });
  expect(opened).toMatchObject({ code: 1, stdout: '' });
  expect(opened.stderr).toContain('no server runs on this data folder: start one with `npm start`');

  const key = await runCommand(['key'], { home });
  expect(key).toMatchObject({ code: 0, stdout: expect.stringMatching(/^rtk_\w+\n$/) });
  const server = await start(home);
  expect((await must(server.url, key.stdout.trim(), WHO)).viewer).not.toBeNull();
});

test('with DATABASE_URL, commands need no server and no data folder', async () => {
  const home = await newHome();
  const database = await createDatabase({ template: null });
  onTestFinished(() => database.drop());
  const env = { DATABASE_URL: `${database.url}?schema=lab`, RUNTIDE_PUBLIC_URL: 'http://runs.example.org' };
  expect(await runCommand(['migrate'], { home, env })).toMatchObject({ code: 0, stderr: '' });
  const opened = await runCommand(['open'], { home, env });
  expect(linkIn(opened.stdout).link).toBe('http://runs.example.org/app/sign-in');
  expect((await runCommand(['key'], { home, env })).stdout).toMatch(/^rtk_\w+\n$/);
  await expect(stat(join(home, 'data'))).rejects.toThrow('ENOENT');
});

test('a word that is no command changes nothing and lists what there is', async () => {
  const home = await newHome();
  for (const args of [['strat'], ['migrate', '--statsu'], ['toString'], ['open', 'now']]) {
    const outcome = await runCommand(args, { home });
    expect(outcome).toEqual({
      code: 2,
      stdout: '',
      stderr: `Runtide does not know ${args.at(-1)}. It knows:\n  serve\n  migrate [--status]\n  open\n  key\n  admin [COMMAND …]\n`,
    });
  }
  await expect(stat(join(home, 'data'))).rejects.toThrow('ENOENT');
});

test('programs on this machine find one key, by every address of the server', async () => {
  const home = await newHome();
  const path = join(home, '.config/runtide/credentials.json');
  const read = async () => JSON.parse(await readFile(path, 'utf8')) as Record<string, { apiKey: string }>;
  // Behind a proxy on the same machine: people have one address, programs here may use the other.
  const first = await startServerProcess({ home, env: { RUNTIDE_PUBLIC_URL: 'https://runs.example.org' } });
  expect(first.url).toBe('https://runs.example.org');
  const written = await read();
  const [local] = Object.keys(written).filter((url) => url.startsWith('http://localhost:'));
  expect(new Set(Object.keys(written))).toEqual(new Set([local, 'https://runs.example.org']));
  const key = written[local as string]!.apiKey;
  expect((await must(local as string, key, WHO)).viewer.name).toBeTruthy();
  await first.end();
  // Another port, as port 0 gives at every start: no key is made for it.
  const second = await start(home);
  expect(new Set(Object.values(await read()).map(({ apiKey }) => apiKey))).toEqual(new Set([key]));
  expect((await must(second.url, key, WHO)).viewer.name).toBeTruthy();
});
