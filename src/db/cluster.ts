// What embedded PostgreSQL keeps on disk: making the data folder, its password, its log, and its `postmaster.pid`, by
// which another process of the same user finds the running one. Starts nothing that stays.
import { randomBytes } from 'node:crypto';
import { copyFile, lchown, mkdtemp, readdir, rename, rm, stat, truncate } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RuntideError } from '../errors.ts';
import { errorCode, folderError, makeFolder, readOrNull, syncFolder, writeSynced } from './files.ts';
import type { PostgresProgram } from './postgres-program.ts';
import { type Account, run, runsIn } from './process.ts';

const LOG_LIMIT_BYTES = 8 * 1024 * 1024;
const PASSWORD_FILE = 'runtide.json';

// The superuser has no password and no line here, so nobody can connect as it: what needs it runs while the database
// is down, in single-user mode. CREATEDB is for the tests, which copy a template for each worker.
const PG_HBA = `# Written by Runtide: only its own role, only from this machine, only with the password.
host all runtide 127.0.0.1/32 scram-sha-256
`;

/**
 * The arguments that name the data folder. Run as another user than ours, it may lie below folders that this user
 * cannot enter (a clone in root's home): the process is put into it before it gives up being root, and reaches it
 * through its own working directory, which needs no way down to it.
 */
export function whereabouts(dataDir: string, account: Account | undefined): string[] {
  return ['-D', account === undefined ? dataDir : '/proc/self/cwd'];
}

/**
 * Makes the data folder when there is none, and returns the password of the role. A new one is made beside its place
 * and renamed into it when it is whole, so that a start killed in the middle leaves nothing that the next one trips over.
 * Only under the data folder's lock, with no PostgreSQL running on it.
 */
export async function openCluster(program: PostgresProgram, dataDir: string, onMake: () => void): Promise<string> {
  try {
    await makeFolder(dirname(dataDir));
    await removeUnfinished(dataDir);
    const version = await readOrNull(join(dataDir, 'PG_VERSION'));
    if (version === null) {
      await refuseForeign(dataDir);
      onMake();
      return await makeCluster(program, dataDir);
    }
    if (version.trim() !== program.major) {
      const advice = `start the Runtide that made it, dump the database with pg_dump and load it into a new data folder`;
      const message = `the database in ${dataDir} was made by PostgreSQL ${version.trim()}, this Runtide has PostgreSQL ${program.major}: ${advice}`;
      throw new RuntideError('CONFLICT', message);
    }
    if (program.account !== undefined) await handOver(dataDir, program.account);
    return (await readPassword(dataDir)) ?? (await setPassword(program, dataDir, 'ALTER ROLE'));
  } catch (error) {
    throw error instanceof RuntideError ? error : folderError(dirname(dataDir), error);
  }
}

/** The connection string of the PostgreSQL that runs on this data folder now, for other processes; null if none does. */
export async function readEmbeddedConnection(dataDir: string): Promise<string | null> {
  const [running, password] = await Promise.all([readPostmaster(dataDir), readPassword(dataDir)]);
  if (running === null || password === null || !running.ready) return null;
  return (await runsIn(running.pid, 'postgres', dataDir)) ? connectionString(running.port, password) : null;
}

export function connectionString(port: number, password: string): string {
  return `postgres://runtide:${password}@127.0.0.1:${port}/runtide`;
}

/** What `postmaster.pid` says, true or not; null when there is none or it is not whole. */
export async function readPostmaster(dataDir: string): Promise<{ pid: number; port: number; ready: boolean } | null> {
  const lines = (await readOrNull(join(dataDir, 'postmaster.pid')))?.split('\n') ?? [];
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10)); // negative: in single-user mode
  if (!(pid > 0)) return null;
  return { pid, port: Number(lines[3] ?? 0), ready: lines[7]?.trim() === 'ready' };
}

/**
 * Makes a `postmaster.pid` harmless whose pid is no PostgreSQL of this folder (used again after a reboot or by another
 * program, or a zombie). It gets a pid that cannot exist instead of being removed: PostgreSQL then still looks whether
 * the shared memory named in it is in use, by which it knows orphaned backends of a killed postmaster.
 */
export async function disownPostmaster(dataDir: string): Promise<void> {
  const path = join(dataDir, 'postmaster.pid');
  const text = await readOrNull(path);
  if (text === null) return;
  if ((await readPostmaster(dataDir)) === null) {
    await rm(path, { force: true }); // cut short by a full disk or a power cut: it names nothing
    return;
  }
  await writeSynced(path, text.replace(/^-?\d+/, '2147483647'), 'replace');
}

/** Beside the data folder and not in it: as root we write it, and the folder belongs to someone we do not trust. */
export function logPath(dataDir: string): string {
  return `${dataDir}.log`;
}

