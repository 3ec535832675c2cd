// Tokens that are refused as soon as anything about them is not right.
import { createHmac, randomUUID } from 'node:crypto';
import { symmetricDecrypt } from 'better-auth/crypto';
import fc from 'fast-check';
import { generateKeyPair, importJWK, SignJWT } from 'jose';
import { beforeEach, describe, expect, test } from 'vitest';
import { askAs, codeAs } from '../../support/people.ts';
import { AUTH_SECRET } from '../../support/secret.ts';
import { connect } from '../../support/socket.ts';
import { bearer, tokensOf, UNAUTHENTICATED, useLab, VIEWER } from './lab.ts';

const lab = useLab();
let { app, owner, workspaceId } = lab;
beforeEach(() => {
  ({ app, owner, workspaceId } = lab);
});
const { make } = tokensOf(lab);

async function stolenKey() {
  const row = await app.engines.db.jwks.findFirstOrThrow({ orderBy: { createdAt: 'desc' } });
  const jwk = JSON.parse(await symmetricDecrypt({ key: AUTH_SECRET, data: row.privateKey })) as Record<string, string>;
  return { kid: row.id, key: await importJWK(jwk, 'EdDSA'), x: jwk.x as string };
}

interface Forgery {
  header?: Record<string, unknown>;
  /** Undefined: left out. */
  claims?: Record<string, unknown>;
  key?: Parameters<SignJWT['sign']>[0];
}

const seconds = (offset: number) => Math.floor(Date.now() / 1_000) + offset;
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Right in everything, except for what is said here. */
async function forge({ header = {}, claims = {}, key }: Forgery = {}): Promise<string> {
  const stolen = await stolenKey();
  const { id: parent } = await app.engines.db.session.findFirstOrThrow({ where: { userId: owner.userId } });
  const payload = {
    iss: app.url,
    aud: 'runtide',
    sub: owner.userId,
    jti: randomUUID(),
    iat: seconds(0),
    exp: seconds(600),
    parent: `session:${parent}`,
    workspace: workspaceId,
    scope: 'READ',
    ...claims,
  };
  return new SignJWT(JSON.parse(JSON.stringify(payload)) as Record<string, unknown>)
    .setProtectedHeader({ alg: 'EdDSA', typ: 'runtide+jwt', kid: stolen.kid, ...header })
    .sign(key ?? stolen.key, { crit: { more: true } });
}

