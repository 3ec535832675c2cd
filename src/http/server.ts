// The HTTP server: one table of routes, and for all of them a request id, the check of the origin, and headers.
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import sirv from 'sirv';
import { type Authenticator, createAuthenticator } from '../access/credentials/authenticate.ts';
import { limits } from '../access/limits.ts';
import { createIdentity, type Identity } from '../identity/identity.ts';
import type { Providers } from '../config.ts';
import type { Registration } from '../config/kinds.ts';
import { type ProviderAddresses, signInWays } from '../identity/providers/providers.ts';
import type { FoldCounts } from '../metrics/fold/folding.ts';
import type { Engines } from '../schema/context.ts';
import { sendAuditLog } from './audit-log.ts';
import { createCredentials, type Credentials } from './credentials.ts';
import { createClientAddress, type TrustedProxies } from './client-address.ts';
import { codingsOf } from './encoding.ts';
import { createGraphiQL } from './graphiql.ts';
import { createGraphQLOverHttp } from './graphql.ts';
import { answerIdentity } from './identity.ts';
import { listen, type OnUpgrade } from './listen.ts';
import { createOpenStreams, type OpenStreams } from './open-streams.ts';
import { createOrigins } from './origins.ts';
import { presentThrown, retryHeader } from './present.ts';
import { createPrometheus, type Prometheus } from './prometheus.ts';
import { createSharedResults, type SharedResults, type Stringify } from './shared-results.ts';
import { createGraphQLOverWebSocket } from './websocket.ts';

export interface HttpOptions {
  host: string;
  port: number;
  allowedOrigins: readonly string[];
  sessionDays: number;
  registration: Registration;
  /** At whom people may sign in, beside here; default: nobody. */
  providers?: Providers;
  /** Elsewhere than where they are. */
  providerAddresses?: ProviderAddresses;
  /** An address is verified by mail before the first sign-in. */
  verifyEmail: boolean;
  /** Signs cookies, encrypts second factors and signing keys. */
  authSecret: string;
  metricsToken: string;
  /** Cookies go over TLS alone. */
  secure: boolean;
  /** Default: none is believed. */
  trustProxy?: TrustedProxies;
  /** Other than `limits` says. */
  slowStreamMs?: number;
  /** Other than a second: between two looks at what sockets do. */
  socketTurnMs?: number;
}

/** What holds the port from the start on, and answers 503 until there is something to serve. */
export interface HttpServer {
  port: number;
  serve(engines: Omit<Engines, 'signIn'>): void;
  /** What it answers at; those with a slash at their end, also for everything below. */
  paths(): string[];
  /** Requests in flight get their answer, sockets are told to go on elsewhere. Idempotent. */
  close(): Promise<void>;
}

/** What GraphQL over HTTP and over WebSocket have in common. */
export interface Edge {
  authenticator: Authenticator;
  credentials: Credentials;
  openStreams: OpenStreams;
  live: SharedResults;
  slowStreamMs: number;
}

const NO_PROVIDERS: Providers = { oidc: null, google: null, github: null };

const stringify: Stringify = (result) => JSON.stringify(result);

interface About {
  requestId: string;
  trusted: boolean;
}

type Handler = (request: IncomingMessage, response: ServerResponse, about: About) => void | Promise<void>;

const CLOSE_MS = 5_000;
const SOCKET_TURN_MS = 1_000;
/** For how long the rest of a request is read, and thrown away, after it was answered. */
const LINGER_MS = 10_000;

