import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Metadata, MetricColumns, Points, Repeats } from '../../../src/metrics/columns.ts';
import { byTime, lineOf, mergeBatches } from '../../../src/metrics/chart/line.ts';
import type { Batch, Series } from '../../../src/metrics/chart/line.ts';
import { rowsOf } from '../points.ts';

interface Row {
  step: number;
  time: number;
  value: number;
  metadata: Metadata | null;
}

// Few different steps, times and values, so that most runs have points that replace or repeat one another.
const anyRow: fc.Arbitrary<Row> = fc.record({
  step: fc.integer({ min: -3, max: 6 }),
  time: fc.integer({ min: 0, max: 2 }),
  value: fc.constantFrom(0, -0, NaN, 1, Infinity),
  metadata: fc.option(fc.record({ note: fc.nat(9) }), { freq: 2 }),
});

const anyRepeats = fc.constantFrom('REPLACE' as const, 'KEEP' as const);

const anyBatches: fc.Arbitrary<Batch[]> = fc
  .array(
    fc.record({
      attempt: fc.integer({ min: 1, max: 3 }),
      repeats: anyRepeats,
      rows: fc.array(anyRow, { maxLength: 8 }),
      gap: fc.nat(2),
    }),
    { maxLength: 10 },
  )
  .map((drawn) => {
    let sequence = 0;
    return drawn.map(({ attempt, repeats, rows, gap }) => ({
      sequence: (sequence += gap),
      attempt,
      columns: columnsOf(rows, repeats),
    }));
  });

function columnsOf(rows: readonly Row[], repeats: Repeats = 'REPLACE'): MetricColumns {
  return {
    name: 'loss',
    tag: '',
    repeats,
    steps: Float64Array.from(rows, (row) => row.step),
    times: Float64Array.from(rows, (row) => row.time),
    values: Float64Array.from(rows, (row) => row.value),
    metadata: rows.some((row) => row.metadata !== null) ? rows.map((row) => row.metadata) : null,
  };
}

function rowsIn({ steps, times, values, metadata }: Points): Row[] {
  return Array.from(values, (value, i) => ({
    step: steps[i]!,
    time: times[i]!,
    value,
    metadata: metadata?.[i] ?? null,
  }));
}

/** The rule as the design puts it, a point at a time: later rows take the place of earlier ones of the same key. */
function naiveMerge(batches: readonly Batch[], repeats: Repeats): { attempt: number; rows: Row[] }[] {
  const attempts = [...new Set(batches.map((batch) => batch.attempt))].toSorted((a, b) => a - b);
  return attempts.map((attempt) => {
    let rows: Row[] = [];
    for (const row of batches.filter((batch) => batch.attempt === attempt).flatMap((batch) => rowsIn(batch.columns))) {
      const isSame = (other: Row) =>
        row.step === other.step &&
        (repeats === 'REPLACE' || (row.time === other.time && Object.is(row.value, other.value)));
      rows = [...rows.filter((other) => !isSame(other)), row];
    }
    // Sorting is stable: of equal steps (and times), what was written later comes later.
    rows = rows.toSorted((a, b) => a.step - b.step || (repeats === 'KEEP' ? a.time - b.time : 0));
    return { attempt, rows };
  });
}

function naiveLine(attempts: readonly { attempt: number; rows: Row[] }[]): Row[] {
  return attempts.flatMap(({ attempt, rows }) => {
    const later = attempts.filter((other) => other.attempt > attempt).flatMap((other) => other.rows);
    return rows.filter((row) => later.every((other) => row.step < other.step));
  });
}

const plain = (series: readonly Series[]) =>
  series.map(({ attempt, repeats, ...points }) => ({ attempt, repeats, rows: rowsOf(points) }));

const one = (attempt: number, sequence: number, rows: [number, number, number][], repeats: Repeats = 'REPLACE') => ({
  sequence,
  attempt,
  columns: columnsOf(
    rows.map(([step, time, value]) => ({ step, time, value, metadata: null })),
    repeats,
  ),
});

const line = (...batches: Batch[]) => [...lineOf(mergeBatches(batches)).values];

