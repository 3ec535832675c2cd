// A command of src/main.ts, run to its end as `npm run …` runs it.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { serverEnv } from './server-process.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface CommandOutcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** In the home folder, with the same environment as a server of that home has. */
export function runCommand(
  args: string[],
  { home, env }: { home: string; env?: Record<string, string> },
): Promise<CommandOutcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: home, env: serverEnv(home, env) });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}
