// What each command needs before it runs, in order. A step that is up to date costs a few hashes; the lock is taken
// only when there is something to do, so a warm start waits for nobody.
import { packages } from './packages.js';
import { python } from './python.js';
import { Interrupted, Refused } from './process.js';
import { current, perform, withLock } from './step.js';
import { system } from './system.js';
import { client, dashboard, queries } from './generated.js';

/** @typedef {import('./step.js').Step} Step */

/** @type {Record<string, Step[]>} */
const plans = {
  start: [packages, client, queries, dashboard],
  dev: [packages, client, queries, dashboard],
  server: [packages, client],
  tools: [packages],
  test: [packages, system, client, queries, dashboard, python],
};

/**
 * Brings the checkout to where `command` can run, or says what to do and exits 1.
 * @param {string} command
 */
export async function setUp(command) {
  try {
    await bringUpToDate(command);
  } catch (error) {
    if (error instanceof Refused) console.error(error.message);
    else if (!(error instanceof Interrupted)) throw error;
    process.exit(error instanceof Interrupted ? error.exitCode : 1);
  }
}

/**
 * Runs the steps of `command` that are out of date, one after another; throws Refused at the first that fails.
 * @param {string} command
 */
export async function bringUpToDate(command) {
  const steps = plans[command];
  if (!steps) throw new Error(`no such set-up: ${command} (there are ${Object.keys(plans).join(', ')})`);
  if (steps.every(current)) return;
  await withLock(async () => {
    for (const step of steps) if (!current(step)) await perform(step);
  });
}
