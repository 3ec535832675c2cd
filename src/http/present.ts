// Turns what was thrown into what is answered, in one place: our own errors with their code, those of GraphQL itself as
// INVALID_INPUT, a database that is away as UNAVAILABLE, and everything else masked, logged, and found by its request id.
import { PothosValidationError } from '@pothos/core';
import { GraphQLError } from 'graphql';
import { isUnavailable, type Log } from '../db/pool.ts';
import { type ErrorCode, RuntideError } from '../errors.ts';

const RETRY_MS = 1_000;
/** Characters of a message: some of GraphQL's own repeat what was sent. */
const MOST_MESSAGE = 1_000;

export function present(error: GraphQLError, requestId: string, log: Log): GraphQLError {
  const cause = error.originalError;
  const ours = rootOf(cause);
  if (ours) {
    // Damage that we noticed ourselves is told to the client, and somebody has to mend it.
    if (ours.code === 'INTERNAL') log.error({ err: ours, requestId, path: error.path }, 'a request failed');
    return rebuilt(error, ours.message, { code: ours.code, ...ours.details, requestId });
  }
  // Without a cause, or with one of GraphQL's, the document, its variables, or an argument is wrong. Past those, GraphQL
  // complains of what resolvers return.
  const isGraphQLs = cause === undefined || cause instanceof GraphQLError;
  const isOfInput =
    error.path === undefined ||
    /^(Argument|Variable|Directive) /.test(error.message) ||
    // Such as a cursor that is none.
    cause instanceof PothosValidationError;
  if (isGraphQLs && isOfInput) {
    const { code, field, http } = error.extensions;
    const named = typeof field === 'string' ? field : fieldOf(error.message);
    const message = error.message.length > MOST_MESSAGE ? `${error.message.slice(0, MOST_MESSAGE)}…` : error.message;
    return rebuilt(error, message, {
      // Yoga has codes of its own.
      code: typeof code === 'string' && code in STATUS ? code : 'INVALID_INPUT',
      ...(named === undefined ? {} : { field: named, ...indexOf(named) }),
      requestId,
      ...(http ? { http } : {}),
    });
  }
  const fault = cause ?? error;
  if (isUnavailable(fault)) {
    log.warn({ err: fault, requestId, path: error.path }, 'the database is away');
    return rebuilt(error, 'the database is away for the moment: try again', {
      code: 'UNAVAILABLE',
      retryAfterMs: RETRY_MS,
      requestId,
    });
  }
  log.error({ err: fault, requestId, path: error.path }, 'a request failed');
  return rebuilt(error, `something went wrong here; the server's log says what, under ${requestId}`, {
    code: 'INTERNAL',
    requestId,
  });
}

/** The answer of a request that did not get as far as GraphQL. */
export function presentThrown(thrown: unknown, requestId: string, log: Log): { status: number; error: GraphQLError } {
  const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
  const raw = cause instanceof GraphQLError ? cause : new GraphQLError('', { originalError: cause });
  const error = present(raw, requestId, log);
  return { status: STATUS[error.extensions.code as ErrorCode], error };
}

/** Of an answer that says when to try again: in whole seconds, not too early. */
export function retryHeader({ extensions }: GraphQLError): { 'retry-after'?: string } {
  const { retryAfterMs } = extensions;
  return typeof retryAfterMs === 'number' ? { 'retry-after': String(Math.ceil(retryAfterMs / 1_000)) } : {};
}

const STATUS: Record<ErrorCode, number> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  INVALID_INPUT: 400,
  CONFLICT: 409,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
  INTERNAL: 500,
};

/** GraphQL names the place of a wrong variable or argument in its message alone: `… has invalid value at .points[2].step: …`. */
function fieldOf(message: string): string | undefined {
  const found = /^(?:Variable "\$(\w+)"|Argument "[^"(]*\((\w+):\)") has invalid value(?: at ([^:]+))?: /.exec(message);
  if (!found) return undefined;
  const [, variable, argument, path = ''] = found;
  const name = variable ?? argument ?? '';
  // Every mutation takes one `input`, in which fields are named as the client wrote them.
  return name === 'input' && path !== '' ? path.replace(/^\./, '') : `${name}${path}`;
}

/** Points are given one by one: their index is their place in the list. */
function indexOf(field: string): { index?: number } {
  const point = /^points\[(\d+)\]/.exec(field)?.[1];
  return point === undefined ? {} : { index: Number(point) };
}

function rootOf(cause: unknown): RuntideError | undefined {
  let at = cause;
  for (let depth = 0; depth < 5 && at; depth++) {
    if (at instanceof RuntideError) return at;
    at = (at as { originalError?: unknown }).originalError;
  }
  return undefined;
}

function rebuilt(error: GraphQLError, message: string, extensions: Record<string, unknown>): GraphQLError {
  return new GraphQLError(message, {
    nodes: error.nodes,
    source: error.source,
    positions: error.positions,
    path: error.path,
    extensions,
  });
}
