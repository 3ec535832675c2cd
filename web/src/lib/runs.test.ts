import { expect, it } from 'vitest';
import type { RunRow } from './runs.ts';
import { applyRunChange, durationOf, mergeRead } from './runs.ts';

const row = (id: string, minute: number, more: Partial<RunRow> = {}): RunRow => ({
  id,
  name: id,
  status: 'RUNNING',
  createdAt: iso(minute),
  startedAt: iso(minute),
  endedAt: null,
  heartbeatAt: null,
  cursor: '0',
  tags: [],
  ...more,
});
const iso = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
const ids = (rows: RunRow[]) => rows.map(({ id }) => id);

it('puts a new run on top, changes a known one in place, takes a deleted one out', () => {
  let rows = [row('b', 2), row('a', 1)];
  rows = applyRunChange(rows, { type: 'CREATED', runId: 'c', run: row('c', 3) }, true);
  rows = applyRunChange(rows, { type: 'CHANGED', runId: 'b', run: row('b', 2, { status: 'COMPLETED' }) }, true);
  expect(ids(rows)).toEqual(['c', 'b', 'a']);
  expect(rows[1]!.status).toBe('COMPLETED');
  rows = applyRunChange(rows, { type: 'DELETED', runId: 'b', run: null }, true);
  expect(ids(applyRunChange(rows, { type: 'RESTORED', runId: 'b', run: row('b', 2) }, true))).toEqual(['c', 'b', 'a']);
});

it('does not add a run from below the loaded page', () => {
  const change = { type: 'CHANGED', runId: 'old', run: row('old', 0) } as const;
  expect(ids(applyRunChange([row('b', 2), row('a', 1)], change, false))).toEqual(['b', 'a']);
  expect(ids(applyRunChange([row('b', 2), row('a', 1)], change, true))).toEqual(['b', 'a', 'old']);
});

it('lets changes that came during a read win over what was read', () => {
  const changes = [
    { type: 'CHANGED', runId: 'a', run: row('a', 1, { status: 'FAILED' }) },
    { type: 'CREATED', runId: 'c', run: row('c', 3) },
  ] as const;
  const rows = mergeRead([row('a', 1), row('b', 2)], changes, true);
  expect(rows.map(({ id, status }) => [id, status])).toEqual([
    ['c', 'RUNNING'],
    ['b', 'RUNNING'],
    ['a', 'FAILED'],
  ]);
});

it('measures a run until now, its end, or its last sign of life', () => {
  const now = Date.UTC(2026, 0, 1, 1, 0);
  expect(durationOf(row('a', 50), now)).toBe(600_000);
  expect(durationOf(row('a', 50, { status: 'COMPLETED', endedAt: iso(55) }), now)).toBe(300_000);
  expect(durationOf(row('a', 50, { status: 'CRASHED', heartbeatAt: iso(52) }), now)).toBe(120_000);
  expect(durationOf(row('a', 50, { status: 'PENDING' }), now)).toBe(null);
});
