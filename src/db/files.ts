// The small files of the data folder: written whole and synced, read when they are there; and what to tell people when
// the file system refuses.
import { constants } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { RuntideError } from '../errors.ts';
import type { Account } from './process.ts';

/** The system's code of an error (`ENOENT`), or an empty text. */
export function errorCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
}

/** The error for people, for a failure of the file system in the data folder. */
export function folderError(folder: string, error: unknown): RuntideError {
  const reasons: Record<string, string> = {
    EACCES: 'this user may not read or write there',
    EPERM: 'this user may not read or write there',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    ENOTDIR: 'a part of the path is not a folder',
    EEXIST: 'it is not a folder',
  };
  const reason = reasons[errorCode(error)] ?? (error instanceof Error ? error.message : String(error));
  const message = `cannot use the data folder ${folder}: ${reason} (RUNTIDE_DATA_DIR sets another folder)`;
  return new RuntideError('UNAVAILABLE', message, {}, { cause: error });
}

/** Makes the folder, for its owner alone, and everything above it that is missing; says what to do where it cannot. */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw folderError(folder, error);
  });
}

/** Null where there is no such file; any other failure is thrown. */
export async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Writes a file and syncs it: `new` refuses one that is there, `replace` one that is not. Follows no link at its end,
 * since as root we write into PostgreSQL's folder, whose owner is not trusted.
 */
export async function writeSynced(path: string, text: string, how: 'new' | 'replace', owner?: Account): Promise<void> {
  const flags = how === 'new' ? constants.O_CREAT | constants.O_EXCL : constants.O_TRUNC;
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW | flags, 0o600);
  try {
    await file.writeFile(text);
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames in a folder outlive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const file = await open(folder, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
