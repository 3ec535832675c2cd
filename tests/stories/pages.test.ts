// What people do in the pages with their accounts, workspaces and keys, as a browser shows it to them.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSignInLink } from '../../src/identity/sign-in/links.ts';
import { type App, startApp } from '../support/app.ts';
import { openPage, startChromium, type WatchedPage } from '../support/browser.ts';
import { request, until } from '../support/client.ts';
import { register } from '../support/identity.ts';
import { type Issuer, startIssuer, WHO } from '../support/oidc.ts';
import { askAs, makePerson, makeWorkspace, type Person } from '../support/people.ts';
import { SESSION_COOKIE } from '../support/secret.ts';
import { totp } from '../support/totp.ts';
import { type Mail, type Smtp, startSmtp } from '../support/smtp.ts';

let app: App;
let browser: Browser;
let issuer: Issuer;
let smtp: Smtp;
beforeAll(async () => {
  [issuer, smtp, browser] = await Promise.all([startIssuer(), startSmtp(), startChromium()]);
  app = await startApp({ providers: { oidc: issuer.settings() }, mailer: smtp.mailer });
  issuer.serve(app);
});
afterAll(async () => {
  await browser?.close();
  await app?.[Symbol.asyncDispose]();
  await issuer?.[Symbol.asyncDispose]();
  await smtp?.[Symbol.asyncDispose]();
});

const password = 'correct horse battery';

/** A browser of somebody's; closed, and asked what it complained about, when the work is done. */
async function inBrowser(work: (page: Page) => Promise<void>, who?: Person): Promise<void> {
  const { context, page, outside, complaints }: WatchedPage = await openPage(browser, app.url);
  page.setDefaultTimeout(15_000);
  if (who) await context.addCookies([{ name: SESSION_COOKIE, value: who.sessionToken, url: app.url }]);
  try {
    await work(page);
    const elsewhere = outside.filter((url) => !url.startsWith(`${issuer.url}/`));
    expect({ elsewhere, complaints }).toEqual({ elsewhere: [], complaints: [] });
  } finally {
    await context.close();
  }
}

const open = (page: Page, path: string) => page.goto(`${app.url}/app${path}`);
const arrive = (page: Page, path: string) => page.waitForURL(`${app.url}/app${path}`);
const press = (page: Page, name: string | RegExp) => page.getByRole('button', { name, exact: true }).click();
const linkIn = ({ text }: Mail) => /http\S+/.exec(text)?.[0] ?? '';
const dialog = (page: Page) => page.locator('dialog[open]');

async function fillRegistration(page: Page, username: string): Promise<void> {
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('E-mail address').fill(`${username}@example.org`);
  await page.getByLabel('Password').fill(password);
  await press(page, 'Make the account');
}

async function signOut(page: Page): Promise<void> {
  await page.getByTestId('account').click();
  await page.getByTestId('sign-out').click();
  await arrive(page, '/sign-in');
  await page.getByTestId('sign-in').waitFor();
}

async function signIn(page: Page, who: string, secret = password): Promise<void> {
  await page.getByLabel('User name or e-mail address').fill(who);
  await page.getByLabel('Password').fill(secret);
  await press(page, 'Sign in');
}

test('who registers signs out, sets up a second factor, and signs in by it or by a recovery code', async () => {
  await inBrowser(async (page) => {
    await open(page, '/register');
    await fillRegistration(page, 'newcomer');
    await arrive(page, '/');
    await signOut(page);
    await signIn(page, 'newcomer@example.org');
    await arrive(page, '/');

    await open(page, '/profile');
    const card = page.getByTestId('two-factor');
    await card.getByLabel('Your password').fill(password);
    await card.getByRole('button', { name: 'Set up' }).click();
    await card.getByRole('img', { name: /QR code/ }).waitFor();
    const secret = (await card.locator('pre').innerText()).replaceAll(' ', '');
    const code = (step = 0) => totp(`otpauth://totp/Runtide?secret=${secret}`, step);
    await card.getByLabel('The code that it shows now').fill(code());
    await card.getByRole('button', { name: 'Turn on' }).click();
    const codes = (await page.getByTestId('recovery-codes').locator('pre').innerText()).trim().split('\n');
    expect(codes.length).toBeGreaterThan(5);
    await card.getByRole('button', { name: 'I have kept them' }).click();
    await card.getByText('On', { exact: true }).waitFor();

    await signOut(page);
    await signIn(page, 'newcomer');
    await page.getByLabel('Code of your authenticator').fill('000000');
    await press(page, 'Sign in');
    await page.getByTestId('problem').waitFor();
    await page.getByLabel('Code of your authenticator').fill(code());
    await press(page, 'Sign in');
    await arrive(page, '/');

    await signOut(page);
    await signIn(page, 'newcomer');
    await press(page, 'Use a recovery code');
    await page.getByLabel('Recovery code').fill(codes[0] ?? '');
    await page.getByLabel(/Trust this device/).check();
    await press(page, 'Sign in');
    await arrive(page, '/');
    // A device that is trusted is asked no more.
    await signOut(page);
    await signIn(page, 'newcomer');
    await arrive(page, '/');
  });
}, 60_000);

