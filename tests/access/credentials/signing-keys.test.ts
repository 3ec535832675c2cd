// The keys by which tokens are signed, which come and go.
import { symmetricDecrypt } from 'better-auth/crypto';
import { decodeProtectedHeader } from 'jose';
import { beforeEach, describe, expect, test } from 'vitest';
import { DUE_MS, LASTS_MS, SHOWN_MS } from '../../../src/access/credentials/signing-keys.ts';
import { startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { codeAs, mustAs } from '../../support/people.ts';
import { bearer, tokensOf, UNAUTHENTICATED, useLab, VIEWER } from './lab.ts';

const CREATE = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token expiresAt } }';

const lab = useLab();
let { app, owner, workspaceId } = lab;
beforeEach(() => {
  ({ app, owner, workspaceId } = lab);
});
const { make, tokenOf, publicKeys } = tokensOf(lab);

describe('signing keys', () => {
  const age = (id: string, ms: number) =>
    app.engines.db.jwks.update({
      where: { id },
      data: { createdAt: new Date(Date.now() - ms), expiresAt: new Date(Date.now() - ms + LASTS_MS) },
    });
  const kidOf = (token: string) => decodeProtectedHeader(token).kid as string;
  const forgetKeys = async () => {
    await app.engines.db.jwks.deleteMany();
    app.engines.changes.announce();
  };
  beforeEach(forgetKeys);

  test('are encrypted where they are kept', async () => {
    await make(owner.session);
    const [row] = await app.engines.db.jwks.findMany();
    expect(row?.privateKey).toMatch(/^[\da-f]{200,}$/);
    await expect(symmetricDecrypt({ key: 'another secret', data: row?.privateKey ?? '' })).rejects.toThrow(
      'invalid tag',
    );
  });

  test('change every 30 days: what the old one signed stays good until it ends, and then the key is gone', async () => {
    const { token: before } = await make(owner.session);
    const old = kidOf(before);
    await age(old, DUE_MS);
    app.engines.changes.announce();
    // The next is shown to others before it signs.
    const between = await make(owner.session);
    expect(kidOf(between.token)).toBe(old);
    const [next, ...more] = (await publicKeys()).map(({ kid }) => kid as string).filter((kid) => kid !== old);
    expect([next, more]).toEqual([expect.any(String), []]);
    await age(next as string, SHOWN_MS);
    app.engines.changes.announce();
    const { token: after } = await make(owner.session);
    expect(kidOf(after)).toBe(next);
    for (const token of [before, between.token, after]) expect(await codeAs(app, bearer(token), VIEWER)).toBeNull();
    await age(old, LASTS_MS);
    app.engines.changes.announce();
    expect(await codeAs(app, bearer(before), VIEWER)).toBe(UNAUTHENTICATED);
    expect(await codeAs(app, bearer(after), VIEWER)).toBeNull();
    expect((await publicKeys()).map(({ kid }) => kid)).toEqual([next]);
  });

  test('one that nobody used for long is followed at once', async () => {
    const { token } = await make(owner.session);
    await age(kidOf(token), DUE_MS + SHOWN_MS);
    app.engines.changes.announce();
    expect(kidOf((await make(owner.session)).token)).not.toBe(kidOf(token));
  });

  test('one that was taken away by hand is refused within a second, without a word to the server', async () => {
    const { token } = await make(owner.session);
    expect(await codeAs(app, bearer(token), VIEWER)).toBeNull();
    await app.engines.db.jwks.deleteMany();
    const gone = Date.now();
    await until(async () => (await codeAs(app, bearer(token), VIEWER)) === UNAUTHENTICATED, 'it is refused');
    expect(Date.now() - gone).toBeLessThan(1_000);
    expect(await codeAs(app, await tokenOf(owner.session), VIEWER)).toBeNull();
  });

  test('are made once, also by several servers at once; each takes what another has signed', async () => {
    const issuer = () => app.url;
    const others = await Promise.all([1, 2].map(() => startApp({ databaseUrl: app.databaseUrl, tokens: { issuer } })));
    try {
      await forgetKeys();
      const servers = [app, ...others];
      const made = await Promise.all(
        [...servers, ...servers].map((server) =>
          mustAs(server, owner.session, CREATE, { input: { workspaceId, scopes: ['READ'] } }),
        ),
      );
      expect(await app.engines.db.jwks.count()).toBe(1);
      for (const server of servers)
        for (const { createToken } of made) expect(await codeAs(server, bearer(createToken.token), VIEWER)).toBeNull();
    } finally {
      for (const other of others) await other[Symbol.asyncDispose]();
    }
  });
});