describe('forged tokens', () => {
  beforeEach(() => make(owner.session));

  test('one that is right in everything is taken, and so is what is only good to know', async () => {
    expect(await codeAs(app, bearer(await forge()), VIEWER)).toBeNull();
    // Clocks differ a little.
    expect(await codeAs(app, bearer(await forge({ claims: { iat: seconds(20) } })), VIEWER)).toBeNull();
  });

  const wrong: Record<string, () => Promise<string>> = {
    'no algorithm': async () => {
      const [, payload] = (await forge()).split('.');
      return `${encode({ alg: 'none', typ: 'runtide+jwt', kid: (await stolenKey()).kid })}.${payload}.`;
    },
    'no algorithm, with a signature': async () => {
      const [, payload, signature] = (await forge()).split('.');
      return `${encode({ alg: 'none', typ: 'runtide+jwt', kid: (await stolenKey()).kid })}.${payload}.${signature}`;
    },
    'HS256 with the public key as the secret': async () => {
      const { kid, x } = await stolenKey();
      const [, payload] = (await forge()).split('.');
      const signed = `${encode({ alg: 'HS256', typ: 'runtide+jwt', kid })}.${payload}`;
      return `${signed}.${createHmac('sha256', Buffer.from(x, 'base64url')).update(signed).digest('base64url')}`;
    },
    'HS512 with the public key as the secret': async () => {
      const { kid, x } = await stolenKey();
      const [, payload] = (await forge()).split('.');
      const signed = `${encode({ alg: 'HS512', typ: 'runtide+jwt', kid })}.${payload}`;
      return `${signed}.${createHmac('sha512', Buffer.from(x, 'base64url')).update(signed).digest('base64url')}`;
    },
    'another type': () => forge({ header: { typ: 'JWT' } }),
    'no type': () => forge({ header: { typ: undefined } }),
    'another audience': () => forge({ claims: { aud: 'elsewhere' } }),
    'no audience': () => forge({ claims: { aud: undefined } }),
    'another issuer': () => forge({ claims: { iss: 'https://runs.example.org' } }),
    'no issuer': () => forge({ claims: { iss: undefined } }),
    'no expiry': () => forge({ claims: { exp: undefined } }),
    'an expiry that is text': () => forge({ claims: { exp: String(seconds(600)) } }),
    'no time of issue': () => forge({ claims: { iat: undefined } }),
    'no id': () => forge({ claims: { jti: undefined } }),
    'nobody whose it is': () => forge({ claims: { sub: undefined } }),
    'somebody else whose it is': () => forge({ claims: { sub: randomUUID() } }),
    'no parent': () => forge({ claims: { parent: undefined } }),
    'a parent that is not there': () => forge({ claims: { parent: `key:${randomUUID()}` } }),
    'a parent of another kind': () => forge({ claims: { parent: `token:${randomUUID()}` } }),
    'a parent with SQL': () => forge({ claims: { parent: "key:' OR 1=1 --" } }),
    'a list of parents': () => forge({ claims: { parent: [`key:${randomUUID()}`] } }),
    'no workspace': () => forge({ claims: { workspace: undefined } }),
    "another's workspace": () => forge({ claims: { workspace: app.owner.workspaceId } }),
    'no scope': () => forge({ claims: { scope: undefined } }),
    'an unknown scope': () => forge({ claims: { scope: 'EVERYTHING' } }),
    'projects that are none': () => forge({ claims: { projects: 'all' } }),
    'no projects': () => forge({ claims: { projects: [] } }),
    'ended an hour ago': () => forge({ claims: { iat: seconds(-5_400), exp: seconds(-3_600) } }),
    'ended a second ago': () => forge({ claims: { iat: seconds(-60), exp: seconds(-1) } }),
    'issued an hour ahead': () => forge({ claims: { iat: seconds(3_600), exp: seconds(7_000) } }),
    'not before an hour ahead': () => forge({ claims: { nbf: seconds(3_600) } }),
    'lasting too long': () => forge({ claims: { exp: seconds(3_601) } }),
    'lasting for ever': () => forge({ claims: { exp: 1e300 } }),
    'an unknown key': () => forge({ header: { kid: randomUUID() } }),
    'a key with SQL': () => forge({ header: { kid: "' OR 1=1; DROP TABLE jwks; --" } }),
    'a key with a path': () => forge({ header: { kid: '../../../../dev/null' } }),
    'a key of a prototype': () => forge({ header: { kid: '__proto__' } }),
    'a key that is a number': () => forge({ header: { kid: 1 } }),
    'no key': () => forge({ header: { kid: undefined } }),
    'an extension that must be understood': () => forge({ header: { crit: ['more'], more: 1 } }),
    'another installation, with the same claims': async () =>
      forge({ key: (await generateKeyPair('EdDSA')).privateKey }),
    'its own key in the header': async () => {
      const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
      const jwk = await crypto.subtle.exportKey('jwk', publicKey);
      return forge({ key: privateKey, header: { jwk, jku: 'http://127.0.0.1:1/keys', x5c: ['AAAA'] } });
    },
    truncated: async () => (await forge()).slice(0, -1),
    'without its signature': async () => (await forge()).split('.').slice(0, 2).join('.') + '.',
    'two joined': async () => (await forge()) + (await forge()),
    'two joined by a dot': async () => `${await forge()}.${await forge()}`,
    'with more behind': async () => `${await forge()}AA`,
    'the signature of another': async () =>
      [...(await forge()).split('.').slice(0, 2), (await forge()).split('.')[2]].join('.'),
    'encrypted, by its form': async () => `${await forge()}.AAAA.AAAA`,
    'nothing but dots': async () => '..',
    'an empty one': async () => 'eyJhbGciOiJub25lIn0.e30.',
    'not JSON': async () => `${Buffer.from('{').toString('base64url')}.e30.${'A'.repeat(86)}`,
  };

  test.each(Object.entries(wrong))('%s', async (_, make) => {
    const token = await make();
    const answer = await askAs(app, bearer(token), VIEWER);
    expect([answer.status, answer.errors?.[0]?.extensions.code]).toEqual([401, UNAUTHENTICATED]);
    expect(answer.errors?.[0]?.message).toMatch(/make a new one|was cut or mistyped/);
    await using socket = await connect(app.url);
    socket.say({ type: 'connection_init', payload: bearer(token) });
    expect((await socket.closed).code).toBe(4401);
  });

  test('of a megabyte, in a header and over WebSocket', async () => {
    const long = `${encode({ alg: 'EdDSA', typ: 'runtide+jwt' })}.${'A'.repeat(1_000_000)}.${'A'.repeat(86)}`;
    const response = await fetch(`${app.url}/graphql`, { method: 'POST', headers: bearer(long) });
    expect(response.status).toBe(431);
    await using socket = await connect(app.url);
    socket.say({ type: 'connection_init', payload: bearer(long) });
    expect((await socket.closed).code).toBe(4401);
  });

  test('say the same, however far they came', async () => {
    const said = new Set<string>();
    for (const name of [
      'another audience',
      'an unknown key',
      'a parent that is not there',
      'another installation, with the same claims',
      'two joined',
    ])
      said.add((await askAs(app, bearer(await wrong[name]!()), VIEWER)).errors?.[0]?.message ?? '');
    expect(said.size).toBe(1);
  });

  test('any flipped byte of a token is refused', async () => {
    const { token } = await make(owner.session);
    const { tokens } = app.engines;
    await tokens.verify(token);
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.integer({ min: 1, max: 127 }), async (index, bits) => {
        const flipped = String.fromCharCode(token.charCodeAt(index) ^ bits);
        const forged = token.slice(0, index) + flipped + token.slice(index + 1);
        await expect(tokens.verify(forged)).rejects.toMatchObject({ code: UNAUTHENTICATED });
      }),
      { numRuns: 500 },
    );
    // The letters of its end one by one: there the bytes have room to spare.
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('');
    for (const letter of letters.filter((one) => !token.endsWith(one)))
      await expect(tokens.verify(token.slice(0, -1) + letter)).rejects.toMatchObject({
        code: UNAUTHENTICATED,
      });
  });

  test('made-up names of keys cost one look at the database in a while', async () => {
    const tokens = await Promise.all(Array.from({ length: 50 }, () => forge({ header: { kid: randomUUID() } })));
    const { statements } = await app.countSql(() =>
      Promise.all(tokens.map((token) => codeAs(app, bearer(token), VIEWER))),
    );
    expect(statements.length).toBeLessThanOrEqual(1);
  });
});
