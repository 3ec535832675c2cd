// What the documents point to is there: files, folders, and the commands of package.json.
import { existsSync, globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const documents = globSync(['*.md', '{docs,examples,web}/**/*.md', 'sdks/*/README.md'], {
  cwd: root,
  exclude: (path) => /(^|\/)(node_modules|\.venv|build)(\/|$)/.test(path),
});

/** What a pattern's first group finds in the documents, with the document. */
async function mentions(pattern: RegExp): Promise<{ document: string; found: string }[]> {
  const texts = documents.map(async (document) => {
    const text = await readFile(join(root, document), 'utf8');
    return [...text.matchAll(pattern)].map(([, found = '']) => ({ document, found }));
  });
  return (await Promise.all(texts)).flat();
}

test('every link within the repository leads somewhere', async () => {
  const links = (await mentions(/\]\(([^)#\s]+)/g)).filter(({ found }) => !/^\w+:/.test(found));
  expect(links.length).toBeGreaterThan(20);
  expect(links.filter(({ document, found }) => !existsSync(join(root, dirname(document), found)))).toEqual([]);
});

test('every path that is named is there', async () => {
  const paths = await mentions(/`((?:src|tests|scripts|prisma|docs|examples|sdks|web)\/[\w./-]+)`/g);
  expect(paths.length).toBeGreaterThan(40);
  // In a part's own document, paths may begin at the part. What is generated need not be there yet.
  const isThere = (document: string, path: string) =>
    path.includes('/generated') || existsSync(join(root, path)) || existsSync(join(root, dirname(document), path));
  expect(paths.filter(({ document, found }) => !isThere(document, found))).toEqual([]);
});

test('every command is one of package.json', async () => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: object };
  const commands = (await mentions(/npm run (?:--silent )?([\w:]+)(?![\w:]|.*--workspace)/g)).map(({ found }) => found);
  expect(new Set(commands).size).toBeGreaterThan(5);
  expect(commands.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});