test('somebody who came by a link sets a password, and ends the sessions that they do not know', async () => {
  const grace = await makePerson(app, 'Grace');
  await inBrowser(async (page) => {
    await open(page, `/sign-in#${await createSignInLink(app.engines.db, grace.userId)}`);
    await arrive(page, '/');
    await open(page, '/profile');
    await page.getByTestId('account-form').getByLabel('User name').fill('grace');
    await press(page, 'Save');
    await page.getByText('Saved', { exact: true }).waitFor();
    const form = page.getByTestId('password-form');
    await form.getByLabel('New password').fill(password);
    await press(page, 'Set a password');
    await page.getByRole('button', { name: 'Change the password' }).waitFor();

    const sessions = page.getByTestId('session');
    await until(async () => (await sessions.count()) === 2, 'both sessions are shown');
    expect(await sessions.first().innerText()).toContain('This one');
    await sessions.nth(1).getByRole('button', { name: 'End' }).click();
    await dialog(page).getByRole('button', { name: 'End' }).click();
    await until(async () => (await sessions.count()) === 1, 'the session is gone');
    const ask = () => askAs(app, grace.session, '{ viewer { id } }');
    await until(async () => (await ask()).data?.viewer == null, 'it is refused', 3_000);

    await signOut(page);
    await signIn(page, 'grace');
    await arrive(page, '/');
  });
  const { username } = await app.engines.db.user.findUniqueOrThrow({ where: { id: grace.userId } });
  expect(username).toBe('grace');
}, 60_000);