export async function openHttpServer(options: HttpOptions): Promise<HttpServer> {
  let routes: Routes = startingRoutes;
  let sockets: ReturnType<typeof createGraphQLOverWebSocket> | undefined;
  let openStreams: OpenStreams | undefined;
  let authenticator: Authenticator | undefined;
  let closing: Promise<void> | undefined;
  const inFlight = new Set<ServerResponse>();
  const origins = createOrigins(options.allowedOrigins);
  const addressOf = createClientAddress(options.trustProxy ?? []);

  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    const about = { requestId: randomUUID(), trusted: origins.allows(request) };
    response.setHeader('x-request-id', about.requestId);
    response.setHeader('x-content-type-options', 'nosniff');
    response.setHeader('referrer-policy', 'no-referrer');
    response.setHeader('vary', 'origin');
    const { origin } = request.headers;
    if (origin !== undefined && about.trusted) {
      response.setHeader('access-control-allow-origin', origin);
      response.setHeader('access-control-allow-credentials', 'true');
      response.setHeader('access-control-expose-headers', 'x-request-id, retry-after');
      if (request.method === 'OPTIONS') {
        response.setHeader('access-control-allow-methods', 'GET, POST');
        response.setHeader('access-control-allow-headers', 'authorization, content-type, content-encoding');
        response.setHeader('access-control-max-age', '600');
      }
    }
    if (request.method === 'OPTIONS') {
      response.writeHead(about.trusted ? 204 : 403, { allow: 'GET, HEAD, POST, OPTIONS' }).end();
      return;
    }
    response.once('finish', () => {
      // Answered before all of it was sent: the sender may go on for a while, not for ever.
      if (!request.complete) setTimeout(() => request.complete || request.destroy(), LINGER_MS).unref();
    });
    inFlight.add(response);
    response.once('close', () => inFlight.delete(response));
    if (closing) response.setHeader('connection', 'close');
    const path = (request.url ?? '/').split('?')[0] as string;
    // Also what is thrown before a promise is made, which would end the process.
    Promise.try(find(routes, path), request, response, about).catch(() => response.destroy());
  };
  const onUpgrade: OnUpgrade = (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (request.url?.split('?')[0] === '/graphql') {
      if (sockets && !closing) sockets.upgrade(request, socket, head);
      else socket.end('HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\r\n');
    } else socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
  };
  const { servers, port } = await listen(options, onRequest, onUpgrade);

  return {
    port,
    serve(given) {
      const providers = options.providers ?? NO_PROVIDERS;
      const engines: Engines = { ...given, signIn: signInWays(options.registration, providers) };
      authenticator = createAuthenticator(engines);
      openStreams = createOpenStreams(authenticator);
      const live = createSharedResults(engines, stringify);
      const slowStreamMs = options.slowStreamMs ?? limits.slowStreamMs;
      const identity = createIdentity(engines, {
        ...options,
        providers,
        url: engines.url(),
        secret: options.authSecret,
      });
      const credentials = createCredentials(identity, addressOf);
      const edge = { authenticator, credentials, openStreams, live, slowStreamMs };
      sockets = createGraphQLOverWebSocket(engines, {
        ...edge,
        origins,
        stringify,
        turnMs: options.socketTurnMs ?? SOCKET_TURN_MS,
      });
      const prometheus = createPrometheus(engines, { sockets: sockets.sockets, live: live.counts });
      routes = servingRoutes(options, engines, edge, identity, prometheus);
    },
    paths: () => [...Object.keys(routes.exact), ...Object.keys(routes.below)],
    close: () => (closing ??= close()),
  };

  async function close() {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const server of servers) server.closeIdleConnections();
    openStreams?.close();
    authenticator?.close();
    for (const response of inFlight) {
      // A stream has no end of its own: its reader goes on elsewhere, with its cursors. Others end with their answer,
      // and their connections with them: a client that goes on sending would hold the server until it is cut off.
      if (String(response.getHeader('content-type')).startsWith('text/event-stream')) response.destroy();
      else if (!response.headersSent) response.setHeader('connection', 'close');
    }
    await sockets?.close();
    const patience = setTimeout(() => {
      for (const server of servers) server.closeAllConnections();
    }, CLOSE_MS);
    await Promise.all(closed);
    clearTimeout(patience);
  }
}

interface Routes {
  exact: Record<string, Handler>;
  /** By what the path begins with. */
  below: Record<string, Handler>;
}

/** Whatever is not in the table does not exist. */
function find({ exact, below }: Routes, path: string): Handler {
  const found = Object.hasOwn(exact, path)
    ? exact[path]
    : Object.entries(below).find(([start]) => path.startsWith(start))?.[1];
  return found ?? ((_, response) => sendText(response, 404, 'There is nothing at this address.'));
}

/** What can be fetched and no more. */
function reading(handler: Handler): Handler {
  return (request, response, about) => {
    if (request.method === 'GET' || request.method === 'HEAD') return handler(request, response, about);
    return sendText(response.setHeader('allow', 'GET, HEAD'), 405, 'This address can be read only.');
  };
}

const alive: Handler = reading((_, response) => sendText(response, 200, 'alive'));

// Health too: what waits for a start to end asks it, and then goes on to the pages.
const startingRoutes: Routes = {
  exact: {},
  below: {
    '/': (_, response) => sendText(response.setHeader('retry-after', '1'), 503, 'Runtide is starting.'),
  },
};

