// The pool of connections to PostgreSQL that everything shares: Prisma through its adapter, and the hand-written SQL of
// the hot tables.
import pg from 'pg';

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface PoolOptions {
  /** Prisma's form: `?schema=` names the schema that the tables are in (default: the role's search path). */
  connectionString: string;
  size: number;
  log: Log;
}

/** Sequences and counts come as numbers: they stay far below 2^53. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

export function schemaOf(connectionString: string): string | undefined {
  return new URL(connectionString).searchParams.get('schema') ?? undefined;
}

export function createPool({ connectionString, size, log }: PoolOptions): pg.Pool {
  const url = new URL(connectionString);
  const schema = schemaOf(connectionString);
  url.searchParams.delete('schema');
  const pool = new pg.Pool({
    connectionString: url.href,
    max: size,
    types,
    application_name: 'runtide',
    // A database that is away is told to the client within two seconds, and not waited for.
    connectionTimeoutMillis: 2_000,
    statement_timeout: 30_000,
    idle_in_transaction_session_timeout: 30_000,
    keepAlive: true,
    ...(schema === undefined
      ? {}
      : { options: `-c search_path=${pg.escapeIdentifier(schema).replaceAll(' ', '\\ ')}` }),
  });
  // A connection that dies while idle is the pool's to replace; without a listener it would end the process.
  // (Not the error as a whole: pg hangs the client on it, with all that it knows.)
  pool.on('error', ({ message, code }: Error & { code?: string }) => {
    if (!pool.ending) log.warn({ reason: message, code }, 'an idle database connection was lost');
  });
  return pool;
}

/** One transaction on one connection; rolled back when `work` throws. */
export async function transaction<Result>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
  { mode = '' }: { mode?: '' | 'ISOLATION LEVEL REPEATABLE READ READ ONLY' } = {},
): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // The next statement fails and says so; a connection that is lost between two of them would end the process.
  const onError = (error: Error) => (broken = error);
  client.on('error', onError);
  try {
    await client.query(`BEGIN ${mode}`);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((rollbackError: Error) => (broken = rollbackError));
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/** Whether an error says that the database is away or refuses work for now, so that trying again later makes sense. */
export function isUnavailable(error: unknown): boolean {
  for (let cause = error as ErrorLike | undefined, depth = 0; cause && depth < 5; depth++) {
    const code = cause.code ?? cause.originalCode ?? '';
    // 08 connection, 53 out of resources, 57P going down or starting, P1001/P1002/P1017/P2024 Prisma's words for the same.
    if (/^(08|53|57P0[1-5])/.test(code) || /^P(1001|1002|1008|1017|2024)$/.test(code)) return true;
    if (/^E(CONNREFUSED|CONNRESET|PIPE|TIMEDOUT|NOTFOUND|HOSTUNREACH|AI_AGAIN)$/.test(code)) return true;
    if (/Connection terminated|timeout exceeded when trying to connect|not queryable/.test(cause.message ?? ''))
      return true;
    cause = (cause.cause ?? cause.meta?.driverAdapterError) as ErrorLike | undefined;
  }
  return false;
}

interface ErrorLike {
  code?: string;
  originalCode?: string;
  message?: string;
  cause?: unknown;
  meta?: { driverAdapterError?: unknown };
}
