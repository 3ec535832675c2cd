// What a point takes on disk in the end: a million points of one loss curve through the append, folded as they come, the
// replay window passed, with a plain VACUUM now and then and at the end, as autovacuum does it.
import { appendBatch } from '../src/metrics/append/append.ts';
import { foldRun } from '../src/metrics/fold/run.ts';
import type { Account } from './support/measure.ts';
import { openStore } from './support/store.ts';

const POINTS = 1_000_000;
const BATCH_POINTS = 1_000;
/** What a process folds at: 256 KB of tail. */
const FOLD_BATCHES = 70;
const VACUUM_FOLDS = 4;
const TABLES = ['run_head', 'run_writer', 'journal', 'fold', 'metric', 'series', 'segment', 'rollup'];
const VACUUM = `VACUUM ${TABLES.join(', ')}`;

export const disk: Account = {
  about: `bytes a point: ${POINTS.toLocaleString('en-US')} points of a 32-bit loss curve in batches of ${BATCH_POINTS}`,

  async print(say) {
    await using store = await openStore();
    const { pool, log } = store;
    const runId = await store.createRun();
    const sizes = async () => {
      const { rows } = await pool.query<{ name: string; bytes: number }>(
        'SELECT name, pg_total_relation_size(name::regclass) AS bytes FROM unnest($1::text[]) AS name',
        [TABLES],
      );
      return new Map(rows.map(({ name, bytes }) => [name, bytes]));
    };
    let first: Map<string, number> | null = null;
    let folds = 0;
    let time = Date.UTC(2026, 0, 1);
    let spentMs = 0;
    for (let from = 0, batch = 1; from < POINTS; from += BATCH_POINTS, batch++) {
      const steps = Float64Array.from({ length: BATCH_POINTS }, (_, i) => from + i);
      const columns = {
        name: 'loss',
        tag: '',
        repeats: 'REPLACE' as const,
        steps,
        times: steps.map(() => (time += 95 + Math.floor(10 * Math.random()))),
        // Down from 2.3 to 0.3, with noise of 5 %.
        values: steps.map((step) =>
          Math.fround((0.3 + 2 * Math.exp(-step / 200_000)) * (0.975 + 0.05 * Math.random())),
        ),
        metadata: null,
      };
      const content = { columns: [columns], pointCount: BATCH_POINTS };
      await appendBatch(pool, { runId, attempt: null, writer: { id: 'w', batch }, alive: true, batch: content });
      if (batch % FOLD_BATCHES !== 1 && from + BATCH_POINTS < POINTS) continue;
      const start = performance.now();
      while ((await foldRun(pool, runId, { windowMs: 10 * 60_000, log }))?.hasMore);
      spentMs += performance.now() - start;
      if (folds++ % VACUUM_FOLDS === 0) await pool.query(VACUUM);
      first ??= await sizes();
    }
    await foldRun(pool, runId, { windowMs: -1, log });
    await pool.query(VACUUM);
    const full = await sizes();
    const of = (sizes: Map<string, number>, name: string) => (sizes.get(name) ?? 0) / POINTS;
    const line = (name: string, all: number, fixed: number) =>
      say(
        `  ${name.padEnd(12)} ${all.toFixed(3)}, of them ${fixed.toFixed(3)} after the first ${BATCH_POINTS} points already`,
      );
    const sum = (sizes: Map<string, number>) => TABLES.reduce((total, name) => total + of(sizes, name), 0);
    for (const name of TABLES) line(name, of(full, name), of(first!, name));
    line('all', sum(full), sum(first!));
    const { rows } = await pool.query<Record<string, string>>(
      `SELECT (SELECT sum(octet_length(points)) FROM segment) AS points, (SELECT sum(octet_length(entry)) FROM segment) AS entries,
              (SELECT sum(octet_length(entries)) FROM rollup) AS rollups`,
    );
    const net = Object.entries(rows[0]!).map(([name, bytes]) => `${name} ${(Number(bytes) / POINTS).toFixed(3)}`);
    say(`  of them as encoded: ${net.join(', ')}`);
    say(`  folded at ${Math.round((POINTS / spentMs) * 1_000).toLocaleString('en-US')} points/s`);
  },
};
