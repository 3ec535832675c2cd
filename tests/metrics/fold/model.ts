// What a run's points are, said as simply as it can be: one list an attempt, every write and removal applied in turn.
import { decodeColumns } from '../../../src/metrics/codec/columns.ts';
import { encodeRemoval, type Removal } from '../../../src/metrics/codec/removal.ts';
import type { Metadata, MetricColumns, Points, Repeats } from '../../../src/metrics/columns.ts';
import type pg from 'pg';

interface Point {
  step: number;
  time: number;
  value: number;
  metadata: Metadata | null;
}

interface ModelMetric {
  name: string;
  tag: string;
  repeats: Repeats;
  attempts: Map<number, Point[]>;
}

export interface Model {
  metrics: ModelMetric[];
  write(attempt: number, columns: readonly MetricColumns[]): void;
  remove(removal: Removal): void;
}

export function createModel(): Model {
  const metrics: ModelMetric[] = [];
  const find = (name: string, tag: string) => metrics.find((one) => one.name === name && one.tag === tag);
  return {
    metrics,
    write(attempt, all) {
      for (const { name, tag, repeats, steps, times, values, metadata } of all) {
        let metric = find(name, tag);
        if (!metric) metrics.push((metric = { name, tag, repeats, attempts: new Map() }));
        const points = new Map((metric.attempts.get(attempt) ?? []).map((point) => [keyOf(metric, point), point]));
        for (const [at, step] of steps.entries()) {
          const point = { step, time: times[at]!, value: values[at]!, metadata: metadata?.[at] ?? null };
          // A map keeps the place of a key that it has: what is written again comes last.
          points.delete(keyOf(metric, point));
          points.set(keyOf(metric, point), point);
        }
        metric.attempts.set(attempt, [...points.values()]);
      }
    },
    remove({ name, tag, attempt, from, to }) {
      const metric = find(name, tag);
      for (const [number, points] of metric?.attempts ?? [])
        if (attempt === null || attempt === number)
          metric!.attempts.set(
            number,
            points.filter(({ step }) => step < (from ?? -Infinity) || step > (to ?? Infinity)),
          );
    },
  };
}

function keyOf({ repeats }: ModelMetric, { step, time, value }: Point): string {
  return repeats === 'REPLACE' ? `${step}` : `${step} ${time} ${Object.is(value, -0) ? '-0' : value}`;
}

/** By attempt, in the metric's order; attempts without a point are left out. */
export function seriesOf({ repeats, attempts }: ModelMetric): { attempt: number; points: Points }[] {
  return [...attempts]
    .filter(([, points]) => points.length > 0)
    .toSorted(([a], [b]) => a - b)
    .map(([attempt, points]) => {
      const order = points.toSorted((a, b) => a.step - b.step || (repeats === 'KEEP' ? a.time - b.time : 0));
      return { attempt, points: pointsOf(order) };
    });
}

function pointsOf(points: readonly Point[]): Points {
  const metadata = points.map((point) => point.metadata);
  return {
    steps: Float64Array.from(points, ({ step }) => step),
    times: Float64Array.from(points, ({ time }) => time),
    values: Float64Array.from(points, ({ value }) => value),
    metadata: metadata.some((one) => one !== null) ? metadata : null,
  };
}

/** Each attempt up to where a later one begins; null where nothing is left of it. */
export function lineParts(metric: ModelMetric): { attempt: number; cut: number | null; points: Points | null }[] {
  const series = seriesOf(metric);
  return series.map(({ attempt, points }, at) => {
    const later = series.slice(at + 1).map((one) => one.points.steps[0]!);
    const cut = later.length > 0 ? Math.min(...later) : null;
    const end = cut === null ? points.steps.length : points.steps.filter((step) => step < cut).length;
    return { attempt, cut, points: end > 0 ? firstOf(points, end) : null };
  });
}

function firstOf({ steps, times, values }: Points, end: number): Points {
  return { steps: steps.slice(0, end), times: times.slice(0, end), values: values.slice(0, end), metadata: null };
}

export function joinPoints(parts: readonly Points[]): Points {
  const join = (of: (points: Points) => Float64Array) => Float64Array.from(parts.flatMap((part) => [...of(part)]));
  return { steps: join((p) => p.steps), times: join((p) => p.times), values: join((p) => p.values), metadata: null };
}

/** As an append writes it; answers its sequence. */
export async function appendRemoval(pool: pg.Pool, runId: string, removal: Removal): Promise<number> {
  const { rows } = await pool.query<{ sequence: number }>(
    `WITH moved AS (
       UPDATE run_head SET sequence = sequence + 1, bytes = bytes + octet_length($2::bytea) WHERE run_id = $1
       RETURNING sequence, attempt
     )
     INSERT INTO journal (run_id, sequence, attempt, point_count, payload) SELECT $1, sequence, attempt, 0, $2 FROM moved RETURNING sequence`,
    [runId, encodeRemoval(removal)],
  );
  return rows[0]!.sequence;
}

/** What a batch is once it has gone through the journal: the codec has no −0 in steps and times. */
export function asStored(payload: Buffer): MetricColumns[] {
  return decodeColumns(payload);
}
