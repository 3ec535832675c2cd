// When and from where each key was used last. Kept aside and written at most once a minute a key, so that a request
// waits for nothing.
import type pg from 'pg';
import type { Log } from '../db/pool.ts';
import type { From } from './access.ts';

export interface KeyUse {
  note(keyId: string, from: From): void;
  /** Writes what is due. */
  flush(): Promise<void>;
  close(): void;
}

const FLUSH_MS = 2_000;
const MINUTE_MS = 60_000;

export function createKeyUse({ pool, log }: { pool: pg.Pool; log: Log }): KeyUse {
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
    // Other processes write the same key: one of them a minute.
    await pool
      .query({
        name: 'key use',
        text: `UPDATE api_key SET last_used_at = used.at, last_used_address = used.address
               FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS used (id, at, address)
               WHERE api_key.id = used.id
                 AND (last_used_at IS NULL OR last_used_at <= used.at - interval '1 minute')`,
        values: [due.map(([id]) => id), due.map(([, { at }]) => at), due.map(([, { address }]) => address)],
      })
      .catch((error: unknown) => log.debug({ err: error }, 'the use of keys could not be noted'));
  };
  const timer = setInterval(() => void flush(), FLUSH_MS);
  timer.unref();

  return {
    note: (keyId, { address }) => void pending.set(keyId, { at: new Date(), address }),
    flush,
    close: () => clearInterval(timer),
  };
}