describe('merging', () => {
  test('gives what writing a point at a time gives', () => {
    fc.assert(
      fc.property(anyBatches, (batches) => {
        const repeats = batches[0]?.columns.repeats ?? 'REPLACE';
        const merged = mergeBatches(batches);
        expect(merged.map((series) => ({ attempt: series.attempt, rows: rowsIn(series) }))).toEqual(
          naiveMerge(batches, repeats),
        );
        expect(merged.every((series) => series.repeats === repeats)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test('does not depend on how points were put into batches', () => {
    fc.assert(
      fc.property(anyBatches, fc.infiniteStream(fc.boolean()), (batches, cuts) => {
        const split: Batch[] = [];
        for (const { attempt, columns } of batches) {
          let rows: Row[] = [];
          for (const row of rowsIn(columns)) {
            rows.push(row);
            if (cuts.next().value !== true) continue;
            split.push({ sequence: split.length, attempt, columns: columnsOf(rows) });
            rows = [];
          }
          split.push({ sequence: split.length, attempt, columns: columnsOf(rows) });
        }
        const repeats = batches[0]?.columns.repeats ?? 'REPLACE';
        expect(plain(mergeBatches(split, repeats))).toEqual(plain(mergeBatches(batches, repeats)));
      }),
    );
  });

  test('goes on from what was merged before, as a fold does', () => {
    fc.assert(
      fc.property(anyBatches, fc.nat(10), (batches, folds) => {
        const repeats = batches[0]?.columns.repeats ?? 'REPLACE';
        const folded = mergeBatches(batches.slice(0, folds), repeats).map((series) => ({
          sequence: 0,
          attempt: series.attempt,
          columns: { name: 'loss', tag: '', ...series },
        }));
        expect(plain(mergeBatches([...folded, ...batches.slice(folds)], repeats))).toEqual(
          plain(mergeBatches(batches, repeats)),
        );
      }),
    );
  });

  test('leaves its input as it was', () => {
    fc.assert(
      fc.property(anyBatches, (batches) => {
        const before = structuredClone(batches);
        lineOf(mergeBatches(batches));
        expect(batches).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });

  test('a later write of a step wins, wherever it stands', () => {
    const batches = [
      one(1, 1, [
        [1, 0, 10],
        [2, 0, 20],
        [1, 5, 11],
      ]),
      one(1, 2, [[2, 1, 21]]),
    ];
    expect(rowsOf(mergeBatches(batches)[0]!)).toEqual([
      [1, 5, 11, null],
      [2, 1, 21, null],
    ]);
  });

  test('the first batch says whether repeats are kept, for every attempt and batch after it', () => {
    const batches = [one(2, 1, [[1, 0, 1]], 'KEEP'), one(1, 2, [[1, 0, 2]]), one(1, 3, [[1, 0, 3]])];
    expect(plain(mergeBatches(batches))).toEqual([
      {
        attempt: 1,
        repeats: 'KEEP',
        rows: [
          [1, 0, 2, null],
          [1, 0, 3, null],
        ],
      },
      { attempt: 2, repeats: 'KEEP', rows: [[1, 0, 1, null]] },
    ]);
  });

  test('metadata that was replaced leaves none', () => {
    const first = columnsOf([{ step: 1, time: 0, value: 1, metadata: { note: 1 } }]);
    const merged = mergeBatches([{ sequence: 1, attempt: 1, columns: first }, one(1, 2, [[1, 0, 2]])]);
    expect(merged[0]!.metadata).toBeNull();
  });

  test('batches that are not in order are refused', () => {
    expect(() => mergeBatches([one(1, 2, []), one(1, 1, [])])).toThrow(RangeError);
  });

  test('a hundred thousand late points of one step and time are one point each', () => {
    const rows = Array.from({ length: 100_000 }, (_, i): [number, number, number] => [0, 0, (i * 7919) % 50_000]);
    const [series] = mergeBatches([one(1, 1, rows, 'KEEP')]);
    expect(series!.values).toHaveLength(50_000);
    expect([...series!.values]).toEqual(rows.slice(50_000).map(([, , value]) => value));
  });
});

describe('the line', () => {
  test('follows each attempt up to the first step of any later one', () => {
    fc.assert(
      fc.property(anyBatches, (batches) => {
        const merged = mergeBatches(batches);
        const line = lineOf(merged);
        expect(rowsIn(line)).toEqual(
          naiveLine(merged.map(({ attempt, ...rest }) => ({ attempt, rows: rowsIn(rest) }))),
        );
        expect([...line.steps]).toEqual([...line.steps].toSorted((a, b) => a - b));
      }),
      { numRuns: 1000 },
    );
  });

  test('a resume from a checkpoint goes on from there, and a third attempt from further back', () => {
    const first = one(1, 1, [
      [1, 0, 1.1],
      [2, 0, 1.2],
      [3, 0, 1.3],
      [4, 0, 1.4],
    ]);
    const second = one(2, 2, [
      [3, 0, 2.3],
      [6, 0, 2.6],
    ]);
    const third = one(3, 3, [
      [2, 0, 3.2],
      [9, 0, 3.9],
    ]);
    expect(line(first, second)).toEqual([1.1, 1.2, 2.3, 2.6]);
    expect(line(first, second, third)).toEqual([1.1, 3.2, 3.9]);
    expect(line(first, second, one(3, 3, []))).toEqual([1.1, 1.2, 2.3, 2.6]);
    expect(line()).toEqual([]);
  });
});

test('by time: time, then step, then the order there was', () => {
  fc.assert(
    fc.property(anyBatches, (batches) => {
      const line = lineOf(mergeBatches(batches));
      expect(rowsIn(byTime(line))).toEqual(rowsIn(line).toSorted((a, b) => a.time - b.time || a.step - b.step));
    }),
  );
});
