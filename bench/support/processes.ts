// What processes have used of the CPU, as Linux tells it in /proc.
import { readdir, readFile } from 'node:fs/promises';

export interface CpuSeconds {
  server: number;
  /** Everything below the server: the embedded PostgreSQL. */
  database: number;
  /** This process. */
  client: number;
}

/** What every Linux that Node runs on has. */
const TICKS_A_SECOND = 100;

/** Null where there is no /proc. */
export async function cpuSeconds(serverPid: number): Promise<CpuSeconds | null> {
  const processes = new Map<number, { parent: number; own: number; reaped: number }>();
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null);
    if (stat === null) continue;
    // The name in parentheses may hold anything; what follows it is state, parent, …, and four times in ticks.
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const ticks = (index: number) => (fields[index] ?? 0) / TICKS_A_SECOND;
    processes.set(Number(name), { parent: fields[1] ?? 0, own: ticks(11) + ticks(12), reaped: ticks(13) + ticks(14) });
  }
  const server = processes.get(serverPid);
  if (!server) return null;
  let database = 0;
  for (const [pid, { own, reaped }] of processes)
    if (pid !== serverPid && isBelow(pid, serverPid)) database += own + reaped;
  const { user, system } = process.cpuUsage();
  return { server: server.own, database, client: (user + system) / 1e6 };

  function isBelow(pid: number, ancestor: number): boolean {
    for (let at = processes.get(pid); at; at = processes.get(at.parent)) if (at.parent === ancestor) return true;
    return false;
  }
}
