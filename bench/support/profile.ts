// Where a Node process spent its time, out of the profile that `--cpu-prof` wrote: each sample goes to the part of the
// program that was nearest to the top of its stack, so that what Node does for a part counts as that part's.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string }; children?: number[] }[];
  /** µs of the clock that process.hrtime reads. */
  startTime: number;
  samples: number[];
  timeDeltas: number[];
}

/** Waiting for PostgreSQL and for clients. */
export const IDLE = 'idle';
const POSTGRES = 'PostgreSQL client';

const parts: [string, RegExp][] = [
  ['points: check (batch.ts)', /\/src\/metrics\/batch\.ts/],
  ['points: encode, zstd', /\/src\/metrics\/codec\//],
  ['body: JSON.parse', /\/src\/http\/body\.ts readJsonObject/],
  ['body: read', /\/src\/http\/body\.ts/],
  [POSTGRES, /\/node_modules\/(pg|pg-\w+)\/|\/src\/metrics\/(append|groups)\.ts/],
  ['yoga', /\/node_modules\/(graphql-yoga|@graphql-yoga|@whatwg-node|@envelop|@graphql-tools|@repeaterjs)\//],
  ['GraphQL: coerce, execute', /\/node_modules\/(graphql|@pothos)\/|\/src\/schema\//],
  ['Prisma', /\/node_modules\/@prisma\/|\/src\/generated\//],
  ['the rest of src/', /\/src\//],
];

/** Shares in µs by part, of the newest profile in a folder, between two readings of process.hrtime. */
export async function readShares(folder: string, from: bigint, to: bigint): Promise<Map<string, number>> {
  const [file] = (await readdir(folder)).filter((name) => name.endsWith('.cpuprofile'));
  if (!file) throw new Error('the server wrote no profile');
  const profile = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile;
  const partOf = placer(profile);
  const shares = new Map<string, number>();
  let atUs = profile.startTime;
  for (const [index, node] of profile.samples.entries()) {
    const deltaUs = profile.timeDeltas[index] ?? 0;
    atUs += deltaUs;
    if (atUs < Number(from / 1_000n) || atUs > Number(to / 1_000n)) continue;
    const part = partOf(node);
    shares.set(part, (shares.get(part) ?? 0) + deltaUs);
  }
  return shares;
}

function placer({ nodes }: CpuProfile): (node: number) => string {
  const parents = new Map<number, number>();
  for (const { id, children } of nodes) for (const child of children ?? []) parents.set(child, id);
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const own = new Map(nodes.map(({ id, callFrame: { url, functionName } }) => [id, partOfFrame(url, functionName)]));
  return (node) => {
    const leaf = frames.get(node);
    if (leaf?.functionName === '(idle)') return IDLE;
    if (leaf?.functionName === '(garbage collector)') return 'garbage collection';
    // A system call in its own right: what the kernel does to bring bytes to the other side.
    const isWrite = leaf !== undefined && leaf.url === '' && /^write(v|Buffer|\w+String)$/.test(leaf.functionName);
    const part = ownerOf(node);
    return isWrite ? (part === POSTGRES ? 'system calls: write to PostgreSQL' : 'system calls: answer clients') : part;
  };

  function ownerOf(node: number): string {
    for (let at: number | undefined = node; at !== undefined; at = parents.get(at)) {
      const part = own.get(at);
      if (part) return part;
    }
    return 'Node: HTTP, sockets, native code';
  }
}

function partOfFrame(url: string, functionName: string): string | undefined {
  return parts.find(([, pattern]) => pattern.test(`${url} ${functionName}`))?.[0];
}
