// Sending by a real SMTP server: in the background, again where it failed, and nothing of what people call themselves
// becomes a header or a tag.
import { createServer } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { makeLetter, quoted } from '../../src/mail/letter.ts';
import { createMailer } from '../../src/mail/mailer.ts';
import { until } from '../support/client.ts';
import { recordingLog } from '../support/log.ts';
import { freePort } from '../support/port.ts';
import { startSmtp } from '../support/smtp.ts';

const letter = makeLetter({
  kind: 'test',
  subject: 'A subject',
  says: ['It says this.'],
  link: { words: 'Go there', url: 'https://runs.example.org/app/x#secret-token' },
});

const refusal = (responseCode: number, message: string) => Object.assign(new Error(message), { responseCode });

test('a letter comes as text and as HTML, from whom it should', async () => {
  await using smtp = await startSmtp();
  expect(smtp.mailer.send('ada@example.org', letter)).toBe(true);
  const mail = await smtp.take('ada@example.org', /^A subject$/);
  expect(mail).toMatchObject({
    from: 'runtide@example.org',
    headers: { from: 'Runtide <runtide@example.org>', to: 'ada@example.org', 'auto-submitted': 'auto-generated' },
    text: 'It says this.\n\nGo there:\nhttps://runs.example.org/app/x#secret-token',
  });
  expect(mail.html).toContain('<a href="https://runs.example.org/app/x#secret-token">Go there</a>');
});

test('names that would be headers, tags, links or other addresses are words', async () => {
  await using smtp = await startSmtp();
  const name =
    'Eve\r\nBcc: all@example.org\r\n\r\n<script>alert("1")</script> & https://evil.example/x www.evil.example\u202e';
  const evil = makeLetter({ kind: 'test', subject: `From ${quoted(name)}`, says: [`${quoted(name)} says hello`] });
  for (const to of ['ada@example.org', 'ada@example.org>, <all@example.org', 'ada@example.org, all@example.org'])
    smtp.mailer.send(to, evil);
  const mail = await smtp.take('ada@example.org', /^From “Eve Bcc: all@example \. org/);
  expect(mail.headers.bcc).toBeUndefined();
  expect(mail.raw.slice(0, mail.raw.indexOf('\r\n\r\n'))).not.toMatch(/^bcc/im);
  expect(mail.html).not.toMatch(/<script|<a /);
  expect(mail.html).toContain('&lt;script&gt;');
  expect(mail.text).not.toMatch(/\/\/|www\.evil|\u202e/);
  expect(quoted('x'.repeat(1_000)).length).toBeLessThan(100);
  expect(smtp.mails.flatMap(({ to }) => to)).not.toContain('all@example.org');
});

test('what fails for now is sent again, what fails for ever is not, and the log has neither address nor link', async () => {
  const log = recordingLog();
  let refusals = 0;
  await using smtp = await startSmtp(
    {
      onRcptTo({ address }, _, done) {
        if (address.startsWith('nobody')) return done(refusal(550, `no mailbox ${address}`));
        if (address.startsWith('later') && refusals++ < 2) return done(refusal(451, `not now, ${address}`));
        return done();
      },
    },
    { log, pausesMs: [10, 20] },
  );
  smtp.mailer.send('later@example.org', letter);
  smtp.mailer.send('nobody@example.org', letter);
  await smtp.take('later@example.org', /A subject/);
  const said = () => log.lines.filter(({ message }) => /could not be sent/.test(message));
  await until(() => said().some(({ level }) => level === 'error'), 'it is said', 2_000);
  expect(said().filter(({ level }) => level === 'warn')).toHaveLength(2);
  expect(said().find(({ level }) => level === 'error')?.fields).toMatchObject({ attempts: 1, responseCode: 550 });
  expect(JSON.stringify(log.lines)).not.toMatch(/example\.org|secret-token/);
});

test('a server that is away is said at the start, does not fail anybody, and gives up in the end', async () => {
  const log = recordingLog();
  const url = `smtp://ada:hunter2@127.0.0.1:${await freePort()}`;
  const mailer = createMailer({ url, from: 'runtide@example.org', log, pausesMs: [1, 1] });
  expect(mailer.send('ada@example.org', letter)).toBe(true);
  await until(() => log.lines.some(({ level }) => level === 'error'), 'it gives up', 5_000);
  expect(log.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: expect.stringContaining('refuses') }),
  );
  expect(JSON.stringify(log.lines)).not.toMatch(/hunter2|example\.org/);
  await mailer.close();
});

test('what waits is bounded, and a stop waits a moment and no longer', async () => {
  // It takes the connection and says nothing.
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const log = recordingLog();
  const { port } = silent.address() as { port: number };
  const mailer = createMailer({ url: `smtp://127.0.0.1:${port}`, from: 'runtide@example.org', log, mostWaiting: 5 });
  const taken = Array.from({ length: 20 }, () => mailer.send('ada@example.org', letter)).filter(Boolean).length;
  // Four are being sent.
  expect(taken).toBe(9);
  const began = Date.now();
  await mailer.close();
  expect(Date.now() - began).toBeLessThan(4_000);
  expect(mailer.send('ada@example.org', letter)).toBe(false);
  expect(log.lines).toContainEqual(expect.objectContaining({ fields: { dropped: 9 } }));
  silent.close();
});

test('a password does not go in clear to another machine', async () => {
  const log = recordingLog();
  // Another machine by its name; there is nobody of that name.
  await using smtp = await startSmtp({}, { log });
  const { port } = new URL(smtp.url);
  const inClear = createMailer({
    url: `smtp://ada:hunter2@[::ffff:127.0.0.1]:${port}`,
    from: 'a@example.org',
    log,
    pausesMs: [],
  });
  inClear.send('ada@example.org', letter);
  await until(() => log.lines.some(({ level }) => level === 'error'), 'it is refused', 5_000);
  expect(log.lines.find(({ level }) => level === 'error')?.fields).toMatchObject({ code: 'ETLS' });
  expect(smtp.mails).toEqual([]);
  await inClear.close();
});
