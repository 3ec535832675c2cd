import { describe, expect, it } from 'vitest';
import type { ChartAnswer, LiveColumns, SeriesStore } from './series.ts';
import { applyLive, buckets, lineOf, rebuild, seriesKey } from './series.ts';

function chart(points: [number, number][], more: Partial<ChartAnswer> = {}): ChartAnswer {
  const values = points.map(([, value]) => value);
  return {
    name: 'loss',
    tag: '',
    repeats: 'REPLACE',
    exact: true,
    steps: points.map(([step]) => step),
    times: points.map(([step]) => step * 10),
    last: values,
    min: values,
    max: values,
    mean: values,
    nonFiniteCounts: values.map(() => 0),
    cursor: '10',
    ...more,
  };
}

function live(points: [number, number][], more: Partial<LiveColumns> = {}): LiveColumns {
  const steps = points.map(([step]) => step);
  const values = points.map(([, value]) => value);
  return { name: 'loss', tag: '', attempt: 1, repeats: 'REPLACE', steps, times: steps, values, ...more };
}

function drawn(store: SeriesStore, name = 'loss', tag = ''): [number, number][] {
  const line = lineOf(store.get(seriesKey(name, tag))!);
  return line.steps.map((step, i) => [step, line.values[i]!]);
}

describe('live points after a chart', () => {
  it('are appended, inserted or replaced in step order', () => {
    const { store } = rebuild(
      [
        chart([
          [1, 1],
          [2, 2],
          [4, 4],
        ]),
      ],
      1,
      [],
    );
    expect(
      applyLive(store, '11', [
        live([
          [5, 5],
          [3, 3],
          [2, 20],
        ]),
      ]),
    ).toBe(false);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 20],
      [3, 3],
      [4, 4],
      [5, 5],
    ]);
  });

  it('are left out when the chart already contains them, also past 2^53', () => {
    const { store } = rebuild([chart([[1, 1]], { cursor: '9007199254740993' })], 1, []);
    applyLive(store, '9007199254740993', [live([[1, 99]])]);
    expect(drawn(store)).toEqual([[1, 1]]);
    applyLive(store, '9007199254740994', [live([[1, 2]])]);
    expect(drawn(store)).toEqual([[1, 2]]);
  });

  it('open a series of their own for a new metric or tag', () => {
    const { store } = rebuild([chart([[1, 1]])], 1, []);
    expect(applyLive(store, '11', [live([[1, 7]], { tag: 'val' }), live([[3, 8]], { name: 'lr' })])).toBe(false);
    expect(drawn(store, 'loss', 'val')).toEqual([[1, 7]]);
    expect(drawn(store, 'lr')).toEqual([[3, 8]]);
  });

  it('ask for the charts again once there are many of them', () => {
    const { store } = rebuild([chart([[0, 1]])], 1, []);
    const many = Array.from({ length: 2 * buckets }, (_, i): [number, number] => [i + 1, i]);
    expect(applyLive(store, '11', [live(many)])).toBe(false);
    expect(applyLive(store, '12', [live([[9999, 1]])])).toBe(true);
  });
});

describe('attempts', () => {
  it('a new one is followed from its smallest step on, and asks for the charts', () => {
    const { store } = rebuild(
      [
        chart([
          [1, 1],
          [2, 2],
          [3, 3],
          [4, 4],
        ]),
      ],
      1,
      [],
    );
    expect(applyLive(store, '11', [live([[3, 30]], { attempt: 2 })])).toBe(true);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 2],
      [3, 30],
    ]);
    applyLive(store, '12', [live([[2, 20]], { attempt: 2 })]);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 20],
      [3, 30],
    ]);
  });

  it('a late point of an earlier one never overwrites the line', () => {
    const { store } = rebuild(
      [
        chart([
          [1, 1],
          [2, 2],
        ]),
      ],
      2,
      [],
    );
    expect(applyLive(store, '11', [live([[2, 99]], { attempt: 1 })])).toBe(true);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it('two live ones of a metric that no chart knows follow each other', () => {
    const store: SeriesStore = new Map();
    applyLive(store, '1', [
      live([
        [1, 1],
        [2, 2],
        [3, 3],
      ]),
    ]);
    expect(applyLive(store, '2', [live([[2, 20]], { attempt: 2 })])).toBe(true);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 20],
    ]);
  });
});

