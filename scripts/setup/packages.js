// npm's packages, Node 24 among them. node_modules is right when it holds what the lock file names for this machine,
// whoever installed it; npm writes its own list of that last, so a half-made folder has none.
import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Refused, machineEnv, mustRun, projectEnv, root, run } from './process.js';
import { digest } from './step.js';

/** @typedef {{ version?: string, optional?: boolean, link?: boolean, os?: string | string[], cpu?: string | string[], libc?: string[] }} Locked */

const hiddenLock = 'node_modules/.package-lock.json';

/** @param {string} path */
const json = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));

/** @type {import('./step.js').Step} */
export const packages = {
  name: 'packages',
  says: 'Installing packages',
  inputs: () => [digest(['package-lock.json']), dependencies(), process.platform, process.arch],
  traces: () => [digest([hiddenLock])],
  outputs: ['node_modules/.bin/node'],
  run: install,
  hint: 'Check the network and the messages above, then run the same command again.',
  alreadyDone: installed,
};

/** What the manifests ask for; the rest of package.json may change without an installation. */
function dependencies() {
  return JSON.stringify(
    ['package.json', 'web/package.json'].map((path) => {
      const { dependencies, devDependencies, optionalDependencies, allowScripts, overrides } = json(path);
      return [dependencies, devDependencies, optionalDependencies, allowScripts, overrides];
    }),
  );
}

async function install() {
  if (!installed()) {
    const command = existsSync(join(root, 'package-lock.json')) ? 'ci' : 'install';
    rmSync(join(root, hiddenLock), { force: true }); // so that a half-removed folder is not taken for a whole one
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    const env = { ...machineEnv, PRISMA_SCHEMA_ENGINE_BINARY: projectEnv.PRISMA_SCHEMA_ENGINE_BINARY };
    await mustRun(['npm', command, '--include=dev', '--include=optional', ...quiet], { env });
  }
  linkNode();
  const { code, output } = await run(['node', '--version']);
  if (code === 0 && /^v(2[4-9]|[3-9]\d)\./.test(output)) return;
  throw new Refused(
    `Node 24 came with the packages but does not run here (${process.platform} ${process.arch}).\n` +
      'Runtide runs on Linux with glibc and on macOS, on x64 and arm64.',
  );
}

/** npm 10 takes the link away again when it skips the packages of other platforms, which have one of the same name. */
function linkNode() {
  const link = join(root, 'node_modules/.bin/node');
  if (existsSync(link)) return;
  for (const name of Object.keys(json('package.json').optionalDependencies)) {
    const manifest = `node_modules/${name}/package.json`;
    if (!existsSync(join(root, manifest))) continue;
    rmSync(link, { force: true });
    symlinkSync(join('..', name, json(manifest).bin.node), link);
  }
}

/** Whether node_modules is already what `npm ci` would make here. */
function installed() {
  if (!existsSync(join(root, hiddenLock)) || !existsSync(join(root, 'package-lock.json'))) return false;
  /** @type {Record<string, Locked>} */
  const locked = json('package-lock.json').packages;
  /** @type {Record<string, Locked>} */
  const present = json(hiddenLock).packages;
  for (const [manifest, name] of /** @type {const} */ ([
    ['package.json', ''],
    ['web/package.json', 'web'],
  ])) {
    for (const kind of /** @type {const} */ (['dependencies', 'devDependencies', 'optionalDependencies'])) {
      const asked = json(manifest)[kind] ?? {};
      const known = /** @type {any} */ (locked[name])?.[kind] ?? {};
      for (const key of Object.keys({ ...asked, ...known })) if (asked[key] !== known[key]) return false;
    }
  }
  return Object.entries(locked).every(([path, { version, link, ...rest }]) => {
    if (!path.includes('node_modules/') || link) return true;
    const here = present[path];
    if (!here) return rest.optional === true && !isForThisMachine(rest);
    return here.version === version && existsSync(join(root, path));
  });
}

/** Says yes only when it is sure: a package that names no machine, or a C library, is left to npm. @param {Locked} locked */
function isForThisMachine({ os, cpu, libc }) {
  return !libc && [os].flat().includes(process.platform) && [cpu].flat().includes(process.arch);
}
