// A server, a workspace of its own for each test, and tokens that its owner makes.
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import {
  askAs,
  type Credential,
  makeKeyOf,
  makePerson,
  makeWorkspace,
  mustAs,
  type Person,
} from '../../support/people.ts';

const CREATE = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token expiresAt } }';
export const VIEWER = '{ viewer { name workspaces { slug } } }';
export const UNAUTHENTICATED = 'UNAUTHENTICATED';
const RUN = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } } } }';

export interface Lab {
  app: App;
  owner: Person;
  workspaceId: string;
  slug: string;
}

/** Filled before each test. */
export function useLab(): Lab {
  const lab = {} as Lab;
  beforeAll(async () => {
    lab.app = await startApp();
  });
  beforeEach(async () => {
    lab.owner = await makePerson(lab.app, 'Olga');
    Object.assign(lab, await makeWorkspace(lab.app, 'lab', [[lab.owner, 'OWNER']]));
  });
  afterAll(() => lab.app[Symbol.asyncDispose]());
  return lab;
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

export function tokensOf(lab: Lab) {
  const ask = (by: Credential, input: object) =>
    askAs(lab.app, by, CREATE, { input: { workspaceId: lab.workspaceId, scopes: ['READ'], ...input } });
  const codeOf = async (answer: ReturnType<typeof ask>) => (await answer).errors?.[0]?.extensions.code ?? null;
  const make = async (by: Credential, input: object = {}): Promise<{ token: string; expiresAt: string }> => {
    const { data, errors } = await ask(by, input);
    expect(errors).toBeUndefined();
    return data.createToken;
  };
  const tokenOf = async (by: Credential, input: object = {}) => bearer((await make(by, input)).token);
  const keyOf = (options: object = {}) =>
    makeKeyOf(lab.app, { workspaceId: lab.workspaceId, userId: lab.owner.userId, ...options });
  const makeRun = async (project: string) =>
    (await mustAs(lab.app, lab.owner.session, RUN, { input: { workspace: lab.slug, project } })).createRun.run as {
      id: string;
      project: { id: string };
    };
  const publicKeys = async () =>
    ((await (await fetch(`${lab.app.url}/.well-known/jwks.json`)).json()) as { keys: Record<string, string>[] }).keys;
  return { ask, codeOf, make, tokenOf, keyOf, makeRun, publicKeys };
}
