// What CI and people run: every check and every suite of the project, to the end even when one fails, and one last line
// that counts them all. `npm run check -- lint types` runs those alone, `npm run format` mends what can be mended.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Interrupted, projectEnv, root, run } from './setup/process.js';
import { findChromium, findRedis } from './setup/system.js';

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

interface Check {
  /** `kind` or `kind:part`: either word, or the whole, selects it. */
  name: string;
  command: string[];
  cwd?: string;
  /** Left out where this is absent. */
  source?: string;
  /** Makes a suite of it: reads the report that `command` wrote. */
  tally?: () => Tally;
}

// Many times what they take: a check that hangs fails, and says where it was, while whoever waits is still there.
const staticLimitMs = 5 * 60_000;
const suiteLimitMs = 15 * 60_000;

const reports = mkdtempSync(join(tmpdir(), 'runtide-check-'));
const vitestReport = join(reports, 'vitest.json');
const pytestReport = join(reports, 'pytest.xml');
const python = 'sdks/python';
const venv = (program: string) => join(root, python, '.venv/bin', program);
const ruff = (...args: string[]) => ({
  command: [venv('ruff'), ...args, '--quiet', '--config=pyproject.toml', '.', '../../examples'],
  cwd: join(root, python),
});

const statics: Check[] = [
  { name: 'lint', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'types', command: ['tsc'] },
  { name: 'types:web', command: ['npm', 'run', '--silent', 'check', '--workspace=web'] },
  { name: 'format', command: ['prettier', '--check', '--log-level=warn', '.'] },
  { name: 'drift:lock', command: ['node', 'scripts/complete-lock.js', '--check'] },
  { name: 'drift:schema', command: ['node', 'scripts/print-schema.ts', '--check'] },
  {
    name: 'drift:config',
    command: ['node', 'scripts/print-config-docs.ts', '--check'],
  },
  { name: 'lint:python', ...ruff('check') },
  { name: 'format:python', ...ruff('format', '--check') },
  { name: 'types:python', command: [venv('mypy'), '--no-error-summary'], cwd: join(root, python) },
];

const suites: Check[] = [
  {
    name: 'tests',
    command: ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${vitestReport}`],
    tally: vitestTally,
  },
  {
    name: 'tests:python',
    command: [venv('pytest'), '-q', `--junitxml=${pytestReport}`],
    cwd: join(root, python),
    tally: pytestTally,
  },
];

const repairs: Check[] = [
  { name: 'lint', command: ['oxlint', '--type-aware', '--fix'] },
  { name: 'lint:python', ...ruff('check', '--fix'), source: venv('ruff') },
  { name: 'format', command: ['prettier', '--write', '--log-level=warn', '.'] },
  { name: 'format:python', ...ruff('format'), source: venv('ruff') },
];

function vitestTally(): Tally {
  const report = JSON.parse(readFileSync(vitestReport, 'utf8')) as {
    numPassedTests: number;
    numFailedTests: number;
    numPendingTests: number;
    numTodoTests: number;
    testResults: { status: string; assertionResults: { status: string }[] }[];
  };
  // A file that could not be loaded, or whose hooks failed, has no failed test of its own.
  const files = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + files.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

function pytestTally(): Tally {
  const suite = /<testsuite [^>]*>/.exec(readFileSync(pytestReport, 'utf8'))?.[0] ?? '';
  const count = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  return { passed: count('tests') - failed - count('skipped'), failed, skipped: count('skipped') };
}

/** A tool that fails without a failed test, and a suite without any test, count as one failure. */
function counted(check: Check, code: number): Tally {
  if (!check.tally) return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
  let tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  try {
    tally = check.tally();
  } catch {
    // No report: the tool ended before it had one.
  }
  const broken = tally.failed === 0 && (code !== 0 || tally.passed === 0);
  return broken ? { ...tally, failed: 1 } : tally;
}

// Whoever has a server configured in this shell does not want its data in the tests' hands, and colours spoil a log.
const configured = /^(FORCE_COLOR|DATABASE_URL|REDIS_URL|RUNTIDE_(?!TEST_).*|(S3|MINIO|JWT)_.*)$/;
const env = {
  ...Object.fromEntries(Object.entries(projectEnv).filter(([name]) => !configured.test(name))),
  NO_COLOR: '1',
  RUNTIDE_TEST_CHROMIUM: findChromium(),
  RUNTIDE_TEST_REDIS_SERVER: findRedis(),
};
const total: Tally = { passed: 0, failed: 0, skipped: 0 };

async function perform(check: Check): Promise<void> {
  const started = performance.now();
  const limitMs = check.tally ? suiteLimitMs : staticLimitMs;
  const { code, output } = await run(check.command, { cwd: check.cwd ?? root, env, limitMs });
  const tally = counted(check, code);
  total.passed += tally.passed;
  total.failed += tally.failed;
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
  const skipped = tally.skipped ? `, ${tally.skipped} skipped` : '';
  const counts = check.tally ? `  ${tally.passed} passed, ${tally.failed} failed${skipped}` : '';
  console.log(`${tally.failed ? 'FAIL' : 'ok  '}  ${check.name.padEnd(14)}${seconds} s${counts}`);
  if (tally.failed === 0) return;
  console.log(
    output
      .replace(/^\s*\n/, '')
      .trimEnd()
      .replaceAll(/^(?=.)/gm, '      '),
  );
  if (check.tally && tally.passed + tally.failed === 1 && code === 0) console.log('      no test ran');
}

async function inParallel(checks: Check[], width: number): Promise<void> {
  const queue = [...checks];
  const worker = async () => {
    for (let check = queue.shift(); check; check = queue.shift()) await perform(check);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function selected(checks: Check[], words: string[]): Check[] {
  const unknown = words.filter((word) => !checks.some(({ name }) => [name, ...name.split(':')].includes(word)));
  if (unknown.length > 0) {
    console.error(`No such check: ${unknown.join(', ')}. There are: ${checks.map(({ name }) => name).join(', ')}`);
    process.exitCode = 2;
    return [];
  }
  return checks.filter(
    ({ name, source }) =>
      (words.length === 0 || words.some((word) => [name, ...name.split(':')].includes(word))) &&
      (!source || existsSync(resolve(root, source))),
  );
}

const words = process.argv.slice(2).filter((word) => word !== '--fix');
const fixing = process.argv.includes('--fix');
try {
  const chosen = selected(fixing ? repairs : [...statics, ...suites], words);
  // Tools that write the same files go one after another, and so do suites: each uses all cores by itself.
  await inParallel(
    chosen.filter((check) => statics.includes(check)),
    Math.min(availableParallelism(), 4),
  );
  await inParallel(
    chosen.filter((check) => !statics.includes(check)),
    1,
  );
} catch (error) {
  if (!(error instanceof Interrupted)) throw error;
  process.exitCode = error.exitCode;
} finally {
  rmSync(reports, { recursive: true, force: true });
}
if (process.exitCode === undefined) {
  console.log(`${total.passed} passed, ${total.failed} failed`);
  if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
}
