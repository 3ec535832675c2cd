// Signing in at a real OpenID Connect provider: who somebody becomes.
import { hash } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createSetUpLink } from '../../../src/identity/sign-in/links.ts';
import { type App, type AppOptions, startApp } from '../../support/app.ts';
import { post, readSession, register } from '../../support/identity.ts';
import { CLIENT_ID, type Issuer, signInAt, startIssuer, visitor } from '../../support/oidc.ts';
import { askAs, mustAs } from '../../support/people.ts';

let issuer: Issuer;
let app: App;
beforeAll(async () => {
  issuer = await startIssuer();
  app = await startApp({ providers: { oidc: issuer.settings() } });
  issuer.serve(app);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await issuer[Symbol.asyncDispose]();
});

/** Another server at the same provider. */
async function another(options: AppOptions = {}, more = {}): Promise<App> {
  const made = await startApp({ providers: { oidc: issuer.settings(more) }, ...options });
  onTestFinished(() => made[Symbol.asyncDispose]());
  issuer.serve(made);
  return made;
}

function known(subject: string, more: Record<string, unknown> = {}): string {
  issuer.people.set(subject, { name: subject, email: `${subject}@example.org`, email_verified: true, ...more });
  return subject;
}

async function people({ engines: { db } }: App) {
  return [await db.user.count(), await db.account.count(), await db.session.count(), await db.workspace.count()];
}

test('whoever is known there gets in here, with an account and a workspace of their own', async () => {
  known('s-ada', {
    name: 'Ada Lovelace',
    email: 'Ada@Example.org',
    preferred_username: 'ada.l',
    picture: 'https://id.example.org/ada.png',
    isAdmin: true,
  });
  const { at, session } = await signInAt(app, 's-ada', { callbackURL: '/app/ada?tab=runs' });
  expect(at.href).toBe(`${app.url}/app/ada?tab=runs`);
  const { viewer } = await mustAs(app, session, '{ viewer { name email workspaces { slug viewerRole } } }');
  expect(viewer).toEqual({
    name: 'Ada Lovelace',
    email: 'ada@example.org',
    workspaces: [{ slug: 'ada-l', viewerRole: 'OWNER' }],
  });
  const shown = await readSession(app, session);
  expect(shown).toMatchObject({
    user: { username: 'ada.l', emailVerified: true, image: 'https://id.example.org/ada.png', isAdmin: false },
  });
  // What was asked for there.
  const asked = Object.fromEntries(issuer.asked() ?? []);
  expect(asked).toMatchObject({
    client_id: CLIENT_ID,
    redirect_uri: `${app.url}/api/auth/callback/oidc`,
    response_type: 'code',
    scope: 'openid email profile',
    code_challenge_method: 'S256',
    code_challenge: expect.stringMatching(/^[\w-]{43}$/),
  });
  expect([asked.state?.length, asked.nonce?.length]).toEqual([32, 32]);
  // They come back as who they are, whatever their address is by now, and nothing that opens anything is kept.
  known('s-ada', { email: 'lovelace@example.org', preferred_username: 'ada.l' });
  const before = await people(app);
  const again = await signInAt(app, 's-ada');
  expect((await mustAs(app, again.session, '{ viewer { email } }')).viewer).toEqual({ email: 'ada@example.org' });
  expect(await people(app)).toEqual(before.with(2, (before[2] ?? 0) + 1));
  const account = await app.engines.db.account.findFirstOrThrow({ where: { providerId: 'oidc' } });
  expect(account).toMatchObject({
    accountId: `${issuer.url}#s-ada`,
    accessToken: null,
    refreshToken: null,
    idToken: null,
    password: null,
  });
  expect(await app.engines.db.verification.count()).toBe(0);
  const signedIn = await app.engines.db.auditEntry.findFirstOrThrow({
    where: { action: 'session.create', actorName: 'Ada Lovelace' },
  });
  expect(signedIn.details).toEqual({ by: 'oidc' });
});

