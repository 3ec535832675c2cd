// The SQL that makes an empty PostgreSQL into prisma/schema.prisma. `node scripts/schema-sql.ts` prints it, to write a
// migration from; the drift test compares a database made of it with one made by the migrations.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { openSchemaEngine } from './schema-engine.ts';

const SCHEMA = new URL('../prisma/schema.prisma', import.meta.url);

export async function schemaSql(schemaPath = SCHEMA): Promise<string> {
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
  const schemaEngine = await openSchemaEngine(schemaPath, factory);
  const result = await schemaEngine.diff({
    from: { tag: 'empty' },
    to: {
      tag: 'schemaDatamodel',
      files: [{ path: 'schema.prisma', content: readFileSync(schemaPath, 'utf8') }],
    },
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
