// A step of the set-up: what it reads, what it makes, how. Its stamp is written after it succeeded and removed before
// it runs, so that one cut off in the middle starts again.
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { linkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Refused, root } from './process.js';

/**
 * @typedef {object} Step
 * @property {string} name  of the stamp
 * @property {string} says  what people read while it runs
 * @property {() => string[]} inputs  what decides whether it must run again: `digest`s, versions, paths
 * @property {string[]} outputs  what must be there for it to count as done
 * @property {() => Promise<void>} run  throws Refused with the tool's output
 * @property {string} hint  what to do when it fails
 * @property {() => string[]} [traces]  what it leaves that must stay as it left it
 * @property {() => boolean} [alreadyDone]  someone else did its work, and right
 * @property {string} [stamp]  where its stamp lies, when it should outlive node_modules
 */

const skipped = new Set(['node_modules', 'build', '.svelte-kit']);

/**
 * A hash of names and contents of files and of everything in folders; what is absent counts as absent.
 * @param {string[]} paths from the root
 * @param {(path: string) => boolean} [counts] which files count
 */
export function digest(paths, counts = () => true) {
  const hash = createHash('sha256');
  /** @param {string} path */
  const add = (path) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      for (const name of readdirSync(join(root, path)).toSorted()) {
        if (!skipped.has(name)) add(join(path, name));
      }
      return;
    }
    if (!counts(path)) return;
    hash.update(`${path}\0${stat ? stat.size : 'absent'}\0`);
    if (stat?.isFile()) hash.update(readFileSync(join(root, path)));
  };
  for (const path of paths) add(path);
  return hash.digest('hex');
}

/** @param {Step} step */
const stampOf = (step) => join(root, step.stamp ?? join('node_modules', '.runtide', step.name));

/** @param {string[]} [parts] */
const hashed = (parts = []) => createHash('sha256').update(parts.join('\n')).digest('hex');

/** @param {Step} step */
function writeStamp(step, inputs = hashed(step.inputs())) {
  mkdirSync(dirname(stampOf(step)), { recursive: true });
  writeFileSync(stampOf(step), `${inputs} ${hashed(step.traces?.())}`);
}

/** @param {Step} step */
export function current(step) {
  const there = step.outputs.every((path) => existsSync(join(root, path)));
  const stamp = there && existsSync(stampOf(step)) && readFileSync(stampOf(step), 'utf8');
  if (stamp === `${hashed(step.inputs())} ${hashed(step.traces?.())}`) return true;
  if (!there || !step.alreadyDone?.()) return false;
  writeStamp(step);
  return true;
}

/** @param {number} ms */
const seconds = (ms) => (ms < 9_950 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)) + ' s';

/** @param {Step} step */
export async function perform(step) {
  const started = performance.now();
  const took = () => seconds(performance.now() - started);
  process.stdout.write(`${step.says}…`);
  const inputs = hashed(step.inputs()); // as they are now: what changes meanwhile makes it stale again
  rmSync(stampOf(step), { force: true });
  try {
    await step.run();
  } catch (error) {
    process.stdout.write(error instanceof Refused ? ` failed after ${took()}\n` : ' stopped\n');
    if (!(error instanceof Refused)) throw error;
    throw new Refused(`${error.message}\n\n${step.says} failed. ${step.hint}`, { cause: error });
  }
  process.stdout.write(` ${took()}\n`);
  writeStamp(step, inputs);
}

const abandonedAfterMs = 15_000;

/** What the lock says of its holder: a process and a word of its own; empty when nobody holds it. @param {string} lock */
function holderOf(lock) {
  try {
    return readFileSync(lock, 'utf8');
  } catch {
    return '';
  }
}

/**
 * @param {string} lock
 * @param {string} holder
 */
function abandoned(lock, holder) {
  try {
    process.kill(Number(holder.split(' ')[0]), 0);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH') return true;
  }
  const stat = statSync(lock, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > abandonedAfterMs;
}

/**
 * Takes an abandoned lock away, and puts it back when someone else had replaced it meanwhile.
 * @param {string} lock
 * @param {string} holder
 */
function removeAbandoned(lock, holder) {
  const aside = `${lock}.${randomUUID()}`;
  try {
    renameSync(lock, aside);
    if (holderOf(aside) !== holder) linkSync(aside, lock);
  } catch {
    // Gone, or taken again: the next attempt to take it tells.
  }
  rmSync(aside, { force: true });
}

/**
 * One set-up of this checkout at a time, whichever command started it. A holder that died, or has not touched its lock
 * for a while, holds nothing.
 * @param {() => Promise<void>} work
 */
export async function withLock(work, lock = join(root, '.setup.lock')) {
  const mine = `${process.pid} ${randomUUID()}`;
  for (let told = false; ;) {
    try {
      writeFileSync(lock, mine, { flag: 'wx' });
      break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    const holder = holderOf(lock);
    if (abandoned(lock, holder)) {
      removeAbandoned(lock, holder);
      continue;
    }
    if (!told) console.log('Another command is setting up this folder; waiting for it…');
    told = true;
    await sleep(200);
  }
  const beat = setInterval(() => {
    if (holderOf(lock) === mine) utimesSync(lock, new Date(), new Date());
  }, 2_000);
  try {
    await work();
  } finally {
    clearInterval(beat);
    if (holderOf(lock) === mine) rmSync(lock);
  }
}