test('a name, picture or user name that cannot stand here is left out, and an address has to be there', async () => {
  await register(app, 'taken');
  for (const [subject, claims, name, username] of [
    ['s-1', { name: 'a\u0000b\u2028c', preferred_username: 'taken', picture: 'javascript:alert(1)' }, 'a b c', null],
    ['s-2', { name: '', preferred_username: 'admin' }, 'admin', null],
    ['s-3', { name: 7, preferred_username: '../x', picture: 'http://id.example.org/x.png' }, '../x', null],
    ['s-4', { name: undefined, preferred_username: undefined, picture: 7 }, 's-4', null],
    ['s-5', { name: 'x'.repeat(5_000), preferred_username: 'x'.repeat(40) }, 'x'.repeat(256), null],
    ['s-6', { preferred_username: 'Fresh' }, 's-6', 'fresh'],
  ] as const) {
    known(subject, claims);
    const { session, error } = await signInAt(app, subject);
    expect([subject, error]).toEqual([subject, null]);
    expect(await readSession(app, session)).toMatchObject({ user: { name, username, image: null } });
  }
  for (const email of [undefined, 'nobody', 'a b@example.org', 7, `${'x'.repeat(300)}@example.org`]) {
    known('s-nowhere', { email });
    expect((await signInAt(app, 's-nowhere')).error).toBe('email_not_found');
  }
});

test('claims of the ID token count without userinfo; a public client has no secret; a secret can go in the body', async () => {
  for (const options of [{ inIdToken: true }, { clientAuth: 'none' }, { clientAuth: 'client_secret_post' }] as const) {
    await using other = await startIssuer(options);
    await using server = await startApp({ providers: { oidc: other.settings() } });
    other.serve(server);
    other.people.set('s', { name: 'Some Body', email: 's@example.org', email_verified: true });
    const { session } = await signInAt(server, 's');
    expect((await mustAs(server, session, '{ viewer { name } }')).viewer).toEqual({ name: 'Some Body' });
  }
});

test('an address opens an account only where the provider vouches for it, and the account has proven it too', async () => {
  const { db } = app.engines;
  const verify = (email: string, emailVerified: boolean) =>
    db.user.update({ where: { email }, data: { emailVerified } });
  // Somebody there says that they are Victor, whose account here is proven.
  const victor = await register(app, 'victor');
  await verify(victor.email, true);
  for (const emailVerified of [false, undefined, 'false', 1, null]) {
    known('s-mallory', { email: victor.email, email_verified: emailVerified });
    const { error, session } = await signInAt(app, 's-mallory');
    expect([error, await readSession(app, session)]).toEqual(['account_not_linked', null]);
  }
  // Somebody registered Vera's address here before she came: nothing of hers goes into that account.
  const vera = await register(app, 'vera');
  known('s-vera', { email: vera.email });
  const early = await signInAt(app, 's-vera');
  expect([early.error, early.at.pathname]).toEqual(['account_not_linked', '/app/sign-in']);
  expect(await db.account.count({ where: { accountId: { endsWith: '#s-vera' } } })).toBe(0);
  expect(await db.user.findUnique({ where: { email: vera.email } })).toMatchObject({ emailVerified: false });
  // Both vouch: it is the same person.
  await verify(vera.email, true);
  const linked = await signInAt(app, 's-vera');
  expect(await readSession(app, linked.session)).toMatchObject({ user: { email: vera.email, username: 'vera' } });
  // From then on by who they are, whatever the address.
  known('s-vera', { email: victor.email });
  expect(await readSession(app, (await signInAt(app, 's-vera')).session)).toMatchObject({ user: { username: 'vera' } });
  // The same subject at another issuer is somebody else.
  await using other = await startIssuer();
  await using moved = await startApp({ databaseUrl: app.databaseUrl, providers: { oidc: other.settings() } });
  other.serve(moved);
  other.people.set('s-vera', { name: 'Not Vera', email: 'not-vera@example.org', email_verified: true });
  const { session } = await signInAt(moved, 's-vera');
  expect(await readSession(moved, session)).toMatchObject({ user: { name: 'Not Vera' } });
});

