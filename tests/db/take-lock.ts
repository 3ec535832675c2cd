// One of several servers that start at once: says when it is ready, waits for a line, tries to lock the folder, says how
// that went, and keeps what it has until it is ended.
import { once } from 'node:events';
import { lockDataFolder } from '../../src/db/data-folder.ts';

process.stdout.write('ready\n');
await once(process.stdin, 'data');
const outcome = await lockDataFolder(process.argv[2] ?? '', { url: process.argv[3] ?? '' }).then(
  () => 'won',
  (error: unknown) => (error instanceof Error ? error.message : String(error)),
);
process.stdout.write(`${outcome}\n`);
setInterval(() => {}, 60_000);
