import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Stats, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { boundLog, logPath, readEmbeddedConnection } from '../../src/db/cluster.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { findPostgres } from '../../src/db/postgres-program.ts';
import { endPostmaster, startOnFreePort } from '../../src/db/postmaster.ts';
import { run, runsIn } from '../../src/db/process.ts';

const log = pino({ level: 'silent' });
const asRoot = process.geteuid?.() === 0;
const children: ChildProcess[] = [];
const started: EmbeddedPostgres[] = [];
let root: string;
/** The data folder that most stories share, each leaving it stopped and sound. */
let dataDir: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'runtide-postgres-')); // 0700: as root, out of reach for everybody else
  dataDir = join(root, '.runtide', 'postgres');
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((db) => db.stop())); // a story that failed must not disturb the next one
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(root, { recursive: true, force: true });
});

async function start(folder = dataDir, say: (line: string) => void = () => {}): Promise<EmbeddedPostgres> {
  const db = await startEmbeddedPostgres({ dataDir: folder, log, say });
  started.push(db);
  return db;
}

async function query(connectionString: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 2_000 });
  client.on('error', () => {}); // a killed server ends the connection between two statements
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

async function eventually<T>(what: string, timeoutMs: number, attempt: () => Promise<T>): Promise<T> {
  for (const deadline = Date.now() + timeoutMs; ; await sleep(20)) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: error });
    }
  }
}

/** Every process of PostgreSQL that works in this folder. */
async function processesIn(folder: string): Promise<number[]> {
  const pids = execFileSync('ps', ['-A', '-o', 'pid='], { encoding: 'utf8' }).trim().split(/\s+/).map(Number);
  const inside = await Promise.all(pids.map((pid) => runsIn(pid, 'postgres', folder)));
  return pids.filter((_, index) => inside[index]);
}

/** A server process of its own, to be killed. */
function serverProcess(folder: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'start-postgres.ts'), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    running: async (): Promise<{ pid: number; connectionString: string }> =>
      JSON.parse(String((await lines.next()).value)),
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

function owner(path: string): Promise<Stats> {
  return stat(path);
}