/** Keeps the log to two files of this size. PostgreSQL writes at the end of the file wherever that is, so it goes on. */
export async function boundLog(dataDir: string, limitBytes: number = LOG_LIMIT_BYTES): Promise<void> {
  const path = logPath(dataDir);
  const size = (await stat(path).catch(() => null))?.size ?? 0;
  if (size <= limitBytes) return;
  await copyFile(path, `${path}.1`);
  await truncate(path);
}

async function makeCluster(program: PostgresProgram, dataDir: string): Promise<string> {
  const unfinished = await mkdtemp(`${dataDir}.new-`);
  try {
    if (program.account !== undefined) await lchown(unfinished, program.account.uid, program.account.gid);
    const options = ['--username=postgres', '--auth=reject', '--encoding=UTF8', '--data-checksums', '--locale=C'];
    const locale = ['--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const args = [...whereabouts(unfinished, program.account), ...options, ...locale];
    const { code, output } = await run(program.initdb, args, { cwd: unfinished, account: program.account });
    if (code !== 0) throw postgresError('making the database failed', output);
    await writeSynced(join(unfinished, 'pg_hba.conf'), PG_HBA, 'replace');
    const password = await setPassword(program, unfinished, 'CREATE ROLE');
    await rename(unfinished, dataDir);
    await syncFolder(dirname(dataDir));
    return password;
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true, maxRetries: 5 });
    throw error;
  }
}

/** Also for a data folder that lost its password file, say in a backup that left secrets out. */
async function setPassword(
  program: PostgresProgram,
  dataDir: string,
  act: 'CREATE ROLE' | 'ALTER ROLE',
): Promise<string> {
  const password = randomBytes(32).toString('base64url');
  const statements = [`${act} runtide LOGIN NOSUPERUSER CREATEDB PASSWORD '${password}';`];
  if (act === 'CREATE ROLE') statements.push('CREATE DATABASE runtide OWNER runtide;');
  // Without exit_on_error it goes on after an error and exits with 0; a failing statement would be logged, password and all.
  const settings = ['-c', 'exit_on_error=on', '-c', 'log_min_error_statement=panic'];
  const args = ['--single', ...whereabouts(dataDir, program.account), ...settings, 'postgres'];
  const input = statements.map((statement) => `${statement}\n`).join('');
  const { code, output } = await run(program.postgres, args, { cwd: dataDir, account: program.account, input });
  if (code !== 0) throw postgresError('setting up the database failed', output);
  const path = join(dataDir, PASSWORD_FILE);
  await rm(path, { force: true });
  await writeSynced(path, `${JSON.stringify({ password })}\n`, 'new', program.account);
  return password;
}

/** The error for people, from what PostgreSQL wrote. */
export function postgresError(what: string, output: string): RuntideError {
  const lines = output.split('\n').filter((line) => /(FATAL|PANIC|error|could not|refused|denied)/i.test(line));
  const said = (lines.length > 0 ? lines.slice(-3).join('; ') : output.trim().split('\n').slice(-3).join('; ')).trim();
  let advice = '';
  if (/no space left|disk quota/i.test(output)) advice = ': the disk is full';
  else if (/permission denied/i.test(output)) advice = ': the user it runs as may not read or write there';
  else if (/ENOENT|cannot execute|error while loading|exec format/i.test(output)) {
    advice = ': the PostgreSQL that comes with Runtide does not run on this machine; set DATABASE_URL to one of yours';
  }
  return new RuntideError('UNAVAILABLE', `${what}${advice} (${said})`);
}

async function removeUnfinished(dataDir: string): Promise<void> {
  const prefix = `${basename(dataDir)}.new-`;
  for (const name of await readdir(dirname(dataDir))) {
    // An initdb that outlived its killed parent may still be writing; what it leaves is removed at the next start.
    const options = { recursive: true, force: true, maxRetries: 5 };
    if (name.startsWith(prefix)) await rm(join(dirname(dataDir), name), options).catch(() => {});
  }
}

async function refuseForeign(dataDir: string): Promise<void> {
  const entries = await readdir(dataDir).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  });
  if (entries.length === 0) return;
  const message = `${dataDir} holds files but no PostgreSQL database: move them away, or set RUNTIDE_DATA_DIR to another folder`;
  throw new RuntideError('CONFLICT', message);
}

/** A folder that came back from a backup as root's; looked into only then, for it has a thousand files. */
async function handOver(folder: string, account: Account): Promise<void> {
  if ((await stat(folder)).uid === account.uid) return;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    await lchown(join(entry.parentPath, entry.name), account.uid, account.gid);
  }
  await lchown(folder, account.uid, account.gid); // last, so that a hand-over cut short is begun again
}

async function readPassword(dataDir: string): Promise<string | null> {
  const text = await readOrNull(join(dataDir, PASSWORD_FILE));
  return /"password":"([\w-]{43})"/.exec(text ?? '')?.[1] ?? null;
}
