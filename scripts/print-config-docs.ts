// Prints docs/configuration.md and .env.example from the table in src/config.ts. --check: says whether they differ.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { format } from 'prettier';
import { variables } from '../src/config.ts';

const all = Object.values(variables);
const cell = (text: string) => text.replaceAll('|', '\\|') || '–';

const table = await format(
  [
    '# Configuration',
    '',
    '<!-- Printed from src/config.ts by `npm run docs:config`: change it there. -->',
    '',
    'Every setting is an environment variable. The server also reads a file `.env` in the folder it is started in; the real environment wins. A wrong value ends the start with exit code 2 and a list of all that is wrong. With nothing set, the server runs on this machine alone with its own PostgreSQL.',
    '',
    '| variable | type | default | bounds | what it does |',
    '| --- | --- | --- | --- | --- |',
    ...all.map((one) => {
      const names = [one.name, ...one.aliases].map((name) => `\`${name}\``).join(', also ');
      return `| ${names} | ${one.type} | ${cell(one.defaultText)} | ${cell(one.bounds)} | ${cell(one.description)} |`;
    }),
    '',
    'Instead of `NAME`, each can be given as `NAME_FILE`: the path of a file that holds the value, as container engines hand out secrets.',
    '',
    'Secrets that nobody sets are made at the first start and kept in the data folder under `secrets/`, readable by their owner alone. Secrets that are short, or that look like an example, are refused.',
  ].join('\n'),
  { parser: 'markdown' },
);

const example = [
  '# Copy to .env and take the # away from what you set. What each means: docs/configuration.md',
  '# Printed from src/config.ts by `npm run docs:config`.',
  '',
  ...all.flatMap((one) => [
    `# ${one.description.replaceAll('`', '').replaceAll(/\[([^\]]+)\]\([^)]+\)/g, 'docs/$1')}`,
    `#${one.name}=${/^[\w.:/-]*$/.test(one.defaultText) ? one.defaultText : ''}`,
    '',
  ]),
].join('\n');

const files: [string, string][] = [
  ['docs/configuration.md', table],
  ['.env.example', example],
];
const read = (path: string) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};
if (process.argv.includes('--check')) {
  const stale = files.filter(([path, content]) => read(path) !== content).map(([path]) => path);
  if (stale.length > 0) {
    console.error(
      `${stale.join(' and ')} differ from src/config.ts: run \`npm run docs:config\` and commit the result`,
    );
    process.exitCode = 1;
  }
} else {
  mkdirSync('docs', { recursive: true });
  for (const [path, content] of files) writeFileSync(path, content);
}