it('makes a durable database that only its own role can enter, and leaves no process when it stops', async () => {
  const said: string[] = [];
  const db = await start(dataDir, (line) => said.push(line));
  expect(said).toEqual(['Making the database…']);
  const [row] = await query(
    db.connectionString,
    `SELECT current_user AS me, rolsuper, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,
       datlocale, current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS sync,
       current_setting('data_checksums') AS checksums, current_setting('listen_addresses') AS addresses
     FROM pg_database, pg_roles WHERE datname = 'runtide' AND rolname = current_user`,
  );
  expect(row).toEqual({
    me: 'runtide',
    rolsuper: false,
    owner: 'runtide',
    encoding: 'UTF8',
    datlocale: 'C.UTF-8',
    fsync: 'on',
    sync: 'on',
    checksums: 'on',
    addresses: '127.0.0.1',
  });
  await query(db.connectionString, 'CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)');

  const { password, port } = new URL(db.connectionString);
  expect(Buffer.from(password, 'base64url')).toHaveLength(32);
  const wrong = `postgres://runtide:${password.slice(1)}@127.0.0.1:${port}/runtide`;
  await expect(query(wrong, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  const superuser = `postgres://postgres:${password}@127.0.0.1:${port}/runtide`;
  await expect(query(superuser, 'SELECT 1')).rejects.toMatchObject({ code: '28000' });
  expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
  expect((await stat(join(dataDir, 'runtide.json'))).mode & 0o777).toBe(0o600);
  expect(await readFile(logPath(dataDir), 'utf8')).not.toContain(password);

  expect(await processesIn(dataDir)).toContain(db.pid());
  expect(await readEmbeddedConnection(dataDir)).toBe(db.connectionString);
  await Promise.all([db.stop(), db.stop()]);
  expect(await processesIn(dataDir)).toEqual([]);
  expect(await readEmbeddedConnection(dataDir)).toBeNull();
  expect(await readdir(dirname(dataDir))).toEqual(['postgres', 'postgres.log']);

  const again = await start(dataDir, (line) => said.push(line));
  expect(said).toHaveLength(1);
  expect(await query(again.connectionString, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
  await again.stop();
});

it.skipIf(!asRoot)('runs for root, as another user, below a folder that this user cannot enter', async () => {
  expect(await owner(root)).toMatchObject({ uid: 0, mode: 0o40700 });
  const db = await start();
  const { uid } = await owner(`/proc/${db.pid()}`);
  expect(uid).not.toBe(0);
  expect((await owner(dataDir)).uid).toBe(uid);
  const looked = await run('/bin/ls', [dataDir], { cwd: '/', account: { uid, gid: (await owner(dataDir)).gid } });
  expect(looked).toMatchObject({ code: expect.not.stringMatching(/^0$/), output: expect.stringMatching(/denied/) });
  expect(await query(db.connectionString, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await db.stop();
});

it.skipIf(!asRoot)(
  'copies programs that the other user cannot reach to where it can, whole and only once',
  async () => {
    const hidden = await mkdtemp(join(root, 'hidden-'));
    const native = join(hidden, 'package', 'native');
    await mkdir(join(native, 'bin'), { recursive: true });
    await mkdir(join(native, 'lib', 'deep'), { recursive: true });
    await writeFile(join(hidden, 'package', 'package.json'), '{"version": "18.4.0"}');
    // Runs only where its library can be read, through the link that the package's install script would have made.
    await writeFile(join(native, 'bin', 'postgres'), '#!/bin/sh\nexec cat "${0%/*}/../lib/libpq.so"\n');
    await writeFile(join(native, 'bin', 'initdb'), '#!/bin/sh\n');
    await writeFile(join(native, 'lib', 'deep', 'libpq.so.5'), 'the library', { mode: 0o600 });
    await symlink('deep/libpq.so.5', join(native, 'lib', 'libpq.so.5'));
    const link = { source: 'native/lib/libpq.so.5', target: 'native/lib/libpq.so' };
    await writeFile(join(native, 'pg-symlinks.json'), JSON.stringify([link]));
    // Neither of the first two places will do: one cannot be made, in the other anybody can replace what we make.
    const open = await mkdtemp(join(tmpdir(), 'runtide-open-'));
    const place = await mkdtemp(join(tmpdir(), 'runtide-place-'));
    try {
      await chmod(open, 0o777);
      await chmod(place, 0o755);
      const places = [join(native, 'bin', 'initdb', 'place'), open, join(place, 'made')];
      const [found, ...same] = await Promise.all([1, 2, 3].map(() => findPostgres(dataDir, native, places)));
      const { postgres, initdb, account } = found ?? (await findPostgres(dataDir));
      expect(dirname(dirname(dirname(postgres)))).toBe(join(place, 'made'));
      expect(same).toEqual([found, found]);
      expect(await run(postgres, [], { cwd: '/', account })).toEqual({ code: 0, output: 'the library' });

      await truncate(initdb, 2); // as a power cut after the copy does
      expect(await findPostgres(dataDir, native, places)).toEqual(found);
      expect(await readFile(initdb, 'utf8')).toBe('#!/bin/sh\n');
      expect(await readdir(join(place, 'made'))).toHaveLength(1);

      expect(await readdir(open)).toEqual([]);
      await expect(findPostgres(dataDir, native, [open])).rejects.toThrow('set DATABASE_URL to a PostgreSQL server');
    } finally {
      await rm(place, { recursive: true, force: true });
      await rm(open, { recursive: true, force: true });
    }
  },
);

it('stops what a killed server left running and keeps every row that was committed', async () => {
  const server = serverProcess(dataDir);
  const { pid, connectionString } = await server.running();
  await query(connectionString, 'CREATE TABLE committed AS SELECT generate_series(1, 1000) AS n');
  await server.kill();
  expect(await processesIn(dataDir)).toContain(pid);
  expect(await readEmbeddedConnection(dataDir)).toBe(connectionString);

  const said: string[] = [];
  const db = await start(dataDir, (line) => said.push(line));
  expect(said).toEqual(['stopping the database that a killed server left running…']);
  expect(db.pid()).not.toBe(pid);
  expect(await query(db.connectionString, 'SELECT count(*)::int AS n FROM committed')).toEqual([{ n: 1000 }]);
  await db.stop();
  expect(await processesIn(dataDir)).toEqual([]);
});

it('brings a killed PostgreSQL back at the same address, and can be stopped in the middle of that', async () => {
  const db = await start();
  await query(db.connectionString, 'CREATE TABLE survivors (n int)');
  for (const round of [1, 2]) {
    await query(db.connectionString, `INSERT INTO survivors VALUES (${round})`);
    const killed = db.pid();
    process.kill(killed, 'SIGKILL');
    await eventually('a connection to the new one', 5_000, async () => {
      expect(db.pid()).not.toBe(killed);
      expect(await query(db.connectionString, 'SELECT count(*)::int AS n FROM survivors')).toEqual([{ n: round }]);
    });
  }
  process.kill(db.pid(), 'SIGKILL');
  await db.stop();
  await eventually('the end of all its processes', 5_000, async () => {
    expect(await processesIn(dataDir)).toEqual([]);
  });

  // Backends of a killed postmaster may still be on their way out: the next start waits for them.
  const next = await start();
  await next.stop();
});

it('recognises a postmaster.pid whose pid is another program, a dead one, or nothing', async () => {
  const pidFile = join(dataDir, 'postmaster.pid');
  const { uid, gid } = await stat(dataDir);
  // Of the same user, so that PostgreSQL itself would take it for a server on this folder and refuse to start.
  const stranger = spawn('/bin/sleep', ['600'], { cwd: '/', ...(asRoot ? { uid, gid } : {}) });
  children.push(stranger);
  const first = await start();
  const text = await readFile(pidFile, 'utf8');
  await first.stop();
  for (const left of [text.replace(/^\d+/, String(stranger.pid)), text, '', 'x']) {
    await writeFile(pidFile, left);
    expect(await readEmbeddedConnection(dataDir)).toBeNull();
    const db = await start();
    expect(await query(db.connectionString, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await db.stop();
    expect(existsSync(pidFile)).toBe(false);
  }
  expect(stranger.exitCode).toBeNull();
  expect(stranger.signalCode).toBeNull();
});

it('starts anew where a start was killed while it made the database', async () => {
  const folder = join(root, 'interrupted', 'postgres');
  const unfinished = async () =>
    (await readdir(dirname(folder)).catch(() => [])).find((name) => name.startsWith('postgres.new-'));
  const server = serverProcess(folder);
  await eventually('initdb at work', 10_000, async () => {
    expect(existsSync(join(dirname(folder), (await unfinished()) ?? 'none', 'PG_VERSION'))).toBe(true);
  });
  await server.kill();
  expect(existsSync(folder)).toBe(false);

  const db = await start(folder);
  expect(await query(db.connectionString, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  expect(await unfinished()).toBeUndefined();
  await db.stop();
});

it('takes another port when the one it chose is taken meanwhile, and a new password when the file is lost', async () => {
  const occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  const address = occupant.address();
  const taken = typeof address === 'object' && address !== null ? address.port : 0;
  const launch = {
    program: await findPostgres(dataDir),
    dataDir,
    port: 0,
    settings: {},
    say: () => {},
    stopping: new AbortController().signal,
  };
  const offered = [taken, taken];
  const postmaster = await startOnFreePort(launch, async () => offered.shift() ?? taken + 1);
  expect(offered).toEqual([]);
  expect(await processesIn(dataDir)).toContain(postmaster.pid);
  await endPostmaster(postmaster);
  occupant.close();

  await rm(join(dataDir, 'runtide.json'));
  const db = await start();
  expect(await query(db.connectionString, 'SELECT n FROM kept')).toEqual([{ n: 1 }]);
  await db.stop();
});

it('says what is wrong with a folder it cannot use', async () => {
  const old = join(root, 'old');
  await mkdir(old);
  await writeFile(join(old, 'PG_VERSION'), '17\n');
  await expect(start(old)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining('was made by PostgreSQL 17, this Runtide has PostgreSQL 18'),
  });

  const foreign = join(root, 'foreign');
  await mkdir(foreign);
  await writeFile(join(foreign, 'thesis.tex'), '');
  await expect(start(foreign)).rejects.toThrow(`${foreign} holds files but no PostgreSQL database`);
  expect(await readdir(foreign)).toEqual(['thesis.tex']);

  const file = join(root, 'file');
  await writeFile(file, '');
  await expect(start(join(file, 'postgres'))).rejects.toThrow('a part of the path is not a folder');

  const settings = { shared_buffers: 'much' };
  await expect(startEmbeddedPostgres({ dataDir, log, settings })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(/did not start: exit code 1 .*invalid value for parameter "shared_buffers"/),
  });
});

it('keeps its log to two files of a bounded size, which go on while it runs', async () => {
  const db = await start();
  const path = logPath(dataDir);
  const before = await readFile(path, 'utf8');
  await boundLog(dataDir, before.length + 10_000);
  expect(await readFile(path, 'utf8')).toBe(before);
  await boundLog(dataDir, 10);
  expect(await readFile(`${path}.1`, 'utf8')).toBe(before);
  await expect(query(db.connectionString, 'SELECT 1 FROM nowhere')).rejects.toThrow('nowhere');
  await eventually('the error in the log', 5_000, async () => {
    expect(await readFile(path, 'utf8')).toMatch(/^\d{4}-.*ERROR: {2}relation "nowhere" does not exist/);
  });
  await db.stop();
  expect((await readdir(dirname(dataDir))).toSorted()).toEqual(
    ['', '.log', '.log.1'].map((end) => `${basename(dataDir)}${end}`),
  );
});