function servingRoutes(
  options: HttpOptions,
  engines: Engines,
  edge: Edge,
  identity: Identity,
  prometheus: Prometheus,
): Routes {
  const { pool, folding, log, tokens, url } = engines;
  const graphiql = createGraphiQL((error) => log.error({ err: error }, 'GraphiQL could not be shown'));
  const graphql = createGraphQLOverHttp(engines, edge, graphiql);
  const dashboard = serveDashboard();
  const redirect: Handler = (_, response) => void response.writeHead(302, { location: '/app/' }).end();

  /** What is thrown is answered as everywhere. */
  const presenting =
    (work: Handler): Handler =>
    async (request, response, about) => {
      try {
        await work(request, response, about);
      } catch (thrown) {
        // Cut off in the middle, so that half an answer is not taken for a whole one.
        if (response.headersSent) throw thrown;
        const { status, error } = presentThrown(thrown, about.requestId, log);
        sendJson(response.setHeaders(new Headers(retryHeader(error))), status, { errors: [error] });
      }
    };

  return {
    exact: {
      '/': reading(redirect),
      '/app': reading(redirect),
      '/graphql': (request, response, about) => graphql.handle(request, response, about),
      '/.well-known/jwks.json': reading(
        presenting(async (_, response) => {
          const headers = { 'content-type': 'application/jwk-set+json', 'cache-control': 'public, max-age=300' };
          const keys = await tokens.publicKeys();
          response.writeHead(200, headers).end(JSON.stringify({ keys }));
        }),
      ),
      '/healthz': alive,
      '/readyz': reading(async (_, response) => {
        const isReady = await pool.query('SELECT 1').then(
          () => true,
          () => false,
        );
        sendText(response, isReady ? 200 : 503, isReady ? `ready${damageOf(folding.counts)}` : 'the database is away');
      }),
      '/metrics': reading(async (request, response) => {
        if (!isSame(request.headers.authorization ?? '', `Bearer ${options.metricsToken}`)) {
          response.setHeader('www-authenticate', 'Bearer realm="runtide metrics"');
          sendText(response, 401, 'Send RUNTIDE_METRICS_TOKEN as a Bearer token (it is in the data folder, secrets/).');
          return;
        }
        response.writeHead(200, { 'content-type': prometheus.contentType }).end(await prometheus.read());
      }),
    },
    below: {
      '/api/auth/': presenting((request, response, { trusted }) =>
        answerIdentity({ identity, credentials: edge.credentials, url }, request, response, trusted),
      ),
      '/api/audit-log/': reading(
        presenting((request, response, { trusted }) => sendAuditLog(engines, edge, request, response, trusted)),
      ),
      '/app/': reading(dashboard),
      '/graphiql/': reading((request, response) => graphiql.handle(request, response)),
    },
  };
}

/** Nothing from elsewhere, no inline script or style, in nobody's frame. */
const PAGE_POLICY =
  "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'";

const VARY = 'origin, accept-encoding';

/** What a person should know though all else is served. */
function damageOf({ damagedBatches, damagedSegments }: FoldCounts): string {
  if (damagedBatches + damagedSegments === 0) return '';
  return `, but stored points are damaged: since the start ${damagedSegments} segments and ${damagedBatches} batches could not be read when they were folded (the log names them)`;
}

/** The built pages. Names below _app/immutable/ carry a hash of their content. */
function serveDashboard(): Handler {
  const folder = fileURLToPath(new URL('../../web/build', import.meta.url));
  // Running from a checkout whose pages nobody built.
  if (!existsSync(folder))
    return (_, response) => sendText(response, 503, 'The pages are not built: `npm start` builds them.');
  const files = sirv(folder, {
    etag: true,
    // As they are when they are asked for: a build under a running server takes files away, and reading one that it
    // remembered from the start would end the process.
    dev: true,
    // As the build has packed them.
    brotli: true,
    gzip: true,
    single: 'index.html',
    setHeaders: (response, path) => {
      response.setHeader('vary', VARY);
      response.setHeader('content-security-policy', PAGE_POLICY);
      response.setHeader(
        'cache-control',
        path.includes('/immutable/') ? 'public, max-age=31536000, immutable' : 'no-cache',
      );
    },
  });
  return (request, response) => {
    request.url = (request.url ?? '').slice('/app'.length);
    response.setHeader('vary', VARY);
    // Sirv throws at a range that ends before it begins, and takes the last bytes for the first: the whole answers any.
    delete request.headers.range;
    // It looks for names alone, also for one of weight 0.
    request.headers['accept-encoding'] = codingsOf(request.headers['accept-encoding']).join(', ');
    files(request, response, () => sendText(response, 404, 'There is nothing at this address.'));
  };
}

function isSame(given: string, wanted: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(wanted));
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' });
  response.end(`${text}\n`);
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}
