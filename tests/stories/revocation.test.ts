// What is revoked at one server is refused by every other within a second, and what it has open there is closed within
// five: with Redis, without it, and while it is down.
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { atTheMachine } from '../../src/access/audit.ts';
import { createPool } from '../../src/db/pool.ts';
import { createPrisma } from '../../src/db/prisma.ts';
import { createResetLink } from '../../src/identity/sign-in/reset.ts';
import { until } from '../support/client.ts';
import { createDatabase } from '../support/database.ts';
import { post } from '../support/identity.ts';
import { silentLog } from '../support/log.ts';
import {
  askAs,
  type Credential,
  makeKeyOf,
  makePerson,
  makeSession,
  makeWorkspace,
  mustAs,
  type Person,
  type Place,
} from '../support/people.ts';
import { freePort } from '../support/port.ts';
import { startRedis } from '../support/redis.ts';
import { cookieOf } from '../support/secret.ts';
import { removeHome, startServerProcess } from '../support/server-process.ts';
import { send } from '../support/send.ts';

/** The promises. */
const REFUSED_MS = 1_000;
const CLOSED_MS = 5_000;

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

/** Two servers on one database, a person who owns a workspace, and hands on that database for what has no mutation. */
async function startTwo(redisUrl: string | undefined, more: Record<string, string> = {}) {
  const database = await createDatabase();
  stops.push(() => database.drop());
  const env = { DATABASE_URL: database.url, ...(redisUrl ? { REDIS_URL: redisUrl } : {}), ...more };
  // As behind a proxy: both are reached by one address, which stands in tokens.
  const RUNTIDE_PUBLIC_URL = 'http://runs.example.org';
  const start = async () => {
    const port = await freePort();
    const server = await startServerProcess({ env: { ...env, RUNTIDE_PUBLIC_URL, RUNTIDE_PORT: String(port) } });
    stops.push(async () => {
      await server.end();
      await removeHome(server.home);
    });
    return { url: `http://localhost:${port}` };
  };
  const servers = await Promise.all([start(), start()]);
  const pool = createPool({ connectionString: database.url, size: 2, log: silentLog });
  const db = createPrisma(pool, undefined);
  stops.push(async () => {
    await db.$disconnect();
    await pool.end();
  });
  const [here, there] = servers.map(({ url }) => ({ url, engines: { db } })) as [Place, Place];
  return { here, there, db };
}

