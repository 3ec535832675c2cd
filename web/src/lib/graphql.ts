// One request to the server. Its refusals become ApiError, in words that can be shown.
import type { TypedDocumentString } from './generated/graphql.ts';

export class ApiError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ApiError';
    this.code = code;
  }
}

/** The code of a request that got no answer at all. */
export const unreachable = 'UNREACHABLE';

export type Failure = { message: string; extensions?: Record<string, unknown> };

export function toApiError(errors: readonly Failure[]): ApiError {
  const first = errors[0];
  const { code, requestId } = first?.extensions ?? {};
  const message = first?.message ?? 'The server refused without saying why.';
  const withId =
    typeof requestId === 'string' && !message.includes(requestId) ? `${message} (request ${requestId})` : message;
  return new ApiError(typeof code === 'string' ? code : 'INTERNAL', withId);
}

export async function request<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  let response: Response;
  try {
    response = await fetch('/graphql', {
      method: 'POST',
      credentials: 'same-origin',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json, application/json' },
      body: JSON.stringify({ query: document.toString(), variables }),
      signal: AbortSignal.timeout(20_000),
    });
  } catch (cause) {
    throw new ApiError(unreachable, 'The server does not answer.', { cause });
  }
  // eslint-disable-next-line typescript/no-unsafe-type-assertion -- the document's type is the server's promise
  const body = (await response.json().catch(() => null)) as { data?: Result; errors?: Failure[] } | null;
  if (body?.errors?.length) throw toApiError(body.errors);
  if (!body?.data) {
    const code = response.status === 401 ? 'UNAUTHENTICATED' : response.status >= 502 ? unreachable : 'INTERNAL';
    throw new ApiError(code, `The server answered ${response.status} without data.`);
  }
  return body.data;
}

/** What to show for anything thrown. */
export const inWords = (error: unknown): string => (error instanceof Error ? error.message : String(error));
