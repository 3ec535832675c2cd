import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { brokenRules, type Sources } from './import-rules.ts';

const src = join(import.meta.dirname, '../src');

function sourcesOnDisk(): Sources {
  const files = readdirSync(src, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.name.endsWith('.ts'),
  );
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [relative(src, path), readFileSync(path, 'utf8')];
    }),
  );
}

describe('the direction of imports', () => {
  it('holds in src/', () => {
    const sources = sourcesOnDisk();
    expect(Object.keys(sources)).toContain('errors.ts');
    expect(brokenRules(sources)).toEqual([]);
  });

  it('lets the edge use the domain, the domain the engines, and main.ts everything', () => {
    expect(
      brokenRules({
        'main.ts': `import { serve } from './http/server.ts'; import { openPool } from './db/pool.ts';`,
        'http/server.ts': `import http from 'node:http'; import { append } from '../metrics/append/append.ts';`,
        'schema/run.ts': `import { GraphQLError } from 'graphql'; import { RuntideError } from '../errors.ts';`,
        'metrics/append/append.ts': `import type { Pool } from 'pg'; import { a } from '../../db/pool.ts'; import '../codec/encode.ts';`,
        'metrics/codec/encode.ts': `import { zstdCompressSync } from 'node:zlib'; import { b } from '../append/append.ts';`,
        'runs/table.ts': `import { read } from '../metrics/append/append.ts';`,
        'db/pool.ts': `import pg from 'pg'; // not process.env`,
        'config.ts': `export const read = () => process.env.RUNTIDE_PORT;`,
      }),
    ).toEqual([]);
  });

  it.each<[why: string, path: string, text: string]>([
    ['an engine that knows the domain', 'db/pool.ts', `import { append } from '../metrics/append/append.ts';`],
    ['a type from above', 'metrics/append/append.ts', `import type { Context } from '../../schema/builder.ts';`],
    ['a type from above, inline', 'metrics/append/append.ts', `let x: import('../../http/server.ts').Server;`],
    ['a re-export from above', 'runs/table.ts', `export * from '../schema/run.ts';`],
    ['a late import from above', 'live/fan-out.ts', `const m = await import('../http/server.ts');`],
    ['a relative path through another folder', 'bus/redis.ts', `import '../runs/table.ts';`],
    ['an import of the composition root', 'schema/run.ts', `import { main } from '../main.ts';`],
    ['code from outside', 'runs/table.ts', `import { x } from '../../tests/support/x.ts';`],
    ['GraphQL in the domain', 'runs/table.ts', `import { GraphQLError } from 'graphql';`],
    ['Pothos in the domain', 'runs/table.ts', `import type { X } from '@pothos/core';`],
    ['yoga in an engine', 'bus/redis.ts', `import { createPubSub } from 'graphql-yoga';`],
    ['HTTP in the domain', 'artifacts/download.ts', `import { createServer } from 'node:http';`],
    ['sockets in the domain', 'live/fan-out.ts', `import { WebSocketServer } from 'ws';`],
    ['the environment in an engine', 'db/pool.ts', `const url = process.env.DATABASE_URL;`],
    ['the environment by another spelling', 'http/server.ts', `const url = globalThis.process['env'].PORT;`],
    ['the environment taken apart', 'main.ts', `const { env } = process;`],
    ['the environment as an import', 'main.ts', `import { env } from 'node:process';`],
    ['a folder without a layer', 'helpers/strings.ts', `export const a = 1;`],
  ])('refuses %s', (_why, path, text) => {
    const problems = brokenRules({ [path]: text });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${path}: `));
  });

  it('refuses folders of one layer that import one another in a circle', () => {
    const [problem, ...others] = brokenRules({
      'runs/table.ts': `import { a } from '../metrics/a.ts';`,
      'metrics/a.ts': `import { b } from '../live/b.ts';`,
      'live/b.ts': `import { c } from '../runs/table.ts';`,
    });
    expect(problem).toContain('runs → metrics → live → runs');
    expect(others).toEqual([]);
  });
});
