// The program that has a port is named as people know it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { portOwner } from '../../src/http/port-owner.ts';
import { until } from '../support/client.ts';

test.runIf(process.platform === 'linux')(
  'a Node program goes by its script, and a free port has no owner',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'runtide-port-'));
    const script = join(folder, 'some-server.mjs');
    await writeFile(
      script,
      `import { createServer } from 'node:net';
     const server = createServer().listen(0, '127.0.0.1', () => console.log(server.address().port));`,
    );
    const child = spawn(process.execPath, ['--no-warnings', script, 'an-argument'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [printed] = (await once(child.stdout, 'data')) as [Buffer];
      const port = Number(printed.toString());
      expect(await portOwner(port)).toBe(`node some-server.mjs (pid ${child.pid})`);
      const gone = once(child, 'exit');
      child.kill();
      await gone;
      await until(async () => (await portOwner(port)) === null, 'the port is free');
    } finally {
      child.kill();
      await rm(folder, { recursive: true });
    }
  },
);
