// What is made from sources and not committed: Prisma's client, the dashboard's GraphQL types, the dashboard itself.
import { join } from 'node:path';
import { mustRun, root } from './process.js';
import { digest } from './step.js';

/** @typedef {import('./step.js').Step} Step */

const hint = 'Mend what the messages above name, then run the same command again.';

/** @type {Step} */
export const client = {
  name: 'client',
  says: 'Generating the database client',
  inputs: () => [digest(['prisma/schema.prisma', 'prisma.config.ts', ...versions('prisma', '@pothos/plugin-prisma')])],
  outputs: ['src/generated/prisma/client.ts', 'src/generated/pothos.ts'],
  run: () => mustRun(['prisma', 'generate']),
  hint,
};

/** @type {Step} */
export const queries = {
  name: 'queries',
  says: 'Generating the types of the dashboard’s queries',
  inputs: () => [
    digest(['schema.graphql', 'codegen.ts', ...versions('@graphql-codegen/cli', '@graphql-codegen/client-preset')]),
    digest(['web/src'], (path) => path.endsWith('.ts') && !path.includes('generated')), // the documents among them
  ],
  outputs: ['web/src/lib/generated'],
  run: () => mustRun(['graphql-codegen', '--config', 'codegen.ts']),
  hint,
};

/** @type {Step} */
export const dashboard = {
  name: 'dashboard',
  says: 'Building the dashboard',
  inputs: () => [digest(['web', 'package-lock.json'])],
  outputs: ['web/build/index.html'],
  run: () => mustRun(['vite', 'build'], { cwd: join(root, 'web') }),
  hint,
};

/** @param {string[]} names */
function versions(...names) {
  return names.map((name) => `node_modules/${name}/package.json`);
}
