// What is stored of a run, read table by table, and compared with the model in everything that a reader relies on.
import type pg from 'pg';
import { expect } from 'vitest';
import { cellsOfPoints, FINEST_SHIFT, pageOf, SHIFT_STRIDE } from '../../../src/metrics/chart/cells.ts';
import { type Entries, entryOf, mergeEntries } from '../../../src/metrics/chart/rollup.ts';
import { decodeEntries, encodeEntries } from '../../../src/metrics/codec/rollups.ts';
import { decodeSegmentPoints, SEGMENT_POINTS } from '../../../src/metrics/codec/segment.ts';
import type { Points } from '../../../src/metrics/columns.ts';
import { PAGE_POINTS, topShiftOf } from '../../../src/metrics/fold/pages.ts';
import { rowsOf } from '../points.ts';
import { joinPoints, lineParts, type Model, seriesOf } from './model.ts';

interface Segment {
  attempt: number;
  first_step: number;
  first_time: number;
  part: number;
  last_step: number;
  last_time: number;
  min_time: number;
  max_time: number;
  count: number;
  entry: Buffer;
  points: Buffer;
}

/** Of all that is stored of the run; its tail is folded. */
export async function expectStored(pool: pg.Pool, runId: string, model: Model): Promise<void> {
  const metrics = await pool.query<{ metric: number; name: string; tag: string; repeats: string }>(
    'SELECT * FROM metric WHERE run_id = $1 ORDER BY metric',
    [runId],
  );
  expect(metrics.rows.map(({ name, tag, repeats }) => ({ name, tag, repeats })).toSorted(byName)).toEqual(
    model.metrics.map(({ name, tag, repeats }) => ({ name, tag, repeats })).toSorted(byName),
  );
  for (const row of metrics.rows) {
    const { metric, name, tag } = row;
    const wanted = model.metrics.find((one) => one.name === name && one.tag === tag)!;
    const parts = lineParts(wanted);
    const lines = parts.map(({ points }) => points).filter((points) => points !== null);
    expectFigures(row, lines.length > 0 ? entryOf(joinPoints(lines)) : null);
    const series = await pool.query('SELECT * FROM series WHERE run_id = $1 AND metric = $2 ORDER BY attempt', [
      runId,
      metric,
    ]);
    expect(series.rows.map(({ attempt }) => attempt as number)).toEqual(parts.map(({ attempt }) => attempt));
    for (const [at, { attempt, points }] of seriesOf(wanted).entries()) {
      const { cut, points: below } = parts[at]!;
      const stored = series.rows[at]!;
      expect([stored.count, stored.first_step, stored.last_step, stored.line_cut]).toEqual([
        points.steps.length,
        points.steps[0],
        points.steps.at(-1),
        cut,
      ]);
      expectEntries(decodeEntries(stored.entry), entryOf(points));
      if (cut === null || below === null) expect(stored.line_entry).toBeNull();
      else expectEntries(decodeEntries(stored.line_entry), entryOf(below));
      await expectSegments(pool, runId, metric, attempt, points);
      await expectPages(pool, runId, metric, attempt, points, stored.top_shift);
    }
    const orphans = await pool.query(
      `SELECT attempt FROM segment WHERE run_id = $1 AND metric = $2 UNION SELECT attempt FROM rollup WHERE run_id = $1 AND metric = $2`,
      [runId, metric],
    );
    const attempts = parts.map(({ attempt }) => attempt);
    expect(orphans.rows.filter(({ attempt }) => !attempts.includes(attempt))).toEqual([]);
  }
}

const byName = (a: { name: string; tag: string }, b: { name: string; tag: string }) =>
  JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;

function expectFigures(row: object, line: Entries | null): void {
  const figures = row as Record<string, number | null>;
  if (line === null) {
    expect(figures).toMatchObject({ count: 0, non_finite_count: 0, first_step: null, last: null, mean: null });
    return;
  }
  const orNull = (value: number) => (line.counts[0] === line.nonFiniteCounts[0] ? null : value);
  expect(figures).toMatchObject({
    count: line.counts[0],
    non_finite_count: line.nonFiniteCounts[0],
    first_step: line.firstSteps[0],
    last_step: line.lastSteps[0],
    first_time: line.firstTimes[0],
    last_time: line.lastTimes[0],
    first: line.first[0],
    last: line.last[0],
    min: orNull(line.min[0]!),
    max: orNull(line.max[0]!),
    min_step: orNull(line.minSteps[0]!),
    max_step: orNull(line.maxSteps[0]!),
  });
  const size = orNull(Math.max(Math.abs(line.min[0]!), Math.abs(line.max[0]!)));
  if (size === null) expect(figures.mean).toBeNull();
  else expect(Math.abs(figures.mean! / 2 - line.mean[0]! / 2)).toBeLessThanOrEqual(1e-12 * size + 1e-323);
}