/** A socket of that credential at that server, which is watching; when and how it was closed. */
async function watch(
  url: string,
  credential: Credential | null,
  projectId?: string,
): Promise<{ closed: Promise<{ code: number; at: number }> }> {
  const headers = { ...credential };
  const ws = new WebSocket(`${url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'], { headers });
  const closed = once(ws, 'close').then(([code]: unknown[]) => ({ code: code as number, at: Date.now() }));
  stops.push(async () => ws.terminate());
  await once(ws, 'open');
  ws.send('{"type":"connection_init"}');
  const [message] = (await once(ws, 'message')) as [Buffer];
  expect(message.toString()).toBe('{"type":"connection_ack"}');
  if (projectId !== undefined) {
    const query = 'subscription($id: ID!) { runs(projectId: $id) { type } }';
    ws.send(JSON.stringify({ type: 'subscribe', id: 'a', payload: { query, variables: { id: projectId } } }));
  }
  return { closed };
}

type Story = { name: string; credential: Credential; slug: string; revoke(): Promise<unknown> };

/** Each credential as it is shown at `there`, and how it is ended at `here`. */
async function stories(here: Place): Promise<Story[]> {
  const { db } = here.engines;
  const owner = await makePerson(here, 'Olga');
  const admin = await makePerson(here, 'administrator of the server');
  await db.user.update({ where: { id: admin.userId }, data: { isAdmin: true } });
  const person = (name: string) => makePerson(here, name);
  const [signsOut, removed, deleted, keyed] = [
    await person('signs out'),
    await person('is removed'),
    await person('is deleted'),
    await person('had a key'),
  ];
  const [roams, roamsMuch, forgets] = [
    await person('is signed in twice'),
    await person('is signed in often'),
    await person('has forgotten the password'),
  ];
  const suspendedByHand = await person('is suspended by hand');
  const [tokened, tokenMaker] = [await person('had a token'), await person('made a token')];
  const [suspended, suspendedToo] = [await person('is suspended'), await person('is suspended, and has a key')];
  const [goes, goesToo] = [await person('is deleted by an administrator'), await person('is so, and has a key')];
  const tokens = [tokened, tokenMaker, suspendedByHand];
  const people = [
    signsOut,
    removed,
    deleted,
    keyed,
    roams,
    roamsMuch,
    forgets,
    suspended,
    suspendedToo,
    goes,
    goesToo,
    ...tokens,
  ];
  const { workspaceId, slug } = await makeWorkspace(here, 'lab', [
    [owner, 'OWNER'],
    ...people.map((one) => [one, 'MEMBER'] as const),
  ]);
  // Another workspace, so that the session as such stays good.
  await makeWorkspace(here, 'own', [[removed, 'OWNER']]);
  const account = await db.serviceAccount.create({ data: { id: crypto.randomUUID(), workspaceId, name: 'ci' } });
  const key = (options: object) => makeKeyOf(here, { workspaceId, userId: owner.userId, ...options });
  const [revoked, disabled, left] = [await key({}), await key({}), await key({ userId: keyed.userId })];
  const service = await makeKeyOf(here, { workspaceId, serviceAccountId: account.id });
  const maker = await key({});
  const tokenOf = async (by: Credential): Promise<Credential> => {
    const create = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token } }';
    const { createToken } = await mustAs(here, by, create, { input: { workspaceId, scopes: ['READ'], ttl: 600 } });
    return { authorization: `Bearer ${createToken.token}` };
  };
  const signOut = ({ session }: Person) =>
    send(here.url, '/api/auth/sign-out', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...session },
      body: '{}',
    });
  const ofSuspended = await key({ userId: suspendedToo.userId });
  const ofGone = await key({ userId: goesToo.userId });
  const elsewhere = (who: Person, id?: string) => makeSession(db, who.userId, id).then(cookieOf);
  const lostId = crypto.randomUUID();
  const [lost, another] = [await elsewhere(roams, lostId), await elsewhere(roamsMuch)];
  const asOwner = (query: string, variables: object) => mustAs(here, owner.session, query, { ...variables });
  const asAdmin = (query: string, variables: object) => mustAs(here, admin.session, query, { ...variables });
  const suspend = ({ userId: id }: Person) =>
    asAdmin('mutation($id: ID!) { suspendUser(input: { id: $id }) { user { suspendedAt } } }', { id });
  const deleteUser = ({ userId: id }: Person) =>
    asAdmin('mutation($id: ID!, $to: ID!) { deleteUser(input: { id: $id, handOverTo: $to }) { id } }', {
      id,
      to: owner.userId,
    });
  const remove = ({ userId }: Person) =>
    asOwner('mutation($input: RemoveMemberInput!) { removeMember(input: $input) { userId } }', {
      input: { workspaceId, userId },
    });
  return [
    {
      name: 'a key that is revoked',
      credential: revoked.bearer,
      revoke: () =>
        asOwner('mutation($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }', { id: revoked.id }),
    },
    {
      name: 'a key that is disabled',
      credential: disabled.bearer,
      revoke: () =>
        asOwner('mutation($id: ID!) { updateApiKey(input: { id: $id, enabled: false }) { apiKey { id } } }', {
          id: disabled.id,
        }),
    },
    {
      name: 'a key of a service account that is deleted',
      credential: service.bearer,
      revoke: () =>
        asOwner('mutation($id: ID!) { deleteServiceAccount(input: { id: $id }) { id } }', { id: account.id }),
    },
    { name: 'a key of somebody who is removed', credential: left.bearer, revoke: () => remove(keyed) },
    {
      name: 'a session that is signed out',
      credential: signsOut.session,
      revoke: () => signOut(signsOut),
    },
    {
      name: 'a membership that is ended',
      credential: removed.session,
      revoke: () => remove(removed),
    },
    {
      name: 'a session that is revoked by another one of the same person',
      credential: lost,
      revoke: () =>
        mustAs(here, roams.session, 'mutation($id: ID!) { revokeSession(input: { id: $id }) { id } }', { id: lostId }),
    },
    {
      name: 'all other sessions of a person',
      credential: another,
      revoke: () => mustAs(here, roamsMuch.session, 'mutation { revokeOtherSessions { count } }'),
    },
    {
      name: 'an account that is suspended: its session',
      credential: suspended.session,
      revoke: () => suspend(suspended),
    },
    {
      name: 'an account that is suspended: its key',
      credential: ofSuspended.bearer,
      revoke: () => suspend(suspendedToo),
    },
    {
      name: 'a session after the password was reset',
      credential: forgets.session,
      revoke: async () => {
        const link = await createResetLink(db, here.url, forgets.userId, atTheMachine());
        const answer = await post(here, '/reset-password', {
          token: link.split('#')[1],
          newPassword: 'another horse',
        });
        expect(answer.status).toBe(200);
      },
    },
    {
      name: 'an account that is deleted: its session',
      credential: goes.session,
      revoke: () => deleteUser(goes),
    },
    {
      name: 'an account that is deleted: its key',
      credential: ofGone.bearer,
      revoke: () => deleteUser(goesToo),
    },
    {
      name: 'an account that is deleted, by hand in the database',
      credential: deleted.session,
      revoke: () => db.user.delete({ where: { id: deleted.userId } }),
    },
    {
      name: 'a token of a key that is revoked',
      credential: await tokenOf(maker.bearer),
      revoke: () =>
        asOwner('mutation($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }', { id: maker.id }),
    },
    {
      name: 'a token of a session that is signed out',
      credential: await tokenOf(tokenMaker.session),
      revoke: () => signOut(tokenMaker),
    },
    {
      name: 'a token of somebody who is removed',
      credential: await tokenOf(tokened.session),
      revoke: () => remove(tokened),
    },
    {
      name: 'a token of an account that is suspended, by hand in the database',
      credential: await tokenOf(suspendedByHand.session),
      revoke: () => db.user.update({ where: { id: suspendedByHand.userId }, data: { suspendedAt: new Date() } }),
    },
  ].map((story) => ({ ...story, slug }));
}

/** Asks again and again until it is refused; when the last one was asked that was still answered. */
async function lastAnswered(url: string, { name, credential, slug }: Story): Promise<number> {
  let last = 0;
  const query = 'query($slug: String!) { workspace(slug: $slug) { name } }';
  await until(async () => {
    const asked = Date.now();
    const { data } = await askAs({ url }, credential, query, { slug });
    if (data?.workspace) last = asked;
    return !data?.workspace;
  }, `${name}: it is refused`);
  return last;
}

test.each(['with Redis', 'without Redis', 'while Redis is down'])(
  'revoked at one server, %s',
  { timeout: 60_000 },
  async (mode) => {
    const redis = mode === 'without Redis' ? null : await startRedis();
    if (redis) stops.push(() => redis.stop());
    const { here, there } = await startTwo(redis?.url);
    const all = await stories(here);
    const sockets = await Promise.all(all.map(({ credential }) => watch(there.url, credential)));
    const kept = await makeKeyOf(here, await ownKey(here));
    const open = await watch(there.url, kept.bearer);
    // All of them are known there, and believed.
    for (const { name, credential } of all)
      expect([name, (await askAs(there, credential, '{ server { version } }')).status]).toEqual([name, 200]);
    if (mode === 'while Redis is down') await redis?.kill();

    for (const [index, story] of all.entries()) {
      await story.revoke();
      const revokedAt = Date.now();
      const last = await lastAnswered(there.url, story);
      expect([story.name, last - revokedAt]).toEqual([
        story.name,
        expect.toSatisfy((late: number) => late < REFUSED_MS),
      ]);
      const { code, at } = await (sockets[index] as (typeof sockets)[number]).closed;
      expect([story.name, code]).toEqual([story.name, 4403]);
      expect(at - revokedAt).toBeLessThan(CLOSED_MS);
    }
    // Whoever was not meant goes on.
    expect((await askAs(there, kept.bearer, '{ server { version } }')).status).toBe(200);
    expect(await Promise.race([open.closed, Promise.resolve('open')])).toBe('open');
  },
);

test.each(['with Redis', 'without Redis'])(
  'hidden at one server, %s: whoever may not see a project any more is told so by the other',
  { timeout: 60_000 },
  async (mode) => {
    const redis = mode === 'with Redis' ? await startRedis() : null;
    if (redis) stops.push(() => redis.stop());
    const { here, there } = await startTwo(redis?.url, { RUNTIDE_PUBLIC_PROJECTS: 'true' });
    const [maker, other] = [await makePerson(here, 'Max'), await makePerson(here, 'Eve')];
    const { slug } = await makeWorkspace(here, 'lab', [
      [maker, 'MEMBER'],
      [other, 'MEMBER'],
    ]);
    const change = (field: string, type: string, input: object) =>
      mustAs(here, maker.session, `mutation($input: ${type}!) { ${field}(input: $input) { __typename } }`, { input });
    const look = 'query($id: ID!) { project(id: $id) { id } }';
    const sees = async (credential: Credential | null, id: string) =>
      (await askAs(there, credential, look, { id })).data?.project != null;
    const [insider, outsider] = [other.session, null];

    for (const [who, credential, visibility, hide] of [
      [
        'a member',
        insider,
        'WORKSPACE',
        (id: string) => change('updateProject', 'UpdateProjectInput', { id, visibility: 'PRIVATE' }),
      ],
      [
        'anybody',
        outsider,
        'PUBLIC',
        (id: string) => change('updateProject', 'UpdateProjectInput', { id, visibility: 'WORKSPACE' }),
      ],
      [
        'a member, of what is deleted',
        insider,
        'PUBLIC',
        (id: string) => change('deleteProject', 'DeleteProjectInput', { id }),
      ],
    ] as const) {
      const create = 'mutation($input: CreateProjectInput!) { createProject(input: $input) { project { id } } }';
      const input = { workspace: slug, name: who, visibility };
      const { id } = (await mustAs(here, maker.session, create, { input })).createProject.project as { id: string };
      await until(() => sees(credential, id), 'it is seen there');
      const kept = await watch(there.url, maker.session);
      const { closed } = await watch(there.url, credential, id);
      await hide(id);
      const hiddenAt = Date.now();
      let last = 0;
      await until(async () => {
        const asked = Date.now();
        const isSeen = await sees(credential, id);
        if (isSeen) last = asked;
        return !isSeen;
      }, 'it is hidden');
      expect([who, last - hiddenAt]).toEqual([who, expect.toSatisfy((late: number) => late < REFUSED_MS)]);
      const { code, at } = await closed;
      expect([who, code]).toEqual([who, 4403]);
      expect(at - hiddenAt).toBeLessThan(CLOSED_MS);
      expect(await Promise.race([kept.closed, Promise.resolve('open')])).toBe('open');
    }
  },
);

async function ownKey(place: Place) {
  const somebody = await makePerson(place, 'somebody else');
  const { workspaceId } = await makeWorkspace(place, 'elsewhere', [[somebody, 'OWNER']]);
  return { workspaceId, userId: somebody.userId };
}
