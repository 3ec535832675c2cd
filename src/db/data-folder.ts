// The data folder and its lock: one server a folder. The lock is the file `server.json`, which also tells other
// programs of the same user (`npm run open`) where the server is. It is not a kernel lock: Node has none.
import { createHash, randomUUID } from 'node:crypto';
import { link, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntideError } from '../errors.ts';
import { errorCode, folderError, makeFolder, readOrNull } from './files.ts';
import { processStart } from './process.ts';

export interface ServerInfo {
  pid: number;
  url: string;
}

export interface DataFolderLock {
  /** Tells other programs another address, for a server that learns its port only when it listens. */
  update(info: { url: string }): Promise<void>;
  /** Idempotent. */
  release(): Promise<void>;
}

interface Holder extends ServerInfo {
  /** Of this lock alone, so that a stale one is never confused with the one that replaced it. */
  id: string;
  started: string;
}

/** Of several callers at once, also ones that see the same stale lock, exactly one gets it; the others CONFLICT. */
export async function lockDataFolder(dir: string, info: { url: string }): Promise<DataFolderLock> {
  const folder = resolve(dir);
  await makeFolder(folder);
  const path = join(folder, 'server.json');
  const me: Holder = {
    id: randomUUID(),
    pid: process.pid,
    started: (await processStart(process.pid)) ?? '',
    url: info.url,
  };
  const holder = await take(path, me).catch((error: unknown) => {
    throw folderError(folder, error);
  });
  if (holder !== null) {
    const advice = 'stop it, or set RUNTIDE_DATA_DIR to another folder';
    throw new RuntideError(
      'CONFLICT',
      `another Runtide server (pid ${holder.pid}, ${holder.url}) uses this data folder: ${advice}`,
    );
  }
  return {
    update: async ({ url }) => {
      await writeTemporary(path, { ...me, url }, (temporary) => rename(temporary, path));
    },
    release: async () => {
      if (parse(await readOrNull(path))?.id === me.id) await rm(path, { force: true });
    },
  };
}

/** The server that holds this folder now, or null. */
export async function readServerInfo(dir: string): Promise<ServerInfo | null> {
  const holder = await living(await readOrNull(join(dir, 'server.json')));
  return holder && { pid: holder.pid, url: holder.url };
}

/**
 * Takes the lock at this path, or returns who has it. The file appears whole (a link to a finished one). A stale lock
 * is replaced only by whoever holds the lock named after its content, and only while that content is still there:
 * taking the replaced one away by mistake is what a plain unlink would do. That second lock may be stale in its turn.
 */
async function take(path: string, me: Holder): Promise<Holder | null> {
  return await writeTemporary(path, me, async (temporary) => {
    for (;;) {
      if (await tryLink(temporary, path)) return null;
      const content = await readOrNull(path);
      if (content === null) continue;
      const holder = await living(content);
      if (holder !== null) return holder;
      const turn = `${path}.${createHash('sha256').update(content).digest('hex').slice(0, 16)}`;
      if ((await take(turn, { ...me, id: randomUUID() })) !== null) {
        await sleep(5); // another process is replacing it right now
        continue;
      }
      try {
        if ((await readOrNull(path)) === content) {
          await rename(temporary, path);
          return null;
        }
      } finally {
        await rm(turn, { force: true });
      }
    }
  });
}

async function writeTemporary<T>(path: string, holder: Holder, use: (temporary: string) => Promise<T>): Promise<T> {
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, `${JSON.stringify(holder)}\n`, { mode: 0o600, flag: 'wx' });
    return await use(temporary);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Null for what is not a lock of ours: a power cut can leave an empty file, which counts as stale. */
function parse(content: string | null): Holder | null {
  let value: unknown;
  try {
    value = JSON.parse(content ?? '');
  } catch {
    return null;
  }
  return isHolder(value) ? value : null;
}

function isHolder(value: unknown): value is Holder {
  if (typeof value !== 'object' || value === null) return false;
  const { id, pid, started, url } = value as Partial<Record<keyof Holder, unknown>>;
  const texts = typeof id === 'string' && typeof started === 'string' && typeof url === 'string';
  return texts && Number.isSafeInteger(pid);
}

async function living(content: string | null): Promise<Holder | null> {
  const holder = parse(content);
  return holder !== null && (await processStart(holder.pid)) === holder.started ? holder : null;
}
