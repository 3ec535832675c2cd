// Who goes into a commit with whom.
import { expect, test } from 'vitest';
import { ALONE, createGroups, type Member } from '../../../src/metrics/append/groups.ts';

interface One extends Member {
  name: string;
}

/** Sends when told, and keeps what was sent together. */
function sender() {
  const groups: string[][] = [];
  const waiting: (() => void)[] = [];
  const add = createGroups<One, string>(async (group) => {
    const names = group.map(({ name }) => name);
    groups.push(names);
    await new Promise<void>((resolve) => waiting.push(resolve));
    if (names.includes('bad')) throw new Error('bad');
    return names.map((name) => `${name} is stored`);
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return {
    groups,
    add: (runId: string, name: string, bytes = 100) => add({ runId, name, bytes }),
    turn,
    finish: async () => {
      for (await turn(); waiting.length > 0; await turn()) waiting.shift()!();
    },
  };
}

test('small ones of different runs go together, large ones alone', async () => {
  const { add, finish, groups } = sender();
  const answers = Promise.all([add('a', 'a1'), add('b', 'b1'), add('c', 'large', 10_000), add('d', 'd1')]);
  await finish();
  expect(await answers).toEqual(['a1 is stored', 'b1 is stored', 'large is stored', 'd1 is stored']);
  expect(groups).toEqual([['a1', 'b1', 'd1'], ['large']]);
});

test('a run stands in a group once, and while it is under way its next ones go alone', async () => {
  const { add, finish, groups } = sender();
  const answers = Promise.all(['a1', 'a2', 'b1', 'a3', 'c1'].map((name) => add(name[0]!, name)));
  await finish();
  await answers;
  expect(groups).toEqual([['a1', 'b1', 'c1'], ['a2'], ['a3']]);
});

test('what comes while the line is full goes together when there is room', async () => {
  const { add, finish, groups, turn } = sender();
  const answers: Promise<string>[] = [];
  for (let n = 0; n < 6; n++) {
    answers.push(add(`first ${n}`, `first ${n}`));
    await turn();
    await turn();
  }
  for (let n = 0; n < 100; n++) answers.push(add(`run ${n}`, `${n}`));
  await finish();
  expect(await Promise.all(answers)).toHaveLength(106);
  expect(groups.map(({ length }) => length)).toEqual([1, 1, 1, 1, 1, 1, 64, 36]);
});

test('nobody waits for company: with room to send, a batch leaves in the turn in which it came', async () => {
  const { add, finish, groups, turn } = sender();
  const first = add('a', 'a1');
  await turn();
  expect(groups).toEqual([['a1']]);
  // That one is still under way, and nothing ends or comes that could set off the next.
  const second = add('b', 'b1');
  await turn();
  expect(groups).toEqual([['a1'], ['b1']]);
  await finish();
  await Promise.all([first, second]);
});

test('one that cannot be stored takes no other with it', async () => {
  const { add, finish, groups } = sender();
  const answers = Promise.allSettled([add('a', 'a1'), add('b', 'bad'), add('c', 'c1')]);
  await finish();
  expect(await answers).toMatchObject([
    { value: 'a1 is stored' },
    { reason: { message: 'bad' } },
    { value: 'c1 is stored' },
  ]);
  expect(groups).toEqual([['a1', 'bad', 'c1'], ['a1'], ['bad'], ['c1']]);
});

test('one that would hold up the others is sent again by itself, at once', async () => {
  const groups: string[][] = [];
  const add = createGroups<One, string>(async (group) => {
    groups.push(group.map(({ name }) => name));
    return group.map(({ name }) => (name === 'held' && group.length > 1 ? ALONE : `${name} is stored`));
  });
  const answers = await Promise.all(['a', 'held', 'b'].map((name) => add({ runId: name, name, bytes: 1 })));
  expect(answers).toEqual(['a is stored', 'held is stored', 'b is stored']);
  expect(groups).toEqual([['a', 'held', 'b'], ['held']]);
});
