// GraphQL over HTTP and SSE: Yoga, behind a check of the body, the credential and the document, and before it the short way
// of plain-post.ts.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { execute, type ExecutionResult, GraphQLError } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import type { Access } from '../access/access.ts';
import type { Presented } from '../access/credentials/authenticate.ts';
import type { WatchedPlace } from '../access/permissions.ts';
import type { Log } from '../db/pool.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { readOperationBody } from './body.ts';
import { COLUMNS_TYPE } from './columns.ts';
import { checkCost } from './cost.ts';
import { readDocument } from './documents.ts';
import type { GraphiQL } from './graphiql.ts';
import type { OpenStream, OpenStreams } from './open-streams.ts';
import { answerPlainly, readOperation } from './plain-post.ts';
import { presentThrown, present, retryHeader } from './present.ts';
import type { Edge } from './server.ts';
import type { SharedResults } from './shared-results.ts';
import { checkVariables } from './variables.ts';

export interface GraphQLOverHttp {
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    about: { requestId: string; trusted: boolean },
  ): Promise<void>;
}

export function createGraphQLOverHttp(
  engines: Engines,
  { authenticator, credentials, openStreams, live, slowStreamMs }: Edge,
  graphiql: GraphiQL,
): GraphQLOverHttp {
  const { log } = engines;
  const yoga = createYoga<Context>({
    schema,
    graphqlEndpoint: '/graphql',
    plugins: [documentsPlugin(live), presentPlugin(log, live, slowStreamMs)],
    // What yoga does by default and we do elsewhere, or not at all.
    graphiql: false,
    landingPage: false,
    cors: false,
    batching: false,
    multipart: false,
    maskedErrors: false,
    logging: false,
    parserAndValidationCache: false,
  });

  return {
    async handle(request, response, { requestId, trusted }) {
      const accept = request.headers.accept ?? '*/*';
      if (request.method === 'GET' && accept.includes('text/html')) {
        graphiql.handle(request, response);
        return;
      }
      try {
        checkMethodAndAccept(request.method, accept);
        // Read here, within bounds.
        const body = request.method === 'POST' ? await readOperationBody(request) : null;
        const params = body ? body.params : paramsOf(request);
        checkQuery(params.query);
        const presented = credentials.presentedBy(request, trusted);
        const access = await authenticator.authenticate(presented);
        const context: Context = { ...engines, access, requestId, ...(body?.columns ? { columns: body.columns } : {}) };
        const operation = readOperation(params);
        // Also for what is wrong, which was read and checked.
        engines.budget.take(access, presented.from, operation?.cost ?? 0);
        if (body && operation && (await answerPlainly(request, response, operation, context))) return;
        if (access && accept.includes('text/event-stream'))
          context.watch = keepAsked(openStreams, presented, access, response);
        // Yoga takes what it finds there.
        if (body) Object.assign(request, { body: body.params });
        speakJson(request);
        await yoga(request, response, context);
      } catch (thrown) {
        // Whoever asked may be gone.
        if (response.headersSent || response.destroyed || request.socket.destroyed) {
          response.destroy();
          return;
        }
        const { status, error } = presentThrown(thrown, requestId, log);
        const asked = accept.includes('application/graphql-response+json');
        const { http, ...extensions } = error.extensions as { http?: { status: number; headers?: object } };
        const headers = {
          'content-type': `application/${asked ? 'graphql-response+json' : 'json'}; charset=utf-8`,
          ...(status === 401 ? { 'www-authenticate': 'Bearer realm="runtide"' } : {}),
          ...retryHeader(error),
          ...http?.headers,
        };
        response.writeHead(http?.status ?? status, headers);
        response.end(JSON.stringify({ errors: [{ ...error.toJSON(), extensions }] }));
      }
    },
  };
}

/** Yoga answers these without a body. */
function checkMethodAndAccept(method: string | undefined, accept: string): void {
  if (method !== 'GET' && method !== 'POST')
    throw refused(405, 'GraphQL is asked by GET and POST', { allow: 'GET, POST' });
  const types = ['application/graphql-response+json', 'application/json', 'application/*', '*/*'];
  const taken = [...types, COLUMNS_TYPE, 'text/event-stream', 'text/*', 'multipart/mixed', 'multipart/*'];
  if (!accept.split(',').some((one) => taken.includes(one.split(';')[0]?.trim().toLowerCase() ?? '')))
    throw refused(406, `accept one of ${types.slice(0, 2).join(', ')}, or text/event-stream for subscriptions`);
}

/** Yoga does not know the compact form. Whoever can read that is told what is wrong as JSON, which is in it. */
function speakJson({ method, headers }: IncomingMessage): void {
  if (method === 'POST') headers['content-type'] = 'application/json';
  if (headers.accept?.includes(COLUMNS_TYPE)) headers.accept = `application/graphql-response+json, ${headers.accept}`;
}

/** Of a GET, as Yoga reads them. */
function paramsOf({ url = '' }: IncomingMessage): Record<string, unknown> {
  const { searchParams } = new URL(url, 'http://here');
  const [query, operationName] = ['query', 'operationName'].map((name) => searchParams.get(name));
  const variables = searchParams.get('variables');
  try {
    return { query, operationName, variables: variables ? (JSON.parse(variables) as unknown) : null };
  } catch {
    return { query, operationName, variables };
  }
}

