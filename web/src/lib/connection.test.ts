import { expect, it } from 'vitest';
import type { Connection, ConnectionEvent } from './connection.ts';
import { describeConnection, initialConnection, nextConnection, retryDelayMs } from './connection.ts';

const after = (events: ConnectionEvent[], from: Connection = initialConnection): Connection =>
  events.reduce(nextConnection, from);

const at = new Date(2026, 10, 22, 14, 2).getTime();

it('says in words what it knows, and no more', () => {
  expect(describeConnection(initialConnection, 2).words).toBe('Connecting');
  const open = after([{ type: 'opened' }]);
  expect(describeConnection(open, 2)).toEqual({ tone: 'live', words: 'Live · 2 running' });
  expect(describeConnection(open, null).words).toBe('Live');
});

it('keeps the time at which the line went, through every failed attempt', () => {
  const lost = after([{ type: 'opened' }, { type: 'closed', at }, { type: 'closed', at: at + 60_000 }]);
  expect(describeConnection(lost, 2)).toEqual({ tone: 'offline', words: 'Offline since 14:02' });
  const back = after([{ type: 'opened' }, { type: 'closed', at: at + 120_000 }], lost);
  expect(describeConnection(back, 2).words).toBe('Offline since 14:04');
});

it('is live only when every reader has caught up', () => {
  const behind = after([{ type: 'opened' }, { type: 'behind' }, { type: 'behind' }, { type: 'caught-up' }]);
  expect(describeConnection(behind, 1).words).toBe('Catching up');
  expect(describeConnection(after([{ type: 'caught-up' }, { type: 'caught-up' }], behind), 1).words).toBe(
    'Live · 1 running',
  );
});

it('waits longer with each attempt, never more than five seconds, and for ever', () => {
  expect([0, 1, 2, 3, 4, 5, 1000].map((retries) => retryDelayMs(retries, 1))).toEqual([
    500, 1000, 2000, 4000, 5000, 5000, 5000,
  ]);
  expect(retryDelayMs(3, 0)).toBe(2000);
});
