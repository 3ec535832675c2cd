// How many passwords are hashed at once, whoever asks.
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createTurns } from '../../../src/identity/sign-in/turns.ts';
import { startApp } from '../../support/app.ts';
import { post } from '../../support/identity.ts';

test('two at once, in the order in which they came, also after one that failed', async () => {
  const turns = createTurns();
  const began: number[] = [];
  const ends: (() => void)[] = [];
  const work = (n: number) => () => {
    began.push(n);
    return new Promise<number>((resolve, reject) =>
      ends.push(() => (n === 0 ? reject(new Error('it failed')) : resolve(n))),
    );
  };
  const taken = Array.from({ length: 6 }, (_, n) => turns.take(`network ${n}`, work(n)));
  const settled = Promise.allSettled(taken.map((one) => one ?? Promise.reject(new Error('nobody waits'))));
  for (let n = 0; n < 6; n++) {
    await setImmediate();
    expect(began.length).toBe(Math.min(n + 2, 6));
    ends[n]?.();
  }
  expect(began).toEqual([0, 1, 2, 3, 4, 5]);
  expect((await settled).map(({ status }) => status)).toEqual(['rejected', ...Array(5).fill('fulfilled')]);
  await expect(turns.take('late', () => Promise.resolve('at once'))).resolves.toBe('at once');
});

test('who waits is bounded, of one network and of all', async () => {
  const turns = createTurns();
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const come = (network: string) => turns.take(network, () => ended);
  const many = Array.from({ length: 200 }, () => come('one'));
  expect(many.filter((one) => one !== null)).toHaveLength(52);
  const others = Array.from({ length: 200 }, (_, n) => come(`other ${n}`));
  expect(others.filter((one) => one !== null)).toHaveLength(50);
  end();
  await Promise.all([...many, ...others]);
  expect(await turns.take('one', () => Promise.resolve(1))).toBe(1);
});

test('registrations at once leave the database to others', { timeout: 60_000 }, async () => {
  await using app = await startApp({ trustProxy: ['loopback'] });
  const query = 'mutation { createRun(input: {}) { run { id } } }';
  const registering = Promise.all(
    Array.from({ length: 120 }, (_, n) => {
      const person = { username: `crowd-${n}`, email: `crowd-${n}@example.org`, password: 'correct horse' };
      return post(app, '/sign-up/email', person, { 'x-forwarded-for': `198.51.100.${n}` });
    }),
  );
  const times: number[] = [];
  for (let n = 0; n < 20; n++) {
    const began = performance.now();
    expect((await app.request(query)).errors).toBeUndefined();
    times.push(performance.now() - began);
  }
  expect(Math.max(...times)).toBeLessThan(1_500);
  const statuses = (await registering).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([200, 429]));
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(100);
  const late = (await registering).find(({ status }) => status === 429);
  expect([late?.body.code, late?.headers.get('retry-after')]).toEqual(['RATE_LIMITED', '2']);
});
