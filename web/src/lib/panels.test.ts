import { describe, expect, it } from 'vitest';
import type { Repeats } from './columns.ts';
import { emptyColumns } from './columns.ts';
import { alignLines, hasBand, sectionsOf, spikesOf } from './panels.ts';
import type { SeriesStore } from './series.ts';
import { applyLive } from './series.ts';

type Metric = [name: string, tag: string, points: [number, number][], repeats?: Repeats];

function storeOf(metrics: Metric[]): SeriesStore {
  const store: SeriesStore = new Map();
  const columns = metrics.map(([name, tag, points, repeats = 'REPLACE']) => ({
    name,
    tag,
    attempt: 1,
    repeats,
    steps: points.map(([step]) => step),
    times: points.map(() => 0),
    values: points.map(([, value]) => (Number.isFinite(value) ? value : ('NaN' as const))),
  }));
  applyLive(store, '1', columns);
  return store;
}

it('makes a panel a name, a line a tag, a section a prefix', () => {
  const sections = sectionsOf(
    storeOf([
      ['val/loss', '', [[1, 1]]],
      ['system/cpu', '', [[1, 1]]],
      ['loss', 'val', [[10, 1]]],
      [
        'loss',
        'train',
        [
          [1, 1],
          [12, 2],
        ],
      ],
      ['val/acc10', '', []],
      ['val/acc9', '', [[1, 1]]],
    ]),
  );
  expect(sections.map(({ name, panels }) => [name, panels.map((panel) => panel.name)])).toEqual([
    ['', ['loss']],
    ['val', ['val/acc9', 'val/acc10', 'val/loss']],
    ['system', ['system/cpu']],
  ]);
  const loss = sections[0]!.panels[0]!;
  expect(loss.lines.map(({ tag }) => tag)).toEqual(['train', 'val']);
  expect([loss.points, loss.lastStep]).toEqual([3, 12]);
  expect(sections[1]!.panels[1]!.lastStep).toBe(null);
});

it('aligns lines on one axis: a gap is null, a step of the other line undefined', () => {
  const [section] = sectionsOf(
    storeOf([
      [
        'loss',
        'a',
        [
          [1, 1],
          [2, NaN],
          [4, 4],
        ],
      ],
      [
        'loss',
        'b',
        [
          [2, 2],
          [3, 3],
        ],
      ],
    ]),
  );
  const { lines } = section!.panels[0]!;
  const [steps, a, , , b] = alignLines(lines);
  expect(steps).toEqual([1, 2, 3, 4]);
  expect(a).toEqual([1, null, undefined, 4]);
  expect(b).toEqual([undefined, 2, 3, undefined]);
  expect(hasBand(lines)).toBe(false);
});

it('gives each kept point of a step a place of its own, beside lines that have fewer there', () => {
  const kept: [number, number][] = [
    [1, 1],
    [2, 2],
    [2, 3],
    [3, 4],
  ];
  const [alone] = sectionsOf(storeOf([['loss', '', kept, 'KEEP']]));
  expect(alignLines(alone!.panels[0]!.lines).slice(0, 2)).toEqual([
    [1, 2, 2, 3],
    [1, 2, 3, 4],
  ]);
  const second: [number, number][] = [
    [2, 7],
    [4, 8],
  ];
  const [both] = sectionsOf(
    storeOf([
      ['loss', 'a', kept, 'KEEP'],
      ['loss', 'b', second],
    ]),
  );
  const [steps, a, , , b] = alignLines(both!.panels[0]!.lines);
  expect(steps).toEqual([1, 2, 2, 3, 4]);
  expect(a).toEqual([1, 2, 3, 4, undefined]);
  expect(b).toEqual([undefined, 7, undefined, undefined, 8]);
});

describe('spikes', () => {
  const bucketed = (spreads: number[]) => ({ ...emptyColumns(), low: spreads.map(() => 0), high: spreads });

  it('are buckets that reach much further than those around', () => {
    const noise = Array.from({ length: 100 }, (_, i) => 1 + (i % 7) / 10);
    expect(spikesOf(bucketed(noise))).toEqual([]);
    expect(spikesOf(bucketed(noise.with(40, 9).with(99, 9).with(0, 9)))).toEqual([0, 40, 99]);
    // On a flat line any spread stands out; where noise begins, nothing does.
    expect(spikesOf(bucketed(noise.map((_, i) => (i === 33 ? 0.01 : 0))))).toEqual([33]);
    expect(spikesOf(bucketed(noise.map((spread, i) => (i < 50 ? 0.1 : spread)))).filter((i) => i > 60)).toEqual([]);
  });

  it('are found at any length, and not in what is not finite or not a bucket', () => {
    expect([[], [5], [0, 5], [0, 5, 0]].map((spreads) => spikesOf(bucketed(spreads)))).toEqual([[], [], [1], [1]]);
    expect(spikesOf(bucketed([1, NaN, 1, Infinity, 1, 50, 1]))).toEqual([5]);
  });
});