test('who may register is decided by the server, for people from there too', async () => {
  const closed = await another({ identity: { registration: { mode: 'closed' } } }, roles('in=lab:MEMBER'));
  known('s-new');
  known('s-mapped', { groups: ['in'] });
  const refused = await signInAt(closed, 's-new');
  expect([refused.error, refused.at.searchParams.get('error_description')]).toEqual([
    'REGISTRATION_REFUSED',
    'this server takes no registrations: ask who administers it',
  ]);
  expect((await signInAt(closed, 's-mapped')).error).toBe('REGISTRATION_REFUSED');
  expect(await closed.engines.db.user.count()).toBe(1);

  const domain = await another({ identity: { registration: { mode: 'domain', domains: ['example.org'] } } });
  for (const [email, verified, error] of [
    ['x@example.com', true, 'REGISTRATION_REFUSED'],
    ['x@example.org', false, 'REGISTRATION_REFUSED'],
    ['x@example.org.evil.example', true, 'REGISTRATION_REFUSED'],
    ['x@example.org', true, null],
  ] as const) {
    known('s-x', { email, email_verified: verified });
    expect([email, verified, (await signInAt(domain, 's-x')).error]).toEqual([email, verified, error]);
  }

  const invite = await another({ identity: { registration: { mode: 'invite' } } }, roles('in=lab:MEMBER'));
  expect((await signInAt(invite, 's-new')).error).toBe('REGISTRATION_REFUSED');
  known('s-outside', { groups: ['out'] });
  expect((await signInAt(invite, 's-outside')).error).toBe('REGISTRATION_REFUSED');
  // The group was written down by whoever administers the server: it is an invitation.
  expect((await signInAt(invite, 's-mapped')).error).toBeNull();
  const invitation = await invitationTo(invite, 'someone-else@example.org');
  expect((await signInAt(invite, 's-new', { invitation })).error).toBe('REGISTRATION_REFUSED');
  expect((await signInAt(invite, 's-new', { invitation: 'rti_nonsense' })).error).toBe('REGISTRATION_REFUSED');
  const good = await invitationTo(invite, 's-new@example.org');
  const { session } = await signInAt(invite, 's-new', { invitation: good });
  const { viewer } = await mustAs(invite, session, '{ viewer { workspaces { slug viewerRole } } }');
  expect(viewer.workspaces).toHaveLength(2);
  expect(viewer.workspaces).toContainEqual({ slug: expect.any(String), viewerRole: 'VIEWER' });
});

test('the first account takes the link that the server printed, also for who comes from there', async () => {
  const empty = await another({}, roles('in=lab:OWNER'));
  const { db } = empty.engines;
  await db.user.deleteMany();
  known('s-first', { groups: ['in'] });
  expect((await signInAt(empty, 's-first')).error).toBe('REGISTRATION_REFUSED');
  expect(await db.user.count()).toBe(0);
  const setUp = await createSetUpLink(db);
  const { session } = await signInAt(empty, 's-first', { setUp });
  expect(await readSession(empty, session)).toMatchObject({ user: { isAdmin: true } });
});

test('where addresses are verified, nobody gets in before theirs is, whatever the provider says of them', async () => {
  const strict = await another({ identity: { registration: { mode: 'open' }, verifyEmail: true } });
  known('s-unproven', { email_verified: false });
  for (let n = 0; n < 2; n++) {
    const { error, session } = await signInAt(strict, 's-unproven');
    expect([error, await readSession(strict, session)]).toEqual(['EMAIL_NOT_VERIFIED', null]);
  }
  const where = { email: 's-unproven@example.org' };
  expect(await strict.engines.db.session.count({ where: { user: where } })).toBe(0);
  await strict.engines.db.user.update({ where, data: { emailVerified: true } });
  expect((await signInAt(strict, 's-unproven')).error).toBeNull();
  known('s-proven');
  expect((await signInAt(strict, 's-proven')).error).toBeNull();
});

test('a suspended account is refused here too', async () => {
  known('s-gone');
  expect((await signInAt(app, 's-gone')).error).toBeNull();
  const email = 's-gone@example.org';
  await app.engines.db.user.update({ where: { email }, data: { suspendedAt: new Date() } });
  const { error, at, session: none } = await signInAt(app, 's-gone');
  expect([error, at.pathname]).toEqual(['ACCOUNT_SUSPENDED', '/app/sign-in']);
  expect(await readSession(app, none)).toBeNull();
});