test('who was invited and has no account makes one, and is a member', async () => {
  const owner = await makePerson(app, 'Owner of the lab');
  const lab = await makeWorkspace(app, 'The lab', [[owner, 'OWNER']]);
  let link = '';
  await inBrowser(async (page) => {
    await open(page, `/workspaces/${lab.slug}/settings/invitations`);
    await page.getByLabel('Role').selectOption('VIEWER');
    await press(page, 'Make the link');
    link = await page.getByTestId('once').locator('pre').innerText();
    expect(link).toMatch(/\/app\/invitation#rti_/);
  }, owner);

  await inBrowser(async (page) => {
    await page.goto(link);
    await page.getByRole('link', { name: 'Make an account' }).click();
    await arrive(page, '/register');
    await fillRegistration(page, 'invited');
    await arrive(page, '/');
    await open(page, '/workspaces');
    await page.getByText('The lab').waitFor();
    expect(await page.getByTestId('workspace').filter({ hasText: 'The lab' }).innerText()).toContain('Viewer');
    // The link's secret is in no address that the browser remembers.
    expect(await page.evaluate(() => sessionStorage.getItem('runtide-invitation'))).toBeNull();
    await page.goBack();
    expect(page.url()).not.toContain('rti_');

    // Who reads and watches is not shown how to administer, by an address neither.
    await open(page, `/workspaces/${lab.slug}/settings`);
    await page.getByRole('heading', { name: 'About' }).waitFor();
    expect(await page.getByRole('navigation', { name: 'Settings' }).getByRole('link').allInnerTexts()).toEqual([
      'General',
      'Members',
      'Keys',
    ]);
    expect(await page.getByRole('button', { name: 'Save' }).count()).toBe(0);
    await open(page, `/workspaces/${lab.slug}/settings/audit-log`);
    await page.getByText('This is for those who administer the workspace.').waitFor();
    await open(page, `/workspaces/${lab.slug}/settings/members`);
    await page.getByText('Owner of the lab').waitFor();
    expect(await page.getByRole('button', { name: 'Remove' }).count()).toBe(0);
  });

  await inBrowser(async (page) => {
    await open(page, `/workspaces/${lab.slug}/settings/members`);
    const member = page.getByTestId('member').filter({ hasText: 'invited@example.org' });
    await member.getByRole('button', { name: 'Change role' }).click();
    await dialog(page).getByLabel('Role').selectOption('MEMBER');
    await dialog(page).getByRole('button', { name: 'Change role' }).click();
    await member.getByText('Member', { exact: true }).waitFor();
    await member.getByRole('button', { name: 'Remove' }).click();
    await dialog(page).getByRole('button', { name: 'Remove' }).click();
    await member.waitFor({ state: 'detached' });
    // What was done can be read.
    await page.getByRole('link', { name: 'Audit log' }).click();
    await page.getByText('removed the member').waitFor();
    expect(await page.getByTestId('audit-entry').first().innerText()).toMatch(
      /Owner of the lab\s+removed the member\s+invited/,
    );
  }, owner);
}, 60_000);

test('a key is made, used, and refused once it is revoked', async () => {
  const owner = await makePerson(app, 'Keeper of keys');
  const lab = await makeWorkspace(app, 'Keys', [[owner, 'OWNER']]);
  await inBrowser(async (page) => {
    await open(page, `/workspaces/${lab.slug}/settings/keys`);
    await press(page, 'New key');
    await page.getByLabel('Name').fill('training');
    await page.getByRole('checkbox', { name: 'READ' }).check();
    await press(page, 'Make the key');
    const secret = await page.getByTestId('once').locator('pre').innerText();
    const ask = () => request(app.url, secret, `{ workspace(slug: "${lab.slug}") { name } }`);
    expect((await ask()).data.workspace.name).toBe('Keys');

    await press(page, 'I have copied it');
    expect(await page.content()).not.toContain(secret);
    const key = page.getByTestId('key').filter({ hasText: 'training' });
    await key.getByRole('button', { name: 'Revoke' }).click();
    await dialog(page).getByRole('button', { name: 'Revoke' }).click();
    await key.getByText('Revoked', { exact: true }).waitFor();
    await until(async () => (await ask()).status === 401, 'the key is refused', 3_000);
  }, owner);
}, 60_000);

test('who is not signed in comes back to where they were going, and nowhere else', async () => {
  const ada = await register(app, 'returner');
  await inBrowser(async (page) => {
    await open(page, '/workspaces');
    await page.waitForURL(/\/app\/sign-in\?to=/);
    await signIn(page, 'returner', 'wrong horse');
    await page.getByTestId('problem').waitFor();
    expect(await page.getByTestId('problem').evaluate((box) => box === document.activeElement)).toBe(true);
    await signIn(page, 'returner', ada.password);
    await arrive(page, '/workspaces');
    await signOut(page);
    for (const elsewhere of ['https://elsewhere.example/', '//elsewhere.example', '/graphql']) {
      await open(page, `/sign-in?to=${encodeURIComponent(elsewhere)}`);
      await signIn(page, ada.email, ada.password);
      await arrive(page, '/');
      await signOut(page);
    }
  });
}, 60_000);

test('a provider that is set up has a button, and whoever it knows is in', async () => {
  issuer.people.set('lise', { name: 'Lise', email: 'lise@example.org', email_verified: true });
  await inBrowser(async (page) => {
    await page.context().setExtraHTTPHeaders({ [WHO]: 'lise' });
    await open(page, '/workspaces');
    await press(page, 'Continue with Example Lab');
    await arrive(page, '/workspaces');
    await page.getByTestId('workspace').filter({ hasText: 'Lise' }).waitFor();
    // What the provider or the server refuses is said where one signs in.
    await signOut(page);
    await open(page, '/sign-in?error=access_denied');
    expect(await page.getByRole('alert').innerText()).toBe('The provider did not let you in.');
  });
}, 60_000);

test('who forgot their password sets a new one by a mail, and confirms an address by another', async () => {
  const { email, username } = await register(app, 'forgetful');
  await inBrowser(async (page) => {
    await open(page, '/sign-in');
    await page.getByRole('link', { name: 'Forgotten password' }).click();
    await page.getByLabel('E-mail address of the account').fill(email);
    await press(page, 'Send me a link');
    await page.getByTestId('sent').waitFor();
    const link = linkIn(await smtp.take(email, /new password/));
    expect(link).toContain('/app/reset-password#');
    await page.goto(link);
    await page.getByLabel('New password').fill(password);
    expect(page.url()).not.toContain('#');
    await press(page, 'Change the password');
    await page.getByTestId('done').waitFor();
    await page.goto(link);
    await page.getByLabel('New password').fill('another horse');
    await press(page, 'Change the password');
    expect(await page.getByTestId('problem').innerText()).toMatch(/used already, or is too old/);
    await open(page, '/sign-in');
    await signIn(page, username);
    await arrive(page, '/');

    await page.goto(linkIn(await smtp.take(email, /address/)));
    await press(page, 'Confirm the address');
    await page.getByTestId('done').waitFor();
    const { emailVerified } = await app.engines.db.user.findUniqueOrThrow({ where: { email } });
    expect(emailVerified).toBe(true);
  });
}, 60_000);

test('who administers the server finds people, and suspends one', async () => {
  const admin = await makePerson(app, 'Server admin');
  await app.engines.db.user.update({ where: { id: admin.userId }, data: { isAdmin: true } });
  const trouble = await register(app, 'trouble');
  await inBrowser(async (page) => {
    await open(page, '/');
    await page.getByTestId('account').click();
    await page.getByRole('link', { name: 'Administration' }).click();
    await arrive(page, '/admin');
    await page.getByLabel('Name, user name or address').fill('TROUBLE');
    await press(page, 'Search');
    const person = page.getByTestId('person');
    await until(async () => (await person.count()) === 1, 'one is found');
    await person.getByRole('button', { name: 'Suspend' }).click();
    await dialog(page).getByRole('button', { name: 'Suspend' }).click();
    await person.getByText('Suspended', { exact: true }).waitFor();
    await until(
      async () => (await askAs(app, trouble.session, '{ viewer { id } }')).data?.viewer == null,
      'they are out',
      3_000,
    );
    expect(await page.getByTestId('audit-entry').first().innerText()).toMatch(/Server admin\s+suspended\s+trouble/);
  }, admin);
  // Others are shown nothing of it.
  const other = await makePerson(app, 'Nobody special');
  await inBrowser(async (page) => {
    await open(page, '/admin');
    await page.getByRole('alert').waitFor();
    expect(await page.getByTestId('people').count()).toBe(0);
  }, other);
}, 60_000);
