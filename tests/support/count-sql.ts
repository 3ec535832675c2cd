// Which statements a piece of work sends through a pool, looks of the background aside.
import type pg from 'pg';

/** The names of statements that no request sends. */
const background = ['changed runs', 'access changes', 'key use', 'session use'];

export async function countSql<Result>(pool: pg.Pool, work: () => Promise<Result>) {
  const statements: string[] = [];
  const restore: (() => void)[] = [];
  const heard = new Set<pg.PoolClient>();
  const listen = (client: pg.PoolClient) => {
    // A client is taken from the pool again and again.
    if (heard.has(client)) return;
    heard.add(client);
    const query = client.query.bind(client) as (...args: unknown[]) => unknown;
    const listening = (...args: unknown[]) => {
      const [first] = args as [string | { text: string; name?: string }];
      const text = typeof first === 'string' ? first : first.text;
      const isBackground = typeof first === 'object' && background.includes(first.name ?? '');
      if (!isBackground) statements.push(text);
      return query(...args);
    };
    Object.assign(client, { query: listening });
    restore.push(() => Object.assign(client, { query }));
  };
  pool.on('acquire', listen);
  try {
    return { result: await work(), statements };
  } finally {
    pool.off('acquire', listen);
    for (const one of restore.toReversed()) one();
  }
}