test('whoever is signed in can add the provider to their account, if both have the same address and it is proven there', async () => {
  const link = async (subject: string, session: { cookie: string }) => {
    const browser = visitor(subject);
    const begun = await post(app, '/link-social', { provider: 'oidc', callbackURL: '/app/me' }, session);
    // What the browser keeps: the session, and the state of this.
    for (const [name, value] of [session.cookie, begun.session.cookie].map((one) => one.split('=')))
      browser.keep(app.url, String(name), String(value));
    return (await browser.follow(String(begun.body.url), app)).href;
  };
  const { email, session } = await register(app, 'linker');
  const inPlace = `${app.url}/app/me`;
  known('s-link', { email, email_verified: false });
  expect(await link('s-link', session)).toContain('error=unable_to_link_account');
  known('s-link', { email: 'another@example.org' });
  expect(await link('s-link', session)).toContain('error=email_does_not_match');
  known('s-link', { email });
  expect((await signInAt(app, 's-link')).error).toBe('account_not_linked');
  expect(await link('s-link', session)).toBe(inPlace);
  expect(await readSession(app, (await signInAt(app, 's-link')).session)).toMatchObject({
    user: { username: 'linker' },
  });
  // Somebody else's identity cannot be taken over.
  const other = await register(app, 'link-thief');
  await app.engines.db.user.update({ where: { email }, data: { email: 'moved@example.org' } });
  await app.engines.db.user.update({ where: { email: other.email }, data: { email } });
  expect(await link('s-link', other.session)).toContain('error=account_already_linked_to_different_user');
  const nobody = await post(app, '/link-social', { provider: 'oidc' });
  expect([nobody.status, nobody.body.url]).toEqual([401, undefined]);
});

test('whoever gets the mail of an address owns its account, and not who came by it from a provider that does not vouch', async () => {
  const { db } = app.engines;
  const email = 'owner-of-the-mailbox@example.org';
  known('s-squatter', { email, email_verified: false });
  const { session } = await signInAt(app, 's-squatter');
  const { id } = await db.user.findUniqueOrThrow({ where: { email } });
  // As the mail's link does it.
  const token = 'token-of-the-mail-to-the-owner';
  const identifier = hash('sha256', `reset-password:${token}`, 'base64url');
  const expiresAt = new Date(Date.now() + 60_000);
  await db.verification.create({ data: { id: 'a', identifier, value: id, expiresAt } });
  const reset = await post(app, '/reset-password', { token, newPassword: 'correct horse battery' });
  expect([reset.status, reset.body]).toEqual([200, { status: true }]);
  expect(await readSession(app, session)).toBeNull();
  expect((await signInAt(app, 's-squatter')).error).toBe('account_not_linked');
  expect((await post(app, '/sign-in/email', { email, password: 'correct horse battery' })).status).toBe(200);
});

test('anybody may know by what people get in, and nothing more of it', async () => {
  const query = '{ server { signIn { password registration providers { id name } } } }';
  const google = { clientId: 'g', clientSecret: 'secret-of-google' };
  const github = { clientId: 'h', clientSecret: 'secret-of-github' };
  const both = await another({
    identity: { registration: { mode: 'domain', domains: ['secret.example.org'] } },
    providers: { oidc: issuer.settings(), google, github },
  });
  const answer = await askAs(both, null, query);
  expect(answer.data).toEqual({
    server: {
      signIn: {
        password: true,
        registration: 'DOMAIN',
        providers: [
          { id: 'oidc', name: 'Example Lab' },
          { id: 'google', name: 'Google' },
          { id: 'github', name: 'GitHub' },
        ],
      },
    },
  });
  expect((await askAs(app, null, query)).data?.server.signIn).toMatchObject({ registration: 'OPEN' });
});

function roles(text: string) {
  const [group = '', workspace = '', role = ''] = text.split(/[=:]/);
  return { roles: [{ group, workspace, role: role as 'MEMBER' }] };
}

async function invitationTo({ apiKey, url, owner }: App, email: string): Promise<string> {
  const input = { workspaceId: owner.workspaceId, role: 'VIEWER', email };
  const mutation = 'mutation($input: InviteMemberInput!) { inviteMember(input: $input) { token } }';
  const answer = await mustAs({ url }, { authorization: `Bearer ${apiKey}` }, mutation, { input });
  return answer.inviteMember.token as string;
}
