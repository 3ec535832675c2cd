// Runs benchmarks and prints what came of them: `npm run bench`, or `npm run bench -- append --rounds 20`. How to add one:
// README.md. `--profile` runs the first contender of each alone and says where the server's time went.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Account, type Benchmark, measure, type Measured, type Prepared } from './support/measure.ts';
import { readShares } from './support/profile.ts';
import { contenderLines, pacedLines, ratioLines, shareLines } from './support/report.ts';

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '60' },
    profile: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) fail(`--rounds takes an integer from 1 on, not ${options.rounds}`);

const seconds = Number(options.seconds);
if (!Number.isSafeInteger(seconds) || seconds < 1) fail(`--seconds takes an integer from 1 on, not ${options.seconds}`);

const names = (await readdir(import.meta.dirname))
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -'.ts'.length));
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length > 0) fail(`there is no benchmark ${unknown.join(', ')}: there are ${names.join(', ')}`);

// The server is a process of its own: also when this one is to stop, it is ended and its folder removed.
const stopped = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
});
stopped.catch(() => {});

const machine = cpus();
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${machine.length} × ${machine[0]?.model ?? 'CPU'}, Node ${process.version}`,
);
for (const name of wanted.length > 0 ? wanted : names) {
  const loaded = (await import(`./${name}.ts`)) as Record<string, Benchmark | Account>;
  const benchmark = loaded[name];
  if (!benchmark) fail(`bench/${name}.ts must export \`${name}\``);
  console.log(`\n${name}: ${benchmark.about}`);
  if ('print' in benchmark) await Promise.race([benchmark.print(console.log, { seconds }), stopped]);
  else await (options.profile ? profile(benchmark) : compare(benchmark));
}

async function compare(benchmark: Benchmark): Promise<void> {
  const prepared = await benchmark.prepare({});
  try {
    if ('report' in prepared) console.log(['', ...(await Promise.race([prepared.report(), stopped]))].join('\n'));
    else
      for (const { name, contenders, paced = false } of prepared.series) {
        const measured = await Promise.race([measure(contenders, prepared.serverPid, rounds), stopped]);
        const compared = paced ? pacedLines(measured) : ratioLines(measured);
        console.log(['', name, ...contenderLines(measured), '', ...compared].join('\n'));
      }
    const load = loadavg().map((one) => one.toFixed(1));
    console.log(
      `\n${rounds} rounds, medians (min–max). Load over 1, 5 and 15 minutes, ours included: ${load.join(', ')}`,
    );
  } finally {
    await prepared.close();
  }
}

async function profile(benchmark: Benchmark): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'runtide-profile-'));
  try {
    const prepared = await benchmark.prepare({
      NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}`,
    });
    if ('report' in prepared) {
      await prepared.close();
      fail('this one has no profile');
    }
    const from = process.hrtime.bigint();
    const measured = await measureAndClose(prepared);
    const to = process.hrtime.bigint();
    console.log([...contenderLines(measured), '', ...shareLines(await readShares(folder, from, to))].join('\n'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first contender of the first series; the server writes its profile when it ends. */
async function measureAndClose(prepared: Prepared): Promise<Measured[]> {
  try {
    const work = prepared.series[0]?.contenders.slice(0, 1) ?? [];
    return await Promise.race([measure(work, prepared.serverPid, rounds), stopped]);
  } finally {
    await prepared.close();
  }
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
