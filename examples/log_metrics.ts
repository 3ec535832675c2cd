// Logs a run over plain fetch, no client needed: node examples/log_metrics.ts (Node 24, or node_modules/.bin/node)
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const { RUNTIDE_BASE_URL: address, RUNTIDE_PORT: port, RUNTIDE_API_KEY: given } = process.env;
const server = (address || `http://localhost:${port || 4000}`).replace(/\/+$/, '');
const file = `${process.env.XDG_CONFIG_HOME || `${homedir()}/.config`}/runtide/credentials.json`;
const sameHost = (url: string) => new URL(url.replace('//127.0.0.1', '//localhost')).href;
const stored: Record<string, { apiKey: string }> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
const key = given || Object.entries(stored).find(([url]) => sameHost(url) === sameHost(server))?.[1].apiKey;
if (!key) throw new Error(`No API key for ${server}: set RUNTIDE_API_KEY, or start the server here; it writes ${file}`);

async function send(mutation: string, type: string, input: object) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ query: `mutation ($input: ${type}!) { ${mutation} }`, variables: { input } });
  const { data, errors } = await (await fetch(`${server}/graphql`, { method: 'POST', headers, body })).json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

const { createRun } = await send('createRun(input: $input) { run { id } }', 'CreateRunInput', { project: 'fetch' });
console.log(`${server}/app/runs/${createRun.run.id}`);
for (let step = 0; step < 200; step++) {
  const metrics = [{ name: 'loss', steps: [step], values: [Math.exp(-0.02 * step) + Math.random() / 20] }];
  await send('logMetrics(input: $input) { accepted }', 'LogMetricsInput', { runId: createRun.run.id, metrics });
  await sleep(50);
}
await send('finishRun(input: $input) { run { id } }', 'FinishRunInput', { id: createRun.run.id, status: 'COMPLETED' });
