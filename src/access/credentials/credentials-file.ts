// ~/.config/runtide/credentials.json, by which programs of the same user on this machine log without being configured:
// {"http://localhost:4000": {"apiKey": "…"}}, an entry a server. What other entries hold is left as it is.
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RuntideError } from '../../errors.ts';

type Credentials = Record<string, { apiKey?: unknown } | undefined>;

export async function readCredential(path: string, serverUrl: string): Promise<string | null> {
  return keyOf((await readFileOf(path))[serverUrl]);
}

/** The keys of all servers. */
export async function readCredentials(path: string): Promise<string[]> {
  const keys = Object.values(await readFileOf(path)).map(keyOf);
  return [...new Set(keys.filter((key) => key !== null))];
}

function keyOf(entry: { apiKey?: unknown } | undefined): string | null {
  return typeof entry?.apiKey === 'string' ? entry.apiKey : null;
}

export async function writeCredential(path: string, serverUrl: string, apiKey: string): Promise<void> {
  const credentials = await readFileOf(path);
  credentials[serverUrl] = { ...credentials[serverUrl], apiKey };
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Beside its place and then into it: a reader finds the old file or the new one.
  const temporary = `${path}.${process.pid}`;
  try {
    await writeFile(temporary, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
    await chmod(temporary, 0o600);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function readFileOf(path: string): Promise<Credentials> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Credentials;
  } catch {
    // Told below: it may hold keys of other servers, so that it is not written over.
  }
  throw new RuntideError('CONFLICT', `${path} is not a JSON object: mend it, or move it away`);
}
