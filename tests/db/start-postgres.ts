// A server of its own for the tests that kill one: starts PostgreSQL on the folder given and says where it is.
import { pino } from 'pino';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';

const db = await startEmbeddedPostgres({ dataDir: process.argv[2] ?? '', log: pino({ level: 'silent' }) });
process.stdout.write(`${JSON.stringify({ pid: db.pid(), connectionString: db.connectionString })}\n`);
