// What a client of the API does, over the wire: requests, and subscriptions over WebSocket.
import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

export interface GraphQLAnswer {
  status: number;
  headers: Headers;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests assert on what came, of whatever form
  data: any;
  errors?: {
    message: string;
    path?: (string | number)[];
    extensions: {
      code: string;
      requestId?: string;
      field?: string;
      index?: number;
      base?: number;
      offset?: number;
      retryAfterMs?: number;
    };
  }[];
}

export async function request(
  url: string,
  apiKey: string | null,
  query: string,
  variables?: Record<string, unknown>,
): Promise<GraphQLAnswer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}) },
    body: JSON.stringify({ query, variables }),
  });
  const body = (await response.json()) as Pick<GraphQLAnswer, 'data' | 'errors'>;
  return { status: response.status, headers: response.headers, ...body };
}

/** Throws what went wrong, with the query, so that a failing test tells its story. */
export async function must(
  url: string,
  apiKey: string | null,
  query: string,
  variables?: Record<string, unknown>,
): Promise<GraphQLAnswer['data']> {
  const answer = await request(url, apiKey, query, variables);
  if (answer.errors) throw new Error(`${JSON.stringify(answer.errors)}\n${query}\n${JSON.stringify(variables)}`);
  return answer.data;
}

export function socketClient(url: string, apiKey: string | null, options: { retryAttempts?: number } = {}): Client {
  return createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: options.retryAttempts ?? 0,
    ...(apiKey ? { connectionParams: { authorization: `Bearer ${apiKey}` } } : {}),
  });
}

/** Polls until `check` gives something, or fails after the deadline with what it says last. */
export async function until<Result>(
  check: () => Promise<Result | null | undefined | false> | Result | null | undefined | false,
  what: string,
  timeoutMs = 15_000,
): Promise<Result> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const result = await check();
    if (result !== null && result !== undefined && result !== false) return result;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
