// Reads the operation of a request, and answers the POST that nearly all are: a right document, a query or mutation, JSON as the answer. Yoga's Request, Response
// and promises would cost as much as GraphQL and the resolver together (docs/performance.md). Whatever is not plain, and
// whatever is to be refused, is left to Yoga, so that rules of refusing stand in one place; nothing has run by then.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type DocumentNode, execute, getOperationAST, type OperationTypeNode } from 'graphql';
import type { Context } from '../schema/context.ts';
import { schema } from '../schema/schema.ts';
import { COLUMNS_TYPE, writeColumns } from './columns.ts';
import { checkCost } from './cost.ts';
import { readDocument } from './documents.ts';
import { endPacked } from './encoding.ts';
import { present } from './present.ts';
import { checkVariables } from './variables.ts';

type Params = Readonly<Record<string, unknown>>;

/** False: nothing was done, and it is for Yoga. */
export async function answerPlainly(
  request: IncomingMessage,
  response: ServerResponse,
  { kind, cost, ...args }: Operation,
  contextValue: Context,
): Promise<boolean> {
  const type = plainType(request.headers.accept ?? '*/*');
  if (type === null || kind === 'subscription') return false;
  const result = await execute({ schema, contextValue, ...args });
  // Variables of a wrong type: no resolver was called.
  if (result.data === undefined) return false;
  const { requestId, log } = contextValue;
  const { data, errors } = result;
  const answer = {
    ...(errors ? { errors: errors.map((error) => present(error, requestId, log).toJSON()) } : {}),
    data,
    extensions: { cost },
  };
  const body = type === COLUMNS_TYPE ? writeColumns(answer) : JSON.stringify(answer);
  const headers = { 'content-type': type === COLUMNS_TYPE ? type : `${type}; charset=utf-8` };
  await endPacked(request, response, headers, body);
  return true;
}

const GRAPHQL_RESPONSE = 'application/graphql-response+json';
const ANSWERS: Readonly<Record<string, string>> = {
  [GRAPHQL_RESPONSE]: GRAPHQL_RESPONSE,
  'application/json': 'application/json',
  'application/*': 'application/json',
  '*/*': 'application/json',
  [COLUMNS_TYPE]: COLUMNS_TYPE,
};

/** The first that we have, like Yoga; null where something else than JSON is asked for as well. */
function plainType(accept: string): string | null {
  if (Object.hasOwn(ANSWERS, accept)) return ANSWERS[accept] as string;
  if (/charset|event-stream|multipart|text\/\*/i.test(accept)) return null;
  for (const one of accept.split(',')) {
    const [type = ''] = one.trim().toLowerCase().split(';');
    if (Object.hasOwn(ANSWERS, type)) return ANSWERS[type] as string;
  }
  return null;
}

const PARAMETERS = new Set(['query', 'variables', 'operationName', 'extensions']);

export interface Operation {
  kind: OperationTypeNode;
  document: DocumentNode;
  operationName?: string;
  variableValues?: Record<string, unknown>;
  cost: number;
}

/** Null for what is wrong. */
export function readOperation(params: Params): Operation | null {
  const { query, variables, operationName } = params;
  if (typeof query !== 'string') return null;
  if (operationName != null && typeof operationName !== 'string') return null;
  if (!isObjectOrNone(variables) || !isObjectOrNone(params.extensions)) return null;
  for (const name of Object.keys(params)) if (!PARAMETERS.has(name)) return null;
  try {
    checkVariables(variables);
    const document = readDocument(query);
    if (!('kind' in document)) return null;
    const kind = getOperationAST(document, operationName)?.operation;
    if (!kind) return null;
    return {
      kind,
      document,
      ...(operationName == null ? {} : { operationName }),
      ...(variables == null ? {} : { variableValues: variables }),
      cost: checkCost(document, operationName, variables),
    };
  } catch {
    // Yoga comes to the same, and says so.
    return null;
  }
}

function isObjectOrNone(value: unknown): value is Record<string, unknown> | null | undefined {
  return value == null || (typeof value === 'object' && !Array.isArray(value));
}