function checkQuery(query: unknown): void {
  if (typeof query === 'string' && query !== '') return;
  const problem = query == null || query === '' ? 'is missing' : 'must be a string';
  throw invalidInput(`query ${problem}: send a GraphQL document, such as { "query": "{ server { version } }" }`, {
    field: 'query',
  });
}

function refused(status: number, message: string, headers: Record<string, string> = {}): GraphQLError {
  return new GraphQLError(message, { extensions: { http: { status, headers } } });
}

/** A stream ends when the credential that opened it does, or may no longer see what it tells of. */
function keepAsked(openStreams: OpenStreams, presented: Presented, access: Access, response: ServerResponse) {
  let watched: readonly WatchedPlace[] = [];
  const stream: OpenStream = { presented, access, watched: () => watched, end: () => response.destroy() };
  openStreams.add(stream);
  response.once('close', () => openStreams.remove(stream));
  return (places: readonly WatchedPlace[]) => void (watched = places);
}

const documentsPlugin = (live: SharedResults): Plugin<Context> => ({
  onParams: ({ params }) => checkVariables(params.variables),
  onParse: ({ setParseFn }) =>
    setParseFn((source: string | { body: string }) => {
      const read = readDocument(typeof source === 'string' ? source : source.body);
      // Yoga answers an AggregateError with all of its errors.
      if (Array.isArray(read)) throw read.length === 1 ? read[0] : new AggregateError(read);
      return read;
    }),
  // Done with the parsing, and remembered with it.
  onValidate: ({ setValidationFn }) => setValidationFn(() => []),
  // GraphQL's own, as on WebSockets; yoga brings another one.
  onExecute({ args, setExecuteFn }) {
    const cost = checkCost(args.document, args.operationName, args.variableValues as Record<string, unknown>);
    setExecuteFn(execute);
    return {
      onExecuteDone({ result, setResult }) {
        if (!(Symbol.asyncIterator in result)) setResult({ ...result, extensions: { ...result.extensions, cost } });
      },
    };
  },
  onSubscribe({ args, setSubscribeFn }) {
    const { request } = args.contextValue as { request: Request };
    if (!/text\/(event-stream|\*)|\*\/\*/i.test(request.headers.get('accept') ?? '*/*'))
      throw refused(406, 'a subscription is answered as `Accept: text/event-stream`, or over WebSocket');
    checkCost(args.document, args.operationName, args.variableValues as Record<string, unknown>);
    setSubscribeFn((args) => live.subscribe(args));
  },
});

function presentPlugin(log: Log, { counts }: SharedResults, slowStreamMs: number): Plugin<Context> {
  const presented = (result: ExecutionResult, requestId: string): ExecutionResult =>
    result.errors
      ? { ...result, errors: result.errors.map((error: GraphQLError) => present(error, requestId, log)) }
      : result;
  return {
    onResultProcess(event) {
      const { result, serverContext } = event;
      const requestId = (serverContext as unknown as Context | undefined)?.requestId ?? '';
      if (Array.isArray(result)) return;
      if (!(Symbol.asyncIterator in result)) {
        event.setResult(presented(result as ExecutionResult, requestId));
        return;
      }
      event.setResult(
        mapped(
          result as AsyncIterable<ExecutionResult>,
          (one) => presented(one, requestId),
          (error) => presentThrown(error, requestId, log).error,
          {
            ms: slowStreamMs,
            onOver: () => counts.slow++,
            giveUp: () => (serverContext as { res?: ServerResponse }).res?.destroy(),
          },
        ),
      );
    },
  };
}

/**
 * Ends its source at once when it is ended itself, which an async generator would do only after another value. One that
 * is not asked for the next value for too long ends with an error, since its reader takes nothing; if not even that is
 * taken, it is given up.
 */
function mapped(
  source: AsyncIterable<ExecutionResult>,
  map: (value: ExecutionResult) => ExecutionResult,
  onError: (error: unknown) => GraphQLError,
  patience: { ms: number; onOver: () => void; giveUp: () => void },
): AsyncIterableIterator<ExecutionResult> {
  const iterator = source[Symbol.asyncIterator]();
  let failure: { error: unknown } | null = null;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  const tooSlow = () => {
    failure = { error: new RuntideError('RATE_LIMITED', TOO_SLOW) };
    patience.onOver();
    void iterator.return?.();
    timer = setTimeout(patience.giveUp, patience.ms).unref();
  };
  const result: AsyncIterableIterator<ExecutionResult> = {
    [Symbol.asyncIterator]: () => result,
    async next() {
      clearTimeout(timer);
      if (isOver) return { done: true, value: undefined };
      try {
        if (failure) throw failure.error;
        const next = await iterator.next();
        if (next.done) return { done: true, value: undefined };
        timer = setTimeout(tooSlow, patience.ms).unref();
        return { done: false, value: map(next.value) };
      } catch (error) {
        // The last thing that is said, and then the stream is complete.
        isOver = true;
        return { done: false, value: { errors: [onError(error)] } };
      }
    },
    async return() {
      clearTimeout(timer);
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
  return result;
}

const TOO_SLOW = 'events are sent faster than they are read: go on with your cursors, or ask for less';
