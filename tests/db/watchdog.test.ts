import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { createPool, isUnavailable } from '../../src/db/pool.ts';
import { watchDatabase } from '../../src/db/watchdog.ts';
import { until } from '../support/client.ts';
import { silentLog } from '../support/log.ts';

// The processes of a server are found in /proc.
test.runIf(process.platform === 'linux')(
  'who waits for a database that has stopped answering is told soon, and it heals when the database goes on',
  async () => {
    const root = await mkdtemp(join(tmpdir(), 'runtide-watchdog-'));
    onTestFinished(() => rm(root, { recursive: true, force: true }));
    const postgres = await startEmbeddedPostgres({ dataDir: join(root, 'postgres'), log: silentLog });
    onTestFinished(() => postgres.stop());
    const pool = createPool({ connectionString: postgres.connectionString, size: 4, log: silentLog });
    onTestFinished(() => pool.end());
    onTestFinished(watchDatabase(pool, silentLog));
    await Promise.all([pool.query('SELECT 1'), pool.query('SELECT 1')]);
    const postmaster = postgres.pid();
    const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8');
    const all = [postmaster, ...children.trim().split(/\s+/).map(Number)];
    const signal = (name: NodeJS.Signals) => {
      for (const pid of all) process.kill(pid, name);
    };

    signal('SIGSTOP');
    let outcome: unknown;
    try {
      // Without the watchdog only the time limit of the test would end this.
      outcome = await pool.query('SELECT 1').then(
        () => 'an answer',
        (error: unknown) => error,
      );
    } finally {
      signal('SIGCONT');
    }
    expect(isUnavailable(outcome)).toBe(true);
    await until(
      () =>
        pool.query('SELECT 1').then(
          () => true,
          () => false,
        ),
      'an answer',
    );
  },
);
