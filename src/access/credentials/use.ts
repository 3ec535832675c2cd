// When each key and session was used last, and keys from where. Kept aside and written at most once a minute each, so
// that a request waits for nothing.
import type pg from 'pg';
import type { Log } from '../../db/pool.ts';
import type { Access, From } from '../access.ts';

export interface CredentialUse {
  note(credential: Pick<Access['credential'], 'kind' | 'id'>, from: From): void;
  /** Writes what is due. */
  flush(): Promise<void>;
  close(): void;
}

const FLUSH_MS = 2_000;
const MINUTE_MS = 60_000;

/** Other processes write the same one: one of them a minute. */
const WRITE = {
  key: `UPDATE api_key SET last_used_at = used.at, last_used_address = used.address
        FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS used (id, at, address)
        WHERE api_key.id = used.id AND (last_used_at IS NULL OR last_used_at <= used.at - interval '1 minute')`,
  session: `UPDATE session SET last_used_at = used.at
            FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS used (id, at, address)
            WHERE session.id = used.id AND (last_used_at IS NULL OR last_used_at <= used.at - interval '1 minute')`,
};

type Kind = keyof typeof WRITE;
type Use = ReturnType<typeof createUse>;

export function createCredentialUse({ pool, log }: { pool: pg.Pool; log: Log }): CredentialUse {
  // By the kind of credential; of others nothing is kept.
  const uses = new Map<string, Use>([
    ['key', createUse('key', pool, log)],
    ['session', createUse('session', pool, log)],
  ]);
  const flush = async () => {
    await Promise.all([...uses.values()].map((use) => use.flush()));
  };
  const timer = setInterval(() => void flush(), FLUSH_MS);
  timer.unref();
  return {
    note: ({ kind, id }, from) => uses.get(kind)?.note(id, from),
    flush,
    close: () => clearInterval(timer),
  };
}

function createUse(kind: Kind, pool: pg.Pool, log: Log) {
  const pending = new Map<string, { at: Date; address: string | null }>();
  const written = new Map<string, number>();

  const flush = async () => {
    const now = Date.now();
    for (const [id, at] of written) if (now - at >= MINUTE_MS) written.delete(id);
    const due = [...pending].filter(([id]) => !written.has(id));
    if (due.length === 0) return;
    for (const [id] of due) {
      pending.delete(id);
      written.set(id, now);
    }
    await pool
      .query({
        name: `${kind} use`,
        text: WRITE[kind],
        values: [due.map(([id]) => id), due.map(([, { at }]) => at), due.map(([, { address }]) => address)],
      })
      .catch((error: unknown) => log.debug({ err: error }, 'the use of credentials could not be noted'));
  };
  return { note: (id: string, { address }: From) => void pending.set(id, { at: new Date(), address }), flush };
}
