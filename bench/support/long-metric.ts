// A long metric as the fold leaves it, written without logging it first: with the fold's own encoders and statements, so
// that everything that is read of it is real.
import pg from 'pg';
import {
  cellOf,
  cellsOfEntries,
  cellsOfPoints,
  FINEST_SHIFT,
  PAGE_CELLS_SHIFT,
  SHIFT_STRIDE,
} from '../../src/metrics/chart/cells.ts';
import { concatEntries, type Entries, mergeEntries, sliceEntries } from '../../src/metrics/chart/rollup.ts';
import { encodeEntries } from '../../src/metrics/codec/rollups.ts';
import { encodeSegment, SEGMENT_POINTS } from '../../src/metrics/codec/segment.ts';
import type { Points } from '../../src/metrics/columns.ts';
import { PAGE_POINTS, topShiftOf } from '../../src/metrics/fold/pages.ts';
import { writePages } from '../../src/metrics/fold/page-store.ts';
import { type NewSegment, writeSegments } from '../../src/metrics/fold/store.ts';

/** Steps from 0, 100 ms and some apart, a noisy loss of 32-bit floats. */
function lossCurve(first: number, count: number, from: number): Points {
  let time = from;
  return {
    steps: Float64Array.from({ length: count }, (_, at) => first + at),
    times: Float64Array.from({ length: count }, () => (time += 95 + Math.floor(10 * Math.random()))),
    values: Float64Array.from({ length: count }, (_, at) =>
      Math.fround(2 * Math.exp(-(first + at) / 500_000) + 0.1 * Math.random()),
    ),
    metadata: null,
  };
}

/** As metric 1 of a run that has none. */
export async function storeMetric(client: pg.Client, runId: string, name: string, count: number): Promise<void> {
  const store = { client, runId };
  const key = { metric: 1, attempt: 1 };
  const topShift = topShiftOf(0, count - 1);
  const levels = new Map<number, Entries[]>();
  let time = Date.UTC(2026, 0, 1);
  let segments: NewSegment[] = [];
  await client.query('BEGIN');
  for (let first = 0; first < count; first += SEGMENT_POINTS) {
    const points = lossCurve(first, Math.min(SEGMENT_POINTS, count - first), time);
    time = points.times.at(-1)!;
    const encoded = encodeSegment(points);
    segments.push({
      ...key,
      firstStep: first,
      firstTime: points.times[0]!,
      part: 0,
      lastStep: points.steps.at(-1)!,
      lastTime: time,
      minTime: points.times[0]!,
      maxTime: time,
      count: points.steps.length,
      entry: encodeEntries(encoded.entry),
      points: encoded.points,
    });
    const finest = levels.get(FINEST_SHIFT) ?? [];
    levels.set(FINEST_SHIFT, [...finest, cellsOfPoints(points, FINEST_SHIFT)]);
    const isLast = first + SEGMENT_POINTS >= count;
    if (segments.length === 256 || isLast) {
      await writeSegments(store, segments);
      segments = [];
    }
    // A page is made as soon as all of its cells are there: eight segments at the finest level.
    for (let shift = FINEST_SHIFT; shift <= topShift; shift += SHIFT_STRIDE) {
      const isFull = (first + SEGMENT_POINTS) % 2 ** (shift + PAGE_CELLS_SHIFT) === 0;
      const parts = levels.get(shift);
      if ((!isFull && !isLast) || parts === undefined) break;
      const page = concatEntries(parts);
      levels.delete(shift);
      if (page.counts.reduce((sum, one) => sum + one, 0) >= PAGE_POINTS)
        await writePages(store, [
          { ...key, shift, page: cellOf(page.firstSteps[0]!, shift + PAGE_CELLS_SHIFT), entries: encodeEntries(page) },
        ]);
      const above = cellsOfEntries(page, shift + SHIFT_STRIDE);
      levels.set(shift + SHIFT_STRIDE, [...(levels.get(shift + SHIFT_STRIDE) ?? []), above]);
    }
  }
  const rest = concatEntries(levels.get(topShift + SHIFT_STRIDE) ?? []);
  const all = mergeEntries(sliceEntries(rest, 0, rest.counts.length), 0, rest.counts.length);
  const one = (column: Float64Array) => column[0];
  await client.query(
    `INSERT INTO metric (project_id, run_id, metric, name, tag, repeats, count, non_finite_count, first_step, last_step,
                         first_time, last_time, first, last, min, max, mean, min_step, max_step)
     SELECT project_id, id, 1, $2, '', 'REPLACE', $3, 0, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
     FROM run WHERE id = $1`,
    [
      runId,
      name,
      count,
      ...[all.firstSteps, all.lastSteps, all.firstTimes, all.lastTimes, all.first, all.last, all.min, all.max].map(one),
      ...[all.mean, all.minSteps, all.maxSteps].map(one),
    ],
  );
  await client.query(
    `INSERT INTO series (run_id, metric, attempt, count, first_step, last_step, top_shift, entry)
     VALUES ($1, 1, 1, $2, 0, $3, $4, $5)`,
    [runId, count, count - 1, topShift, encodeEntries(all)],
  );
  await client.query('COMMIT');
}
