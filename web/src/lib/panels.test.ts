import { expect, it } from 'vitest';
import { alignLines, hasBand, sectionsOf } from './panels.ts';
import type { SeriesStore } from './series.ts';
import { applyLive } from './series.ts';

function storeOf(metrics: [name: string, tag: string, points: [number, number][]][]): SeriesStore {
  const store: SeriesStore = new Map();
  const columns = metrics.map(([name, tag, points]) => ({
    name,
    tag,
    attempt: 1,
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
