// GraphQL over WebSocket, in the protocol of graphql-ws: the same documents, limits, errors and access as over HTTP.
// graphql-ws reads the messages; what it would hold for each socket and operation is three times a socket of `ws`
// (docs/decisions/0017-the-protocol-is-spoken-here.md), so that what answers them is here.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type DocumentNode, execute, type ExecutionArgs, getOperationAST, GraphQLError } from 'graphql';
import { CloseCode, handleProtocols, type Message, MessageType, parseMessage, type SubscribePayload } from 'graphql-ws';
import { v7 as uuidv7 } from 'uuid';
import { type WebSocket, WebSocketServer } from 'ws';
import { limits } from '../access/limits.ts';
import type { WatchedPlace } from '../access/permissions.ts';
import { RuntideError } from '../errors.ts';
import type { Context, Engines } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { Client, Connection, type Around } from './connection.ts';
import { checkCost } from './cost.ts';
import { readDocument } from './documents.ts';
import { Operation, type Results } from './operations.ts';
import type { Origins } from './origins.ts';
import { Outbox } from './outbox.ts';
import { present, presentThrown } from './present.ts';
import type { Edge } from './server.ts';
import type { Stringify } from './shared-results.ts';
import { checkVariables } from './variables.ts';

export interface GraphQLOverWebSocket {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  sockets: () => number;
  /** Tells every client to go on elsewhere. */
  close(): Promise<void>;
}

/** In turns of one timer, which looks at all sockets: how long one may say nothing at all, and how often it is pinged; one that is silent in between is gone. */
const INIT_WAIT = 5;
const PING = 12;
const TOO_MANY = 4429;
const RESTART = 1012;
const TRY_AGAIN = 1013;

const ENDS: Around['ends'] = {
  revoked: [CloseCode.Forbidden, 'The credential was revoked or has expired'],
  // Clients connect again by themselves, and are answered by what they may do now.
  hidden: [CloseCode.Forbidden, 'What is watched here is gone, or may no longer be seen'],
  narrowed: [RESTART, 'What this credential may do has changed: connect again'],
};
/** They go on with their cursors. */
const TOO_SLOW = 'Events are sent faster than they are read: go on with your cursors, or ask for less';

