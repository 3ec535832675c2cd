// How a bucket drains, and what fits into it.
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { networkOf } from '../../../src/access/access.ts';
import { type Bucket, createBudget, drain, MOST_BUCKETS, takeFrom } from '../../../src/access/budget/budget.ts';
import { ANYWHERE, holder, MINUTE_MS, takeAll, tryTake } from './holder.ts';

describe('a bucket', () => {
  const limits = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000_000_000 }));
  const asks = fc.array(
    fc.record({
      afterMs: fc.double({ min: 0, max: 30_000, noNaN: true }),
      part: fc.double({ min: 0, max: 1.5, noNaN: true }),
    }),
    { minLength: 1, maxLength: 60 },
  );

  test('lets no more through in any time than a minute’s budget and what drains meanwhile', () => {
    fc.assert(
      fc.property(limits, asks, (limit, all) => {
        const bucket: Bucket = { spent: 0, at: 0, limit, untold: 0 };
        const taken: { at: number; cost: number }[] = [];
        const refusals: { kept: boolean; fits: boolean; sooner: boolean }[] = [];
        let time = 0;
        for (const { afterMs, part } of all) {
          time += afterMs;
          const cost = Math.max(1, Math.round(part * limit));
          drain(bucket, time);
          const before = bucket.spent;
          const waitMs = takeFrom(bucket, cost);
          if (waitMs === 0) taken.push({ at: time, cost: Math.min(cost, limit) });
          else {
            // For as long as it says, and no longer; and nothing was taken.
            const fits = (afterMs: number) => {
              const then = { ...bucket };
              drain(then, time + afterMs);
              return takeFrom(then, cost) === 0;
            };
            refusals.push({
              kept: bucket.spent === before,
              fits: fits(waitMs),
              sooner: waitMs > 2 && fits(waitMs - 2),
            });
          }
        }
        expect(refusals.filter(({ kept, fits, sooner }) => !kept || !fits || sooner)).toEqual([]);
        expect(taken.reduce((sum, { cost }) => sum + cost, 0)).toBeCloseTo(bucket.untold, 0);
        for (const [first, { at: begin }] of taken.entries()) {
          let sum = 0;
          for (const { at, cost } of taken.slice(first)) {
            sum += cost;
            expect(sum).toBeLessThanOrEqual(limit * (1 + (at - begin) / MINUTE_MS) * (1 + 1e-6) + 1e-6);
          }
        }
      }),
    );
  });

  test('is full again a minute later, and never fuller', () => {
    let time = 0;
    const budget = createBudget({ rateLimit: 30, now: () => time });
    onTestFinished(() => budget.close());
    const access = holder();
    expect(takeAll(budget, access)).toBe(30);
    time += 10_000;
    expect(takeAll(budget, access)).toBe(5);
    time += 3_600_000;
    expect(takeAll(budget, access)).toBe(30);
  });

  test('takes all of a minute for what costs more than that, so that it can be done at all', () => {
    let time = 0;
    const budget = createBudget({ rateLimit: 10, now: () => time });
    onTestFinished(() => budget.close());
    const access = holder();
    expect(tryTake(budget, access, 50_000)).toBe(0);
    expect(tryTake(budget, access, 50_000)).toBe(MINUTE_MS);
    time += MINUTE_MS;
    expect(tryTake(budget, access, 50_000)).toBe(0);
  });

  test('follows a limit that is changed', () => {
    const budget = createBudget({ rateLimit: 10, now: () => 0 });
    onTestFinished(() => budget.close());
    const id = randomUUID();
    expect(takeAll(budget, holder(null, id))).toBe(10);
    expect(takeAll(budget, holder(15, id))).toBe(5);
    expect(tryTake(budget, holder(5, id))).toBe((11 * MINUTE_MS) / 5);
  });

  test('is not there where nothing is limited, but for keys that are', () => {
    const budget = createBudget({ rateLimit: 0, now: () => 0 });
    onTestFinished(() => budget.close());
    for (let n = 0; n < 1_000; n++) budget.take(holder(null, 'one'), ANYWHERE, 50_000);
    for (let n = 0; n < 1_000; n++) budget.take(null, ANYWHERE, 50_000);
    expect(takeAll(budget, holder(3))).toBe(3);
    expect(budget.counts.refused).toBe(1);
  });

  test('of each credential and each address is its own; one network of IPv6 has one', () => {
    const budget = createBudget({ rateLimit: 4, now: () => 0 });
    onTestFinished(() => budget.close());
    expect([holder(), holder()].map((one) => takeAll(budget, one))).toEqual([4, 4]);
    const from = (address: string) => ({ address, userAgent: null });
    const spend = (address: string) => {
      let taken = 0;
      while (tryTake(budget, null, 1, from(address)) === 0) taken += 1;
      return taken;
    };
    expect(['192.0.2.1', '192.0.2.2', '2001:db8:1:2::1'].map(spend)).toEqual([4, 4, 4]);
    expect(['192.0.2.1', '2001:db8:1:2:ffff::9', '2001:0DB8:1:2::', '2001:db8:1:3::1'].map(spend)).toEqual([
      0, 0, 0, 4,
    ]);
    expect(networkOf('::1')).toBe('0:0:0:0::/64');
    expect(networkOf('1::2:3:4:5:6:7')).toBe('1:0:2:3::/64');
  });

  test('is forgotten when there are too many, so that made-up addresses take bounded memory', () => {
    const budget = createBudget({ rateLimit: 2, now: () => 0 });
    onTestFinished(() => budget.close());
    const first = holder();
    expect(takeAll(budget, first)).toBe(2);
    for (let n = 1; n < MOST_BUCKETS; n++) budget.take(holder(), ANYWHERE, 2);
    expect(takeAll(budget, first)).toBe(0);
    budget.take(holder(), ANYWHERE, 2);
    expect(takeAll(budget, first)).toBe(2);
  });
});
