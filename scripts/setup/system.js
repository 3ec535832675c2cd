// Programs that the tests need and npm cannot bring: a browser, a Redis, a Python that can make environments. Installs
// what is missing where it may without asking; elsewhere it names the packages and stops.
import { accessSync, constants, existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Refused, machineEnv, run } from './process.js';

const chromiumNames = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const macApplications = ['Google Chrome', 'Chromium'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`);
const redisNames = ['redis-server', 'valkey-server'];
const pythonNames = ['python3', ...[14, 13, 12, 11, 10].map((minor) => `python3.${minor}`)];

/** The browser for the browser tests; RUNTIDE_TEST_CHROMIUM goes first. */
export function findChromium() {
  return process.env.RUNTIDE_TEST_CHROMIUM || onPath(chromiumNames) || macApplications.find((path) => existsSync(path));
}

/** A Redis or Valkey that tests start for themselves; RUNTIDE_TEST_REDIS_SERVER goes first. */
export function findRedis() {
  return process.env.RUNTIDE_TEST_REDIS_SERVER || onPath(redisNames);
}

/** The first Python of 3.10 or later that can make a virtual environment. */
export async function findPython() {
  const check = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))';
  for (const name of pythonNames) {
    const path = onPath([name]);
    if (path && (await run([path, '-c', check])).code === 0) return path;
  }
  return undefined;
}

/** @param {string[]} names */
function onPath(names) {
  for (const name of names) {
    for (const folder of (machineEnv.PATH ?? '').split(delimiter)) {
      try {
        const path = join(folder, name);
        accessSync(path, constants.X_OK);
        if (statSync(path).isFile()) return path;
      } catch {
        // Not here.
      }
    }
  }
  return undefined;
}

/** Changes when the program is replaced, so that it is tried again. @param {string | undefined} path */
const identity = (path) => (path && existsSync(path) ? `${realpathSync(path)} ${statSync(path).mtimeMs}` : 'absent');

/** @type {import('./step.js').Step} */
export const system = {
  name: 'system',
  says: 'Looking for a browser, a Redis and a Python for the tests',
  inputs: () => [],
  traces: () => [findChromium(), findRedis(), onPath(pythonNames)].map(identity),
  outputs: [],
  async run() {
    let missing = await absent();
    if (missing.size === 0) return;
    const manager = managers.find(({ program }) => onPath([program]));
    const refusal = manager ? await install(manager, [...missing.keys()]) : '';
    missing = await absent();
    if (missing.size === 0) return;
    const names = [...missing].map(([need, why]) => `  ${needs[need]}: ${why}`).join('\n');
    const sudo = manager?.asRoot && process.getuid?.() !== 0 ? 'sudo ' : '';
    const command = manager ? `\nInstall with: ${sudo}${manager.line([...missing.keys()]).join(' ')}` : '';
    throw new Refused(`${refusal}Missing:\n${names}${command}`);
  },
  hint: 'Install what is named above, then run the same command again.',
};

/** @typedef {'chromium' | 'redis' | 'python'} Need */

/** @type {Record<Need, string>} */
const needs = {
  chromium: 'Chromium or Google Chrome (RUNTIDE_TEST_CHROMIUM names one elsewhere)',
  redis: 'a Redis or Valkey server (RUNTIDE_TEST_REDIS_SERVER names one elsewhere)',
  python: 'Python 3.10 or later with its venv module',
};

/** Those that are not there, or there but do not run (Ubuntu's chromium-browser is a shell around a snap), and why. */
async function absent() {
  const reasons = /** @type {[Need, string][]} */ ([
    ['chromium', await whyNot(findChromium())],
    ['redis', await whyNot(findRedis())],
    ['python', (await findPython()) ? '' : 'not found'],
  ]);
  return new Map(reasons.filter(([, why]) => why));
}

/** @param {string | undefined} path */
async function whyNot(path) {
  if (!path) return 'not found';
  const { code, output } = await run([path, '--version']);
  return code === 0 ? '' : `${path} does not run: ${output.trim()}`;
}

/** @typedef {{ program: string, asRoot: boolean, refresh?: string[], line: (missing: Need[]) => string[] }} Manager */

/** @type {Manager[]} */
const managers = [
  { program: 'apt-get', asRoot: true, refresh: ['apt-get', 'update'], line: (missing) => aptLine(missing) },
  { program: 'dnf', asRoot: true, line: (missing) => ['dnf', 'install', '-y', ...missing.map((need) => dnf[need])] },
  { program: 'brew', asRoot: false, line: (missing) => ['brew', 'install', ...missing.map((need) => brew[need])] },
];
const dnf = { chromium: 'chromium', redis: '/usr/bin/redis-server', python: 'python3' };
const brew = { chromium: 'google-chrome', redis: 'redis', python: 'python@3.13' };

/** @param {Need[]} missing */
function aptLine(missing) {
  const ubuntu = existsSync('/etc/os-release') && /^ID=ubuntu$/m.test(readFileSync('/etc/os-release', 'utf8'));
  const apt = { chromium: [ubuntu ? 'chromium-browser' : 'chromium'], redis: ['redis-server'] };
  const names = missing.flatMap((need) => (need === 'python' ? ['python3', 'python3-venv'] : apt[need]));
  return ['apt-get', 'install', '--yes', '--no-install-recommends', ...names];
}

/**
 * Ends with what went wrong, if it knows; the caller looks again.
 * @param {Manager} manager
 * @param {Need[]} missing
 */
async function install({ asRoot, refresh, line }, missing) {
  const isRoot = process.getuid?.() === 0;
  if (asRoot && !isRoot && (await run(['sudo', '-n', 'true'])).code !== 0) return '';
  process.stdout.write(` installing ${missing.join(', ')}…`);
  // Debian starts a service as soon as it is installed: a runlevel without services (sysvinit) and a mask (systemd)
  // keep it from that, and it stays off afterwards. A Redis that was there before is not touched.
  const asService = missing.includes('redis') && line([]).includes('apt-get') && existsSync('/run/systemd/system');
  const quiet = ['DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1'];
  /** @param {string[]} command */
  const privileged = (command) =>
    run([...(asRoot ? [...(isRoot ? [] : ['sudo', '-n']), 'env', ...quiet] : []), ...command], { env: machineEnv });
  if (refresh) await privileged(refresh);
  if (asService) await privileged(['systemctl', 'mask', '--runtime', 'redis-server.service']);
  const { code, output } = await privileged(line(missing));
  if (asService) {
    await privileged(['systemctl', 'unmask', '--runtime', 'redis-server.service']);
    await privileged(['systemctl', 'disable', 'redis-server.service']);
  }
  return code === 0 ? '' : `${output.trimEnd()}\n\n`;
}
