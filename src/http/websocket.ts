// GraphQL over WebSocket (graphql-ws): the same documents, limits, errors and access as over HTTP. Every socket is
// asked again and again whether its credential still holds.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ExecutionArgs, type ExecutionResult, execute, GraphQLError, subscribe } from 'graphql';
import { type Context as SocketContext, CloseCode } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { v7 as uuidv7 } from 'uuid';
import { WebSocketServer } from 'ws';
import type { Access } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import { RuntideError } from '../errors.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { presentedBy } from './credentials.ts';
import { readDocument } from './documents.ts';
import type { Origins } from './origins.ts';
import { present, presentThrown } from './present.ts';

export interface GraphQLOverWebSocket {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  sockets: () => number;
  /** Tells every client to go on elsewhere. */
  close(): Promise<void>;
}

/** Between two looks at the credentials of open sockets: a revoked one is closed within five seconds. */
const RECHECK_MS = 3_000;
const INIT_WAIT_MS = 10_000;

interface Extra extends Record<PropertyKey, unknown> {
  request: IncomingMessage;
  socket: { close(code: number, reason: string): void };
  presented?: Presented;
  credentialId?: string;
}

type Socket = SocketContext<Record<string, unknown>, Extra>;

export function createGraphQLOverWebSocket(
  engines: Engines,
  authenticator: Authenticator,
  origins: Origins,
): GraphQLOverWebSocket {
  const { log } = engines;
  const wss = new WebSocketServer({ noServer: true, maxPayload: limits.bodyBytes });
  const open = new Set<Socket>();

  const accessOf = async ({ extra }: Socket): Promise<Access | null> =>
    extra.presented ? authenticator.authenticate(extra.presented) : null;

  const recheck = async () => {
    await Promise.all(
      [...open].map(async (socket) => {
        if (!socket.extra.credentialId) return;
        const access = await accessOf(socket).catch((error: unknown) =>
          // A database that is away says nothing about the credential.
          error instanceof RuntideError ? null : undefined,
        );
        if (access === null)
          socket.extra.socket.close(CloseCode.Forbidden, 'The credential was revoked or has expired');
      }),
    );
  };
  const timer = setInterval(() => void recheck(), RECHECK_MS);
  timer.unref();

  const disposable = useServer<Record<string, unknown>, Extra>(
    {
      isProd: true,
      connectionInitWaitTimeout: INIT_WAIT_MS,
      async onConnect(socket) {
        const { extra, connectionParams } = socket;
        const authorization = connectionParams?.authorization ?? connectionParams?.Authorization;
        extra.presented = {
          ...presentedBy(extra.request, origins.allows(extra.request)),
          ...(typeof authorization === 'string' ? { authorization } : {}),
        };
        try {
          const access = await accessOf(socket);
          if (!access) return true;
          extra.credentialId = access.credential.id;
          const same = [...open].filter((one) => one.extra.credentialId === access.credential.id).length;
          if (same >= limits.socketsPerCredential) {
            extra.socket.close(4429, `More than ${limits.socketsPerCredential} sockets with one credential`);
            return false;
          }
          open.add(socket);
          return true;
        } catch (thrown) {
          const { error } = presentThrown(thrown, uuidv7(), log);
          const isOurs = error.extensions.code === 'UNAUTHENTICATED';
          // A close reason has at most 123 bytes.
          extra.socket.close(isOurs ? CloseCode.Unauthorized : 1013, error.message.slice(0, 120));
          return false;
        }
      },
      onClose: (socket) => void open.delete(socket),
      async onSubscribe(socket, _id, { query, variables, operationName }) {
        if (Object.keys(socket.subscriptions).length > limits.operationsPerSocket)
          return [
            new GraphQLError(`a socket may have ${limits.operationsPerSocket} operations open: complete some first`, {
              extensions: { code: 'RATE_LIMITED' },
            }),
          ];
        const document = readDocument(query);
        if (Array.isArray(document)) return document as readonly GraphQLError[];
        const requestId = uuidv7();
        try {
          const access = await accessOf(socket);
          const contextValue: Context = { ...engines, access, requestId };
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
    },
    wss,
  );

  return {
    upgrade(request, socket, head) {
      if (!origins.allows(request)) {
        socket.end(
          'HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\nThis origin is not in RUNTIDE_ALLOWED_ORIGINS.\n',
        );
        return;
      }
      wss.handleUpgrade(request, socket, head, (client) => {
        client.on('error', (error) => log.debug({ err: error }, 'a socket broke'));
        wss.emit('connection', client, request);
      });
    },
    sockets: () => wss.clients.size,
    async close() {
      clearInterval(timer);
      for (const client of wss.clients) client.close(1001, 'The server is going away: go on with your cursors');
      const patience = setTimeout(() => {
        for (const client of wss.clients) client.terminate();
      }, 2_000);
      await disposable.dispose();
      clearTimeout(patience);
    },
  };
}