describe('downsampled charts', () => {
  const downsampled = chart([], {
    exact: false,
    steps: [10, 20],
    times: [1, 2],
    last: [5, 7],
    min: [1, null],
    max: [9, null],
    mean: [4, null],
    nonFiniteCounts: [0, 3],
  });

  it('draw the mean with its bounds and end in the last value', () => {
    const { store } = rebuild([downsampled], 1, []);
    const line = lineOf(store.get(seriesKey('loss', ''))!);
    expect(line.values).toEqual([4, 7]);
    expect(line.low).toEqual([1, NaN]);
    expect(line.high).toEqual([9, NaN]);
    expect(line.bad).toEqual([0, 3]);
  });

  it('take points after their end by themselves, and ask the server to place a late one', () => {
    const { store } = rebuild([downsampled], 1, []);
    expect(applyLive(store, '11', [live([[21, 1]])])).toBe(false);
    expect(applyLive(store, '12', [live([[15, 1]])])).toBe(true);
  });
});

it('a fresh read drops what it contains and keeps what came while it was on its way', () => {
  const since = [
    { cursor: '20', metrics: [live([[2, 99]])] },
    { cursor: '22', metrics: [live([[4, 4]]), live([[1, 5]], { tag: 'val' })] },
  ];
  const { store, outdated } = rebuild(
    [
      chart(
        [
          [1, 1],
          [2, 2],
          [3, 3],
        ],
        { cursor: '21' },
      ),
      chart([], { tag: 'gone' }),
    ],
    1,
    since,
  );
  expect(drawn(store)).toEqual([
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 4],
  ]);
  expect(drawn(store, 'loss', 'val')).toEqual([[1, 5]]);
  expect(store.size).toBe(2);
  expect(outdated).toBe(false);
});

describe('where repeats are kept', () => {
  const kept = { repeats: 'KEEP' } as const;

  it('live points join those of their step in order of time, and the same one counts once', () => {
    const first: [number, number][] = [
      [1, 1],
      [2, 2],
      [2, 3],
    ];
    const { store } = rebuild([chart(first, { ...kept, times: [10, 20, 40] })], 1, []);
    const more: [number, number][] = [
      [2, 9],
      [2, 3],
      [3, 4],
      [3, 5],
    ];
    expect(applyLive(store, '11', [live(more, { ...kept, times: [30, 40, 50, 50] })])).toBe(false);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 2],
      [2, 9],
      [2, 3],
      [3, 4],
      [3, 5],
    ]);
  });

  it('the first batch that named the metric says so, whatever a later one says', () => {
    const { store } = rebuild([chart([[1, 1]], kept)], 1, []);
    applyLive(store, '11', [live([[1, 2]], { repeats: 'REPLACE' }), live([[1, 1]], { ...kept, name: 'lr' })]);
    applyLive(store, '12', [live([[1, 2]], { repeats: 'REPLACE', name: 'lr', times: [9] })]);
    expect(drawn(store).length).toBe(2);
    expect(drawn(store, 'lr').length).toBe(2);
  });

  it('a new attempt still replaces everything from its smallest step on', () => {
    const first: [number, number][] = [
      [1, 1],
      [2, 2],
      [2, 3],
    ];
    const { store } = rebuild([chart(first, kept)], 1, []);
    expect(applyLive(store, '11', [live([[2, 30]], { ...kept, attempt: 2 })])).toBe(true);
    expect(drawn(store)).toEqual([
      [1, 1],
      [2, 30],
    ]);
  });
});
