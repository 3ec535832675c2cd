// GraphQL over HTTP and SSE: yoga, behind a check of the body, the credential and the document.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ExecutionResult, GraphQLError } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import type { Authenticator } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import type { Log } from '../db/pool.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { readJsonObject } from './body.ts';
import { presentedBy } from './credentials.ts';
import { readDocument } from './documents.ts';
import type { GraphiQL } from './graphiql.ts';
import { presentThrown, present } from './present.ts';

export interface GraphQLOverHttp {
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    about: { requestId: string; trusted: boolean },
  ): Promise<void>;
}

export function createGraphQLOverHttp(
  engines: Engines,
  authenticator: Authenticator,
  graphiql: GraphiQL,
): GraphQLOverHttp {
  const { log } = engines;
  const yoga = createYoga<Context>({
    schema,
    graphqlEndpoint: '/graphql',
    plugins: [documentsPlugin, presentPlugin(log)],
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
      if (request.method === 'GET' && request.headers.accept?.includes('text/html')) {
        graphiql.handle(request, response);
        return;
      }
      try {
        if (request.method === 'POST')
          // Read here, within bounds; yoga takes what it finds in `body`.
          Object.assign(request, { body: await readJsonObject(request, limits.bodyBytes) });
        const access = await authenticator.authenticate(presentedBy(request, trusted));
        await yoga(request, response, { ...engines, access, requestId });
      } catch (thrown) {
        if (response.headersSent) {
          response.destroy();
          return;
        }
        const { status, error } = presentThrown(thrown, requestId, log);
        const accepts = request.headers.accept?.includes('application/graphql-response+json');
        response.writeHead(status, {
          'content-type': `application/${accepts ? 'graphql-response+json' : 'json'}; charset=utf-8`,
          ...(status === 401 ? { 'www-authenticate': 'Bearer realm="runtide"' } : {}),
          ...(status === 503 ? { 'retry-after': '1' } : {}),
          // What is left of a body that was too large is not read.
          ...(request.complete ? {} : { connection: 'close' }),
        });
        response.end(JSON.stringify({ errors: [error] }));
      }
    },
  };
}

const documentsPlugin: Plugin<Context> = {
  onParse: ({ setParseFn }) =>
    setParseFn((source: string | { body: string }) => {
      const read = readDocument(typeof source === 'string' ? source : source.body);
      // Yoga answers an AggregateError with all of its errors.
      if (Array.isArray(read)) throw read.length === 1 ? read[0] : new AggregateError(read);
      return read;
    }),
  // Done with the parsing, and remembered with it.
  onValidate: ({ setValidationFn }) => setValidationFn(() => []),
};

function presentPlugin(log: Log): Plugin<Context> {
  const presented = (result: ExecutionResult, requestId: string): ExecutionResult =>
    result.errors
      ? { ...result, errors: result.errors.map((error: GraphQLError) => present(error, requestId, log)) }
      : result;
  return {
    onResultProcess(event) {
      const { result, serverContext } = event;
      const requestId = (serverContext as unknown as Context | undefined)?.requestId ?? '';
      if (Array.isArray(result)) return;
      if (Symbol.asyncIterator in result) {
        const source = result as AsyncIterable<ExecutionResult>;
        event.setResult(mapped(source, (one) => presented(one, requestId)));
      } else event.setResult(presented(result as ExecutionResult, requestId));
    },
  };
}

/** Ends its source at once when it is ended itself, which an async generator would do only after another value. */
function mapped<In, Out>(source: AsyncIterable<In>, map: (value: In) => Out): AsyncIterableIterator<Out> {
  const iterator = source[Symbol.asyncIterator]();
  const result: AsyncIterableIterator<Out> = {
    [Symbol.asyncIterator]: () => result,
    async next() {
      const next = await iterator.next();
      return next.done ? { done: true, value: undefined } : { done: false, value: map(next.value) };
    },
    async return() {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
  return result;
}