export function createGraphQLOverWebSocket(
  engines: Engines,
  edge: Edge & { origins: Origins; stringify: Stringify; turnMs: number },
): GraphQLOverWebSocket {
  const { log } = engines;
  const { authenticator, credentials, openStreams, live, slowStreamMs, origins, stringify, turnMs } = edge;
  const connections = new Set<Connection>();
  const around: Around = { ends: ENDS, present: (thrown) => presentThrown(thrown, uuidv7(), log).error };
  const wss = new WebSocketServer<typeof Client>({
    WebSocket: Client,
    noServer: true,
    clientTracking: false,
    maxPayload: limits.bodyBytes,
    // Not compressed: docs/decisions/0016-one-execution-for-many-subscribers.md.
    perMessageDeflate: false,
    handleProtocols,
  });

  async function hear(connection: Connection, text: string): Promise<void> {
    const message = read(text);
    switch (message?.type) {
      case MessageType.ConnectionInit:
        return greet(connection, message.payload);
      case MessageType.Ping:
        return connection.outbox.say({ type: MessageType.Pong, payload: message.payload });
      case MessageType.Pong:
        return undefined;
      case MessageType.Subscribe:
        return begin(connection, message.id, message.payload);
      case MessageType.Complete:
        return complete(connection, message.id);
      default:
        return connection.close(CloseCode.BadRequest, 'Invalid message received');
    }
  }

  async function greet(connection: Connection, params: Record<string, unknown> | undefined): Promise<void> {
    const { request, outbox } = connection;
    if (!request) return connection.close(CloseCode.TooManyInitialisationRequests, 'Too many initialisation requests');
    connection.request = null;
    const authorization = params?.authorization ?? params?.Authorization;
    try {
      if (authorization != null && typeof authorization !== 'string')
        throw new RuntideError('UNAUTHENTICATED', 'send connectionParams { authorization: "Bearer <key>" }');
      connection.presented = {
        ...credentials.presentedBy(request, origins.allows(request)),
        ...(authorization == null ? {} : { authorization }),
      };
      const access = await authenticator.authenticate(connection.presented);
      // Gone while we looked.
      if (!outbox.isOpen()) return undefined;
      // A socket costs more than a request: it is for those who are known.
      if (!access)
        throw new RuntideError(
          'UNAUTHENTICATED',
          'sign in, or send connectionParams { authorization: "Bearer <key>" }',
        );
      connection.access = access;
      openStreams.add(connection);
      connection.isAcknowledged = true;
      return outbox.say({ type: MessageType.ConnectionAck });
    } catch (thrown) {
      const { error } = presentThrown(thrown, uuidv7(), log);
      const { code } = error.extensions;
      if (code === 'UNAUTHENTICATED') return connection.close(CloseCode.Unauthorized, error.message);
      return connection.close(code === 'RATE_LIMITED' ? TOO_MANY : TRY_AGAIN, error.message);
    }
  }

  async function begin(connection: Connection, id: string, payload: SubscribePayload): Promise<void> {
    if (!connection.isAcknowledged) return connection.close(CloseCode.Unauthorized, 'Unauthorized');
    if (connection.find(id))
      return connection.close(CloseCode.SubscriberAlreadyExists, `There is an operation ${id} already`);
    const requestId = uuidv7();
    const operation = new Operation(id, connection);
    connection.add(operation);
    try {
      const results = await start(connection, operation, requestId, payload);
      if (Array.isArray(results))
        operation.fail((results as GraphQLError[]).map((one) => present(one, requestId, log)));
      else
        operation.deliver(results as Results, (result) => {
          if (!result.errors) return stringify(result);
          return stringify({ ...result, errors: result.errors.map((one) => present(one, requestId, log)) });
        });
    } catch (thrown) {
      operation.fail([presentThrown(thrown, requestId, log).error]);
    }
    return undefined;
  }

  /** The results, or what is wrong with the document. */
  async function start(
    connection: Connection,
    operation: Operation,
    requestId: string,
    { query, variables, operationName }: SubscribePayload,
  ): Promise<Results | readonly GraphQLError[]> {
    // This one is among them.
    if (connection.operations.length > limits.operationsPerSocket)
      throw new RuntideError(
        'RATE_LIMITED',
        `a socket may have ${limits.operationsPerSocket} operations open: complete some first`,
        { retryAfterMs: 1_000 },
      );
    const { presented } = connection;
    const access = presented && (await authenticator.authenticate(presented));
    let cost = 0;
    let document: DocumentNode;
    try {
      checkVariables(variables);
      const read = readDocument(query);
      if (Array.isArray(read)) return read as readonly GraphQLError[];
      document = read as DocumentNode;
      cost = checkCost(document, operationName, variables);
    } finally {
      // Also for what is wrong, which was read and checked. Past the budget that is all that is said.
      if (presented) engines.budget.take(access, presented.from, cost);
    }
    const kind = getOperationAST(document, operationName)?.operation;
    if (!kind) return [new GraphQLError('the document has no such operation, or has several: name one of them')];
    const watch = (places: readonly WatchedPlace[]) => void (operation.places = places);
    const contextValue: Context = { ...engines, access, requestId, watch };
    const args: ExecutionArgs = {
      schema,
      document,
      variableValues: variables ?? {},
      operationName: operationName ?? null,
      contextValue,
    };
    if (kind === 'subscription') return live.subscribe(args);
    return { ...(await execute(args)), extensions: { cost } };
  }

  /** By whoever asked. */
  function complete(connection: Connection, id: string): void {
    const operation = connection.find(id);
    if (operation) connection.remove(operation);
  }

  /** Listeners of all sockets alike: `this` is the socket. */
  function onMessage(this: WebSocket, message: Buffer): void {
    const { connection } = this as Client;
    if (!connection?.outbox.isOpen()) return;
    hear(connection, message.toString()).catch((error: unknown) => {
      log.error({ err: error }, 'a message on a socket could not be handled');
      connection.close(CloseCode.InternalServerError, 'Internal server error');
    });
    // What is not taken waits here: whoever goes on asking without reading is not heard until there is room.
    const { outbox } = connection;
    if (!outbox.isFull() || this.isPaused) return;
    this.pause();
    outbox.onDrained(() => this.resume());
  }
  function onError(error: Error): void {
    // Such as a message over the limit, which ws answers with 1009.
    log.debug({ err: error }, 'a socket broke');
  }
  function onClose(this: WebSocket): void {
    const { connection } = this as Client;
    if (!connection) return;
    connections.delete(connection);
    openStreams.remove(connection);
    connection.endOperations();
  }

  let turn = 0;
  const turns = setInterval(() => {
    turn++;
    for (const connection of connections) look(connection);
  }, turnMs);
  turns.unref();

  function look(connection: Connection): void {
    const { outbox } = connection;
    const age = turn - connection.turn;
    if (outbox.isFull()) {
      // One that takes nothing cannot answer a ping either.
      connection.bytesAtPing = -1;
      if (!outbox.isOpen() || outbox.fullForMs() < slowStreamMs) return;
      live.counts.slow++;
      connection.close(TRY_AGAIN, TOO_SLOW);
    } else if (connection.request && age > INIT_WAIT)
      connection.close(CloseCode.ConnectionInitialisationTimeout, 'Connection initialisation timeout');
    else if (age > 0 && age % PING === 0) {
      const { bytesRead } = outbox.socket;
      if (connection.bytesAtPing === bytesRead) outbox.client.terminate();
      else if (outbox.isOpen()) {
        connection.bytesAtPing = bytesRead;
        outbox.client.ping();
      }
    }
  }

  return {
    upgrade(request, socket, head) {
      if (!origins.allows(request)) {
        socket.end(
          'HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\nThis origin is not in RUNTIDE_ALLOWED_ORIGINS.\n',
        );
        return;
      }
      wss.handleUpgrade(request, socket, head, (client) => {
        client.connection = new Connection(new Outbox(client, socket as Socket), request, turn, around);
        connections.add(client.connection);
        client.on('error', onError);
        client.on('close', onClose);
        // graphql-ws chose none.
        if (client.protocol === '') client.close(CloseCode.SubprotocolNotAcceptable, 'Subprotocol not acceptable');
        else client.on('message', onMessage);
      });
    },
    sockets: () => connections.size,
    async close() {
      const clients = [...connections].map(({ outbox }) => outbox.client);
      for (const connection of connections) connection.close(1001, 'The server is going away: go on with your cursors');
      const patience = setTimeout(() => {
        for (const client of clients) client.terminate();
      }, 2_000);
      await Promise.all(clients.map((client) => new Promise((resolve) => client.once('close', resolve))));
      clearInterval(turns);
      clearTimeout(patience);
    },
  };
}

function read(text: string): Message | null {
  try {
    return parseMessage(text);
  } catch {
    return null;
  }
}
