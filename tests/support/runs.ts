import { must } from './client.ts';
import type { Server } from './writer.ts';

/** Makes a run over the wire and returns its id. */
export async function makeRun({ url, apiKey }: Server, input: Record<string, unknown> = {}): Promise<string> {
  const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
  return (await must(url, apiKey, query, { input })).createRun.run.id as string;
}
