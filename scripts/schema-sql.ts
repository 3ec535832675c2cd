// The SQL that makes an empty PostgreSQL into prisma/schema.prisma, from Prisma's own engine as WebAssembly: no
// download, no database. `node scripts/schema-sql.ts` prints it; the drift test compares a database made of it with
// one made by the migrations.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg';

// TypeScript knows WebAssembly from the browser's library alone, which the server does not load.
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: { __wbindgen_start(): void } } }>;
};

export async function schemaSql(schemaPath = new URL('../prisma/schema.prisma', import.meta.url)): Promise<string> {
  const wasmPath = createRequire(import.meta.url)
    .resolve('@prisma/schema-engine-wasm')
    .replace(/schema_engine\.js$/, 'schema_engine_bg.wasm');
  const { instance } = await WebAssembly.instantiate(readFileSync(wasmPath), {
    './schema_engine_bg.js': engine,
  });
  const bindings = engine as unknown as { __wbg_set_wasm(exports: object): void };
  bindings.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
  const schema: [string, string][] = [['schema.prisma', readFileSync(schemaPath, 'utf8')]];
  // Comparing two models needs no database, but the engine opens one and asks for its version first.
  const connection = {
    provider: 'postgres',
    adapterName: 'none',
    getConnectionInfo: () => ({ ok: true, value: { schemaName: 'public', supportsRelationJoins: true } }),
    queryRaw: () => Promise.resolve({ ok: true, value: { columnTypes: [], columnNames: [], rows: [] } }),
    executeRaw: () => Promise.resolve({ ok: true, value: 0 }),
    dispose: () => Promise.resolve({ ok: true, value: undefined }),
  };
  const connect = () => Promise.resolve({ ok: true, value: connection });
  const factory = { provider: 'postgres', adapterName: 'none', connect, connectToShadowDb: connect };
  const schemaEngine = await engine.SchemaEngine.new({ datamodels: schema }, () => {}, factory);
  const result = await schemaEngine.diff({
    from: { tag: 'empty' },
    to: { tag: 'schemaDatamodel', files: schema.map(([path, content]) => ({ path, content })) },
    script: true,
    exitCode: null,
    shadowDatabaseUrl: null,
    filters: { externalTables: [], externalEnums: [] },
  } as never);
  if (!result.stdout) throw new Error('the schema engine printed nothing');
  // Which PostgreSQL schema it goes into is the connection's affair (search_path).
  return result.stdout.replace(/-- CreateSchema\nCREATE SCHEMA [^;]*;\n+/, '');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.stdout.write(await schemaSql());
