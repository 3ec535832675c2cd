// The server, killed again and again while a process writes: every text that was acknowledged is there, once, and nothing
// of it is cut.
import { afterEach, expect, test } from 'vitest';
import { must, request, until } from '../support/client.ts';
import { freePort } from '../support/port.ts';
import { testRandom } from '../support/random.ts';
import { makeRun } from '../support/runs.ts';
import { makeHome, removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { SOAK } from '../support/soak.ts';

const KILLS = SOAK ? 40 : 3;

let server: ServerProcess;
let home: string | undefined;
afterEach(async () => {
  await server?.end();
  if (home) await removeHome(home);
});

const APPEND = 'mutation($input: AppendConsoleInput!) { appendConsole(input: $input) { accepted offset } }';
const READ = `query($id: ID!, $after: String) { run(id: $id) { console(first: 1000, after: $after) {
  pieces { writer offset text } endCursor hasNextPage damagedPieces } } }`;

test(`killed ${KILLS} times, it has what was written`, { timeout: SOAK ? 600_000 : 120_000 }, async () => {
  const random = testRandom();
  home = await makeHome();
  const env = { RUNTIDE_PORT: String(await freePort()) };
  server = await startServerProcess({ home, env });
  const { url, apiKey } = server;
  const runId = await makeRun(server);
  let isOver = false;
  let acknowledged = 0;
  let repeated = 0;

  const write = async (writer: string): Promise<string> => {
    let [text, offset] = ['', 0];
    while (!isOver) {
      const line = `${writer} ${offset} ${'ü'.repeat(random.integer(0, 300))}\n`;
      const input = { runId, attempt: 1, writer, offset, text: line };
      const answer = await request(url, apiKey, APPEND, { input }).catch(() => null);
      const said = answer?.data?.appendConsole as { accepted: number; offset: number } | undefined;
      if (!said) {
        const code = answer?.errors?.[0]?.extensions.code;
        if (answer && code !== 'UNAVAILABLE') throw new Error(JSON.stringify(answer.errors));
        // The very same is sent again until it is answered: nobody knows whether it was stored.
        for (let again = null; !again && !isOver;) {
          await new Promise((resolve) => setTimeout(resolve, 30));
          again = (await request(url, apiKey, APPEND, { input }).catch(() => null))?.data?.appendConsole ?? null;
          if (again?.accepted === 0) repeated++;
          if (again && again.offset !== offset + Buffer.byteLength(line)) throw new Error(JSON.stringify(again));
        }
        if (isOver) return text;
      }
      text += line;
      offset += Buffer.byteLength(line);
      acknowledged++;
    }
    return text;
  };
  const writing = Promise.all(['a', 'b', 'c'].map(write));
  for (let kills = 0; kills < KILLS; kills++) {
    const before = acknowledged;
    await until(() => acknowledged > before + 30, 'it goes on', 60_000);
    await new Promise((resolve) => setTimeout(resolve, random.integer(0, 200)));
    await server.end('SIGKILL');
    server = await startServerProcess({ home, env });
  }
  const before = acknowledged;
  await until(() => acknowledged > before + 300, 'it goes on', 60_000);
  isOver = true;
  const texts = await writing;

  const stored: Record<string, string> = {};
  for (let after: string | null = null, isMore = true; isMore;) {
    const page: {
      pieces: { writer: string; text: string }[];
      endCursor: string;
      hasNextPage: boolean;
      damagedPieces: number;
    } = (await must(url, apiKey, READ, { id: runId, after })).run.console;
    expect(page.damagedPieces).toBe(0);
    for (const { writer, text } of page.pieces) stored[writer] = (stored[writer] ?? '') + text;
    after = page.endCursor;
    isMore = page.hasNextPage;
  }
  // What nobody had an answer to at the end may be there or not, and then it is there whole.
  for (const [index, writer] of ['a', 'b', 'c'].entries()) {
    const text = texts[index]!;
    expect(stored[writer]!.startsWith(text)).toBe(true);
    expect(stored[writer]!.slice(text.length).split('\n').length).toBeLessThanOrEqual(2);
  }
  console.log(`killed ${KILLS} times: ${acknowledged} texts acknowledged, ${repeated} had been stored before`);
});
