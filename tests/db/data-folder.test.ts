import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lockDataFolder, readServerInfo } from '../../src/db/data-folder.ts';

const url = 'http://localhost:4000';
const children: ChildProcess[] = [];
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'runtide-lock-'));
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(root, { recursive: true, force: true });
});

/** A process that will try to lock the folder when told. */
async function contender(folder: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'take-lock.ts'), folder, url], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('ready');
  return {
    pid: child.pid ?? 0,
    go: () => child.stdin.write('go\n'),
    outcome: async () => String((await lines.next()).value),
    kill: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

it('lets one server have a folder, says who has it, and lets the next one have it after the release', async () => {
  const folder = join(root, 'deep', 'one');
  expect(await readServerInfo(folder)).toBeNull();
  const lock = await lockDataFolder(folder, { url });
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect((await stat(join(folder, 'server.json'))).mode & 0o777).toBe(0o600);
  await expect(lockDataFolder(folder, { url: 'http://localhost:5000' })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: `another Runtide server (pid ${process.pid}, ${url}) uses this data folder: stop it, or set RUNTIDE_DATA_DIR to another folder`,
  });
  expect(await readServerInfo(folder)).toEqual({ pid: process.pid, url });

  await lock.update({ url: 'http://localhost:4321' });
  expect(await readServerInfo(folder)).toEqual({ pid: process.pid, url: 'http://localhost:4321' });

  await lock.release();
  expect(await readServerInfo(folder)).toBeNull();
  const next = await lockDataFolder(folder, { url });
  await lock.release(); // the lock of someone else by now
  expect(await readServerInfo(folder)).toEqual({ pid: process.pid, url });
  await next.release();
  expect(await readdir(folder)).toEqual([]);
});

it('refuses a folder held by another process, and takes it over once that was killed', async () => {
  const folder = join(root, 'killed');
  const holder = await contender(folder);
  holder.go();
  expect(await holder.outcome()).toBe('won');
  await expect(lockDataFolder(folder, { url })).rejects.toThrow(`(pid ${holder.pid}, ${url})`);
  expect(await readServerInfo(folder)).toEqual({ pid: holder.pid, url });

  await holder.kill();
  expect(await readServerInfo(folder)).toBeNull();
  const lock = await lockDataFolder(folder, { url });
  expect(await readServerInfo(folder)).toEqual({ pid: process.pid, url });
  await lock.release();
});

it('is not fooled by a pid that is used again, by a reboot, or by a file cut short', async () => {
  const folder = join(root, 'stale');
  const path = join(folder, 'server.json');
  const lock = await lockDataFolder(folder, { url });
  const mine: unknown = JSON.parse(await readFile(path, 'utf8'));
  expect(mine).toMatchObject({ pid: process.pid, started: expect.stringMatching(/./) });
  await lock.release();

  const others = [
    JSON.stringify({ ...Object(mine), started: 'another boot:12345' }),
    JSON.stringify({ ...Object(mine), pid: 2 ** 30 }),
    '',
    '{"pid": 1',
    '[]',
    'null',
  ];
  for (const content of others) {
    await writeFile(path, content);
    expect(await readServerInfo(folder)).toBeNull();
    await (await lockDataFolder(folder, { url })).release();
  }
  expect(await readdir(folder)).toEqual([]);
});

it('has exactly one winner when many start at once on the same stale lock', async () => {
  const folder = join(root, 'race');
  const stale = join(folder, 'server.json');
  await (await lockDataFolder(folder, { url })).release();
  for (let round = 0; round < 40; round++) {
    if (round % 4 > 0) await writeFile(stale, `what a power cut left, ${round % 4 === 1 ? '' : round}`);
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockDataFolder(folder, { url })));
    const winners = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    expect(winners).toHaveLength(1);
    const reasons = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason as unknown);
    expect(reasons).toEqual(Array.from({ length: 7 }, () => expect.objectContaining({ code: 'CONFLICT' })));
    await winners[0]?.value.release();
  }
  expect(await readdir(folder)).toEqual([]);

  const processes = await Promise.all(Array.from({ length: 4 }, () => contender(folder)));
  await writeFile(stale, 'what a power cut left');
  for (const { go } of processes) go();
  const said = await Promise.all(processes.map(({ outcome }) => outcome()));
  const winner = processes[said.indexOf('won')];
  expect(said.filter((line) => line === 'won')).toHaveLength(1);
  expect(said.filter((line) => line.startsWith(`another Runtide server (pid ${winner?.pid},`))).toHaveLength(3);
});

it('goes on where a process was killed in the middle of taking over a stale lock', async () => {
  const folder = join(root, 'twice');
  await (await lockDataFolder(folder, { url })).release();
  await writeFile(join(folder, 'server.json'), 'stale');
  // The name under which the content "stale" is replaced, held by nobody who lives.
  await writeFile(join(folder, 'server.json.a03f2386ae06b211'), 'stale too');
  const lock = await lockDataFolder(folder, { url });
  expect(await readdir(folder)).toEqual(['server.json']);
  await lock.release();
});

it('says what is wrong with a folder that cannot be made', async () => {
  await writeFile(join(root, 'file'), '');
  await expect(lockDataFolder(join(root, 'file', 'inside'), { url })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: `cannot use the data folder ${join(root, 'file', 'inside')}: a part of the path is not a folder (RUNTIDE_DATA_DIR sets another folder)`,
  });
  await expect(lockDataFolder(join(root, 'file'), { url })).rejects.toThrow('it is not a folder');
});
