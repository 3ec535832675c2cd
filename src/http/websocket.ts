// GraphQL over WebSocket (graphql-ws): the same documents, limits, errors and access as over HTTP.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type DocumentNode, type ExecutionArgs, type ExecutionResult, execute, GraphQLError, subscribe } from 'graphql';
import { type Context as SocketContext, CloseCode, handleProtocols, makeServer } from 'graphql-ws';
import { v7 as uuidv7 } from 'uuid';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Access } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import { RuntideError } from '../errors.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { checkCost } from './cost.ts';
import { presentedBy } from './credentials.ts';
import { readDocument } from './documents.ts';
import type { EndReason, OpenStreams } from './open-streams.ts';
import type { Origins } from './origins.ts';
import { present, presentThrown } from './present.ts';
import { checkVariables } from './variables.ts';

export interface GraphQLOverWebSocket {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  sockets: () => number;
  /** Tells every client to go on elsewhere. */
  close(): Promise<void>;
}

const INIT_WAIT_MS = 5_000;
/** A client that does not answer a ping until the next one is gone. */
const PING_MS = 12_000;
const TOO_MANY = 4429;
const RESTART = 1012;
const TRY_AGAIN = 1013;

interface Extra extends Record<PropertyKey, unknown> {
  request: IncomingMessage;
  client: WebSocket;
  presented?: Presented;
  release?: () => void;
}

type Socket = SocketContext<Record<string, unknown>, Extra>;

const ENDS: Record<EndReason, [code: number, reason: string]> = {
  revoked: [CloseCode.Forbidden, 'The credential was revoked or has expired'],
  // Clients connect again by themselves, and are answered by what they may do now.
  narrowed: [RESTART, 'What this credential may do has changed: connect again'],
};

export function createGraphQLOverWebSocket(
  engines: Engines,
  authenticator: Authenticator,
  openStreams: OpenStreams,
  origins: Origins,
): GraphQLOverWebSocket {
  const { log } = engines;
  const wss = new WebSocketServer({ noServer: true, maxPayload: limits.bodyBytes, handleProtocols });

  const accessOf = async ({ extra }: Socket): Promise<Access | null> =>
    extra.presented ? authenticator.authenticate(extra.presented) : null;

  const server = makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: INIT_WAIT_MS,
    async onConnect(socket) {
      const { extra, connectionParams } = socket;
      const { client } = extra;
      const authorization = connectionParams?.authorization ?? connectionParams?.Authorization;
      try {
        if (authorization != null && typeof authorization !== 'string')
          throw new RuntideError('UNAUTHENTICATED', 'send connectionParams { authorization: "Bearer <key>" }');
        extra.presented = {
          ...presentedBy(extra.request, origins.allows(extra.request)),
          ...(authorization == null ? {} : { authorization }),
        };
        const access = await accessOf(socket);
        // Gone while we looked.
        if (client.readyState !== client.OPEN) return false;
        // A socket costs more than a request: it is for those who are known.
        if (!access)
          throw new RuntideError(
            'UNAUTHENTICATED',
            'sign in, or send connectionParams { authorization: "Bearer <key>" }',
          );
        const { presented } = extra;
        extra.release = openStreams.add({ presented, access, end: (why) => client.close(...ENDS[why]) });
        return true;
      } catch (thrown) {
        const { error } = presentThrown(thrown, uuidv7(), log);
        const { code } = error.extensions;
        // A close reason has at most 123 bytes.
        const reason = error.message.slice(0, 120);
        if (code === 'UNAUTHENTICATED') client.close(CloseCode.Unauthorized, reason);
        else client.close(code === 'RATE_LIMITED' ? TOO_MANY : TRY_AGAIN, reason);
        return false;
      }
    },
    onClose: ({ extra }) => extra.release?.(),
    async onSubscribe(socket, _id, { query, variables, operationName }) {
      const requestId = uuidv7();
      try {
        // This one is among them.
        if (Object.keys(socket.subscriptions).length > limits.operationsPerSocket)
          throw new RuntideError(
            'RATE_LIMITED',
            `a socket may have ${limits.operationsPerSocket} operations open: complete some first`,
            { retryAfterMs: 1_000 },
          );
        checkVariables(variables);
        const document = readDocument(query);
        if (Array.isArray(document)) return document as readonly GraphQLError[];
        checkCost(document as DocumentNode, operationName, variables);
        const contextValue: Context = { ...engines, access: await accessOf(socket), requestId };
        return {
          schema,
          document,
          variableValues: variables ?? {},
          operationName: operationName ?? null,
          contextValue,
        } as ExecutionArgs;
      } catch (thrown) {
        return [presentThrown(thrown, requestId, log).error];
      }
    },
    execute,
    subscribe,
    onNext: (_socket, _id, _payload, args, result: ExecutionResult) => {
      if (!result.errors) return undefined;
      const { requestId } = args.contextValue as Context;
      return { ...result, errors: result.errors.map((error) => present(error, requestId, log).toJSON()) };
    },
    onError: (_socket, _id, _payload, errors) =>
      errors.map((error) => (error.extensions.requestId ? error : present(error, uuidv7(), log)).toJSON()),
  });

  wss.on('connection', (client: WebSocket, request: IncomingMessage) => {
    // Such as a message over the limit, which ws answers with 1009.
    client.on('error', (error) => log.debug({ err: error }, 'a socket broke'));
    let answered = true;
    const pings = setInterval(() => {
      if (!answered) client.terminate();
      answered = false;
      client.ping();
    }, PING_MS);
    client.on('pong', () => (answered = true));
    const closed = server.opened(
      {
        protocol: client.protocol,
        send: (text) =>
          new Promise((resolve, reject) => {
            if (client.readyState !== client.OPEN) resolve();
            else client.send(text, (error) => (error ? reject(error) : resolve()));
          }),
        close: (code, reason) => client.close(code, reason),
        onMessage: (read) =>
          client.on('message', (message: Buffer) => {
            read(message.toString()).catch((error: unknown) => {
              if (client.readyState !== client.OPEN) return;
              log.error({ err: error }, 'a message on a socket could not be handled');
              client.close(CloseCode.InternalServerError, 'Internal server error');
            });
          }),
      },
      { client, request },
    );
    client.once('close', (code, reason) => {
      clearInterval(pings);
      Promise.resolve(closed(code, reason.toString())).catch((error: unknown) =>
        log.error({ err: error }, 'a socket could not be closed cleanly'),
      );
    });
  });

  return {
    upgrade(request, socket, head) {
      if (!origins.allows(request)) {
        socket.end(
          'HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\nThis origin is not in RUNTIDE_ALLOWED_ORIGINS.\n',
        );
        return;
      }
      wss.handleUpgrade(request, socket, head, (client) => wss.emit('connection', client, request));
    },
    sockets: () => wss.clients.size,
    async close() {
      for (const client of wss.clients) client.close(1001, 'The server is going away: go on with your cursors');
      const patience = setTimeout(() => {
        for (const client of wss.clients) client.terminate();
      }, 2_000);
      const gone = [...wss.clients].map(
        (client) => new Promise<void>((resolve) => client.once('close', () => resolve())),
      );
      await Promise.all(gone);
      wss.close();
      clearTimeout(patience);
    },
  };
}
