// Prisma's schema engine as WebAssembly: what `prisma migrate` runs, without a download. For printing the schema as SQL
// (scripts/schema-sql.ts), and for tests that compare the server's migrations with Prisma's own.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as engine from '@prisma/schema-engine-wasm/schema_engine_bg';

export type { SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg';

// TypeScript knows WebAssembly from the browser's library alone, which the server does not load.
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: object): Promise<{ instance: { exports: { __wbindgen_start(): void } } }>;
};

let loaded: Promise<void> | undefined;

/** `adapterFactory` is one of Prisma's driver adapters, bound for errors (`bindMigrationAwareSqlAdapterFactory`). */
export async function openSchemaEngine(schemaPath: URL, adapterFactory: object): Promise<engine.SchemaEngine> {
  await (loaded ??= load());
  const datamodels: [string, string][] = [['schema.prisma', readFileSync(schemaPath, 'utf8')]];
  return engine.SchemaEngine.new({ datamodels }, () => {}, adapterFactory);
}

async function load(): Promise<void> {
  const wasmPath = createRequire(import.meta.url)
    .resolve('@prisma/schema-engine-wasm')
    .replace(/schema_engine\.js$/, 'schema_engine_bg.wasm');
  const { instance } = await WebAssembly.instantiate(readFileSync(wasmPath), { './schema_engine_bg.js': engine });
  const bindings = engine as unknown as { __wbg_set_wasm(exports: object): void };
  bindings.__wbg_set_wasm(instance.exports);
  instance.exports.__wbindgen_start();
}
