import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../scripts/setup/process.js';

describe('a tool with a limit', () => {
  const server = createServer((socket) => socket.on('error', () => {}).resume());
  /** Shell: a process that goes on for long, whatever Ctrl-C says, and holds a connection to us while it does. */
  let straggler: string;

  beforeEach(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    straggler = `(trap '' INT; exec 3<>/dev/tcp/127.0.0.1/${port}; echo begun; exec sleep 600)`;
  });
  // Ends once the last connection has, and so fails where a straggler was left.
  afterEach(() => new Promise((closed) => server.close(closed)));

  it('is ended with all that it started when the time is up, and what it said is kept', async () => {
    const connected = once(server, 'connection');
    const { code, output } = await run(['bash', '-c', `${straggler} & wait`], { limitMs: 2_000 });
    await connected;
    expect({ code, output }).toEqual({ code: 124, output: 'begun\nbash did not end within 2 s\n' });
  });

  it('is ended though it does not listen', async () => {
    const connected = once(server, 'connection');
    const { code } = await run(['bash', '-c', `trap '' INT; ${straggler}; echo never`], { limitMs: 2_000 });
    await connected;
    expect(code).toBe(124);
  });

  it('that has ended is not waited for because something it started holds its output', async () => {
    const connected = once(server, 'connection');
    const { code } = await run(['bash', '-c', `read -r begun < <(${straggler}); exit 3`], { limitMs: 60_000 });
    await connected;
    expect(code).toBe(3);
  });
});
