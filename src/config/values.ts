// Where the values of variables come from: the environment, files that it names, and secrets that are made here.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Variable } from './kinds.ts';

export type Environment = Record<string, string | undefined>;

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
