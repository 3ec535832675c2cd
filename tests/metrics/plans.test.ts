// What the fold and the reads send finds its rows by their keys, however many runs and segments there are, and whatever
// the planner knows of them: nothing whole is read for a part.
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { foldRun } from '../../src/metrics/fold/run.ts';
import { surveyTail } from '../../src/metrics/fold/survey.ts';
import { readCharts } from '../../src/metrics/read/charts.ts';
import { readPoints } from '../../src/metrics/read/points.ts';
import { readSummaries } from '../../src/metrics/read/summaries.ts';
import { silentLog } from '../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../support/run-rows.ts';
import { appendRemoval } from './fold/model.ts';

const HOUR_MS = 3_600_000;
const RUNS = 3_000;
const upTo = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

let rows: RunRows;
let runId: string;

/** A run of some length, and thousands like it, in all tables that grow. */
beforeAll(async () => {
  rows = await openRunRows();
  const { pool } = rows;
  runId = await rows.insertRun();
  await append(pool, runId, [columns('loss', upTo(50_000), upTo(50_000))]);
  await foldRun(pool, runId, { windowMs: HOUR_MS, log: silentLog });
  await append(pool, runId, [columns('loss', [50_000], [1])]);
  await pool.query(`CREATE TABLE other AS SELECT gen_random_uuid() AS id FROM generate_series(1, ${RUNS})`);
  for (const table of ['run', 'run_head', 'fold', 'journal', 'metric', 'series', 'segment', 'rollup']) {
    const { rows: found } = await pool.query<{ name: string }>(
      'SELECT column_name AS name FROM information_schema.columns WHERE table_name = $1',
      [table],
    );
    const names = found.map(({ name }) => `"${name}"`);
    const ofOther: Record<string, string> = {
      '"id"': 'o.id',
      '"run_id"': 'o.id',
      '"points"': `'x'`,
      '"entries"': `'x'`,
    };
    await pool.query(
      `INSERT INTO "${table}" (${names.join()}) SELECT ${names.map((name) => ofOther[name] ?? `t.${name}`).join()}
       FROM "${table}" t, other o WHERE t.${table === 'run' ? 'id' : 'run_id'} = $1`,
      [runId],
    );
  }
});
afterAll(() => rows[Symbol.asyncDispose]());

/** What of the plans of all that is sent reads more than was asked for. Deletions aside: they are few, and seldom. */
async function wholeReads(work: (pool: pg.Pool) => Promise<unknown>): Promise<string[]> {
  const client = await rows.pool.connect();
  const found: string[] = [];
  const explained: string[] = [];
  const query = async (asked: string | { text: string; values: unknown[] }, values?: unknown[]) => {
    const text = typeof asked === 'string' ? asked : asked.text;
    if (/^\s*(SELECT|WITH|INSERT)/.test(text)) {
      explained.push(text);
      for (const plan of [
        await client.query(`EXPLAIN ${text}`, typeof asked === 'string' ? values : asked.values),
        await client.query(`EXPLAIN (GENERIC_PLAN) ${text}`),
      ])
        for (const { 'QUERY PLAN': line } of plan.rows as { 'QUERY PLAN': string }[])
          if (
            /Seq Scan on (run|run_head|run_writer|journal|fold|metric|series|segment|rollup)\b|(Hash|Merge) (Semi )?Join/.test(
              line,
            )
          )
            found.push(`${line.trim()} of ${text.trim().slice(0, 100)}`);
    }
    return client.query(asked as string, values);
  };
  const wrapped = new Proxy(client, {
    get: (target, name) => {
      if (name === 'query') return query;
      if (name === 'release') return () => {};
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  await work({ query, connect: () => Promise.resolve(wrapped) } as unknown as pg.Pool).finally(() => client.release());
  expect(explained.length).toBeGreaterThan(0);
  return found;
}

test.each(['nothing', 'everything'])('where the planner knows %s of them', async (known) => {
  if (known === 'everything') await rows.pool.query('ANALYZE');
  const found = await wholeReads(async (pool) => {
    const removal = { name: 'loss', tag: '', attempt: null, from: 10, to: 20 };
    await append(rows.pool, runId, [columns('loss', [5, 70_000], [1, 2]), columns(known, upTo(20_000), upTo(20_000))]);
    await appendRemoval(rows.pool, runId, removal);
    await foldRun(pool, runId, { windowMs: 1, log: silentLog });
    await append(rows.pool, runId, [columns('loss', [5], [3])]);
    await appendRemoval(rows.pool, runId, { ...removal, to: 9_000 });
    await surveyTail(pool, { windowMs: HOUR_MS, overdueMs: HOUR_MS, smallBytes: 0, smallOverdueMs: HOUR_MS });
    await readSummaries(pool, [runId]);
    const points = { runId, name: 'loss', tag: '', attempt: null, from: 10, to: null, first: 10, after: null };
    for (const orderBy of ['STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'] as const)
      await readPoints(pool, [{ ...points, orderBy }]);
    const charts = { runIds: [runId], metrics: [{ name: 'loss' }], buckets: 50, attempts: 'LINE' } as const;
    for (const x of ['STEP', 'TIME', 'RELATIVE_TIME'] as const) await readCharts(pool, { ...charts, x });
  });
  expect(found).toEqual([]);
});
