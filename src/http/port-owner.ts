// Who has a port: for the message that says why the server cannot start.
import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';

/** Such as "node main.ts (pid 4711)"; null when it cannot be found out. */
export async function portOwner(port: number): Promise<string | null> {
  try {
    return process.platform === 'linux' ? await fromProc(port) : await fromLsof(port);
  } catch {
    return null;
  }
}

async function fromProc(port: number): Promise<string | null> {
  const inodes = new Set<string>();
  for (const table of ['tcp', 'tcp6']) {
    const text = await readFile(`/proc/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      const isListening = state === '0A';
      if (isListening && inode && Number.parseInt(local?.split(':')[1] ?? '', 16) === port)
        inodes.add(`socket:[${inode}]`);
    }
  }
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const file of files) {
      const target = await readlink(`/proc/${pid}/fd/${file}`).catch(() => '');
      if (!inodes.has(target)) continue;
      return `${await nameOf(pid)} (pid ${pid})`;
    }
  }
  return null;
}

/** Such as "node main.ts". Threads rename themselves, as Node's does to MainThread: the command line says more. */
async function nameOf(pid: string): Promise<string> {
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const [program = '', ...args] = line.split('\0').filter((one) => one !== '');
  // Programs may write a sentence there, such as "nginx: master process".
  if (program === '' || program.includes(': ')) return (await readFile(`/proc/${pid}/comm`, 'utf8')).trim();
  const script = args.find((one) => /\.([cm]?[jt]s|py)$/.test(one));
  return [program, ...(script ? [script] : [])].map((path) => basename(path)).join(' ');
}

async function fromLsof(port: number): Promise<string | null> {
  const { stdout } = await promisify(execFile)('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc']);
  const pid = /^p(\d+)$/m.exec(stdout)?.[1];
  const name = /^c(.+)$/m.exec(stdout)?.[1];
  return pid ? `${name ?? 'a program'} (pid ${pid})` : null;
}