/** Equal to the bit but for the last digits of the mean. */
function expectEntries(found: Entries, wanted: Entries): void {
  expect(found.counts.length).toBe(wanted.counts.length);
  const none = new Float64Array(found.counts.length);
  expect(encodeEntries({ ...found, mean: none })).toEqual(encodeEntries({ ...wanted, mean: none }));
  for (const [at, mean] of wanted.mean.entries()) {
    const size = Math.max(Math.abs(wanted.min[at]!), Math.abs(wanted.max[at]!));
    const isSame = Object.is(mean, found.mean[at]) || Math.abs(found.mean[at]! / 2 - mean / 2) <= 1e-12 * size + 1e-323;
    expect(isSame).toBe(true);
  }
}

async function expectSegments(pool: pg.Pool, runId: string, metric: number, attempt: number, wanted: Points) {
  const { rows } = await pool.query<Segment>(
    'SELECT * FROM segment WHERE run_id = $1 AND metric = $2 AND attempt = $3 ORDER BY first_step, first_time, part',
    [runId, metric, attempt],
  );
  const decoded = rows.map(({ points }) => decodeSegmentPoints(points));
  expect(decoded.flatMap(rowsOf)).toEqual(rowsOf(wanted));
  for (const [at, row] of rows.entries()) {
    const points = decoded[at]!;
    expect(points.steps.length).toBeLessThanOrEqual(SEGMENT_POINTS);
    expectEntries(decodeEntries(row.entry), entryOf(points));
    expect(row).toMatchObject({
      first_step: points.steps[0],
      first_time: points.times[0],
      last_step: points.steps.at(-1),
      last_time: points.times.at(-1),
      min_time: Math.min(...points.times),
      max_time: Math.max(...points.times),
      count: points.steps.length,
    });
  }
}

/** Every page that is due, and no other, has the cells of the points. */
async function expectPages(
  pool: pg.Pool,
  runId: string,
  metric: number,
  attempt: number,
  points: Points,
  topShift: number,
) {
  const { rows } = await pool.query<{ shift: number; page: number; entries: Buffer }>(
    'SELECT shift, page, entries FROM rollup WHERE run_id = $1 AND metric = $2 AND attempt = $3 ORDER BY shift, page',
    [runId, metric, attempt],
  );
  const top = topShiftOf(points.steps[0]!, points.steps.at(-1)!);
  const wanted: { shift: number; page: number; entries: Entries }[] = [];
  for (let shift = FINEST_SHIFT; shift <= top && points.steps.length >= PAGE_POINTS; shift += SHIFT_STRIDE) {
    const cells = cellsOfPoints(points, shift);
    const pages = Map.groupBy(cells.firstSteps.keys(), (at) => pageOf(cells.firstSteps[at]!, shift));
    for (const [page, at] of pages) {
      const [from, to] = [at[0]!, at.at(-1)! + 1];
      if (mergeEntries(cells, from, to).counts[0]! < PAGE_POINTS) continue;
      wanted.push({ shift, page, entries: cut(cells, from, to) });
    }
  }
  expect(rows.map(({ shift, page }) => `${shift}/${page}`)).toEqual(
    wanted.map(({ shift, page }) => `${shift}/${page}`),
  );
  for (const [at, { entries }] of wanted.entries()) expectEntries(decodeEntries(rows[at]!.entries), entries);
  expect(topShift).toBe(wanted.length > 0 ? top : 0);
}

function cut(entries: Entries, from: number, to: number): Entries {
  return Object.fromEntries(
    Object.entries(entries).map(([name, column]) => [name, (column as Float64Array).slice(from, to)]),
  ) as unknown as Entries;
}
