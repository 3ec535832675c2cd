// Which mutations leave an entry in the audit log: all but those that are training's own. A mutation that is added leaves
// one, or somebody writes here that it does not. And that no entry holds what would open something.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { mutations } from './cases.ts';
import { createMatrix, type Matrix, outcomeOf } from './matrix.ts';
import { makeWorld } from './world.ts';

/** What programs do all day. Of projects: making one that its workspace sees, and what it is called. */
const SILENT = [
  'acknowledgeRunCommand',
  'appendConsole',
  'createProject',
  'createRun',
  'finishRun',
  'heartbeat',
  'logMetrics',
  'updateProject',
  'updateRun',
];

let app: App;
let matrix: Matrix;
beforeAll(async () => {
  app = await startApp();
  matrix = createMatrix(app, await makeWorld(app));
});
afterAll(() => app[Symbol.asyncDispose]());

test(
  'every mutation but training’s leaves an entry that says who, from where and by what',
  { timeout: 120_000 },
  async () => {
    const { db } = app.engines;
    const silent = new Set<string>();
    for (const [name, one] of Object.entries(mutations)) {
      const who = matrix.those(one, true)[0] as string;
      const world = await makeWorld(app);
      const { id: last } = await db.auditEntry.findFirstOrThrow({ orderBy: { id: 'desc' } });
      const answer = await matrix.ask(world.asking[who]?.credential ?? null, one, world);
      expect([name, outcomeOf(one, answer)]).toEqual([name, 'ok']);
      const entries = await db.auditEntry.findMany({ where: { id: { gt: last } } });
      if (entries.length === 0) silent.add(/^Mutation\.(\w+)/.exec(name)?.[1] ?? name);
      for (const entry of entries)
        expect([name, entry]).toEqual([
          name,
          expect.objectContaining({
            address: '127.0.0.1',
            actorName: expect.stringMatching(/./),
            credentialKind: expect.stringMatching(/^(session|key|token)$/),
            credentialId: expect.stringMatching(/^[\da-f-]{36}$/),
          }),
        ]);
    }
    expect([...silent].toSorted()).toEqual(SILENT);
    const all = JSON.stringify(await db.auditEntry.findMany());
    expect(all).not.toMatch(/\brt[a-z]_\w{20}|eyJ[\w-]{10}|scrypt|password"/);
  },
);
