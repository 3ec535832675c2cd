// The Python client's own environment, for its tests and the examples.
import { join } from 'node:path';
import { mustRun, root } from './process.js';
import { digest } from './step.js';
import { findPython } from './system.js';

const folder = 'sdks/python/.venv';

/** @type {import('./step.js').Step} */
export const python = {
  name: 'python',
  says: 'Installing the Python client and its tests',
  inputs: () => [digest(['sdks/python/pyproject.toml'])],
  traces: () => [digest([`${folder}/pyvenv.cfg`])],
  outputs: [`${folder}/bin/python`],
  stamp: `${folder}/.runtide`,
  async run() {
    await mustRun([(await findPython()) ?? 'python3', '-m', 'venv', '--clear', folder]);
    const pip = [join(root, folder, 'bin/python'), '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet'];
    await mustRun([...pip, '--editable', 'sdks/python[dev]']);
  },
  hint: 'Check the network and the messages above, then run the same command again.',
};
