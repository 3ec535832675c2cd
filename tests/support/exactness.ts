// What must hold of a run when all is said: it has what its writers were told it has, each batch once and whole, and
// whoever watched saw just that.
import { expect } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { must } from './client.ts';
import type { Random } from './random.ts';
import type { Subscriber } from './subscriber.ts';
import { type Server, stepsOf, valueAt, type Written } from './writer.ts';

interface Stored {
  steps: number[];
  values: number[];
}

/** Where two columns differ first, or null. (A matcher would print millions of points, and take minutes over it.) */
function difference(found: Stored, expected: Stored): string | null {
  const { steps, values } = expected;
  if (found.steps.length !== found.values.length) return `${found.steps.length} steps, ${found.values.length} values`;
  const at = steps.findIndex((step, i) => found.steps[i] !== step || !Object.is(found.values[i], values[i]));
  if (at !== -1)
    return `at ${at} of ${steps.length}: (${found.steps[at]}, ${found.values[at]}), not (${steps[at]}, ${values[at]})`;
  if (found.steps.length > steps.length) return `${found.steps.length} points, not ${steps.length}`;
  return null;
}

/** Read as a client reads it: page by page. */
export async function readStored(
  { url, apiKey }: Server,
  runId: string,
  name: string,
  tag: string,
  pageSize: number,
): Promise<Stored> {
  const query = `query($id: ID!, $name: String!, $tag: String!, $first: Int!, $after: String) { run(id: $id) {
    points(name: $name, tag: $tag, first: $first, after: $after) { steps values hasNextPage endCursor } } }`;
  const stored: Stored = { steps: [], values: [] };
  for (let after: string | null = null; ;) {
    const { run } = await must(url, apiKey, query, { id: runId, name, tag, first: pageSize, after });
    for (const step of run.points.steps) stored.steps.push(step);
    for (const value of run.points.values) stored.values.push(value);
    if (!run.points.hasNextPage) return stored;
    after = run.points.endCursor;
  }
}

export async function cursorOf({ url, apiKey }: Server, runId: string): Promise<number> {
  const { run } = await must(url, apiKey, 'query($id: ID!) { run(id: $id) { cursor } }', { id: runId });
  return Number(run.cursor);
}

/** Every batch that was acknowledged is there, whole, and counted once. */
export async function expectStored(
  server: Server,
  runId: string,
  written: readonly Written[],
  random: Random,
): Promise<Map<string, Stored>> {
  const total = written.reduce((sum, { batches }) => sum + batches, 0);
  expect(total).toBeGreaterThan(0);
  expect(await cursorOf(server, runId)).toBe(total);
  const all = new Map<string, Stored>();
  for (const { id, batches, points } of written) {
    const steps = Array.from({ length: batches }, (_, index) => stepsOf(index + 1, points)).flat();
    for (const metric of ['loss', 'acc']) {
      // In several pages, but not in many: what is behind a page may be read again for it.
      const pageSize = Math.min(limits.pointsPageSize, Math.ceil(steps.length / random.integer(2, 9)));
      const stored = await readStored(server, runId, metric, id, pageSize);
      expect({ metric, id, difference: difference(stored, { steps, values: steps.map(valueAt) }) }).toEqual({
        metric,
        id,
        difference: null,
      });
      all.set(`${metric} ${id}`, stored);
    }
  }
  return all;
}

/** Each saw each point once, and in the order of the cursors. */
export function expectSeen(subscribers: readonly Subscriber[], stored: ReadonlyMap<string, Stored>): void {
  for (const { seen, faults } of subscribers) {
    expect(faults).toEqual([]);
    const bySeries = Map.groupBy(seen, ({ metric, tag }) => `${metric} ${tag}`);
    expect([...bySeries.keys()].toSorted()).toEqual([...stored.keys()].toSorted());
    for (const [series, points] of bySeries) {
      const inOrder = points.toSorted((a, b) => a.step - b.step);
      const found = { steps: inOrder.map(({ step }) => step), values: inOrder.map(({ value }) => value) };
      expect({ series, difference: difference(found, stored.get(series)!) }).toEqual({ series, difference: null });
    }
  }
}
