// An invitation's link goes to whom it is for: escaped, bounded, and without a mail the link alone.
import { hash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { makePerson, makeWorkspace, mustAs, type Person } from '../../support/people.ts';
import { type Smtp, startSmtp } from '../../support/smtp.ts';

const PUBLIC = 'https://runs.example.org';
const INVITE =
  'mutation($input: InviteMemberInput!) { inviteMember(input: $input) { token link mailSent invitation { email } } }';

let smtp: Smtp;
let app: App;
let ada: Person;
let workspaceId: string;
beforeAll(async () => {
  smtp = await startSmtp();
  app = await startApp({ mailer: smtp.mailer, publicUrl: PUBLIC });
  ada = await makePerson(app, 'Ada <b>Lovelace</b>');
  ({ workspaceId } = await makeWorkspace(app, 'Lab\r\nBcc: all@example.org & https://evil.example', [[ada, 'OWNER']]));
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await smtp[Symbol.asyncDispose]();
});

async function invite(input: object, person = ada) {
  const { inviteMember } = await mustAs(app, person.session, INVITE, { input: { workspaceId, ...input } });
  return inviteMember as { token: string; link: string; mailSent: boolean };
}

test('with an address the link is mailed too, in words of ours around names of theirs', async () => {
  const { token, link, mailSent } = await invite({ email: 'Grace@example.org' });
  expect([mailSent, link]).toEqual([true, `${PUBLIC}/app/invitation#${token}`]);
  const mail = await smtp.take('grace@example.org', /^Invitation to “Lab Bcc/);
  expect(mail.text).toContain(link);
  expect(mail.text).toContain('“Ada <b>Lovelace</b>” invites you');
  expect(mail.html).toContain('Ada &lt;b&gt;Lovelace&lt;/b&gt;');
  expect(mail.html).not.toContain('<b>');
  expect([mail.headers.bcc, mail.to]).toEqual([undefined, ['grace@example.org']]);
  // Nothing in it is a link but ours.
  expect(mail.text.match(/https?:\S+/g)).toEqual([link]);
});

test('without an address, or without an SMTP server, there is the link alone', async () => {
  expect(await invite({})).toMatchObject({ mailSent: false, link: expect.stringContaining('/app/invitation#rti_') });
  await using mute = await startApp({ databaseUrl: app.databaseUrl });
  const input = { workspaceId, email: 'mute@example.org' };
  const { inviteMember } = await mustAs(mute, ada.session, INVITE, { input });
  expect(inviteMember).toMatchObject({ mailSent: false, link: expect.stringContaining('/app/invitation#rti_') });
});

test('one who invites many, many of one workspace, and many to one address: past a bound nothing is sent', async () => {
  const bounds = [`invitations by ${ada.userId}`, `invitations to ${workspaceId}`, 'mails to linus@example.org'];
  for (const [n, key] of bounds.entries()) {
    await app.engines.pool.query(
      `INSERT INTO attempts (key, count, reset_at) VALUES ($1, 1000, now() + interval '1 day')
       ON CONFLICT (key) DO UPDATE SET count = 1000`,
      [hash('sha256', key)],
    );
    const email = n === 2 ? 'linus@example.org' : `invited-${n}@example.org`;
    expect([key, (await invite({ email })).mailSent]).toEqual([key, false]);
    await app.engines.pool.query('DELETE FROM attempts');
  }
  expect((await invite({ email: 'after@example.org' })).mailSent).toBe(true);
  await smtp.take('after@example.org', /Invitation/);
  // The tenth to one address is the last.
  for (let n = 1; n <= 12; n++) {
    const { mailSent } = await invite({ email: 'often@example.org' });
    expect([n, mailSent]).toEqual([n, n <= 10]);
  }
});
