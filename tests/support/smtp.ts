// A real SMTP server on this machine, that keeps what it is given.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { createMailer, type Mailer, type MailerOptions } from '../../src/mail/mailer.ts';
import { until } from './client.ts';
import { silentLog } from './log.ts';

export interface Mail {
  /** Of the envelope. */
  to: string[];
  from: string;
  /** By names in small letters; folded lines are one, encoded words are as people read them. */
  headers: Record<string, string>;
  text: string;
  html: string;
  raw: string;
}

export interface Smtp extends AsyncDisposable {
  url: string;
  mails: Mail[];
  /** The newest to that address, of that subject; waits for it, and takes it away. */
  take(to: string, subject: RegExp): Promise<Mail>;
  /** The token at the end of its link. */
  takeToken(to: string, subject: RegExp): Promise<string>;
  /** Handed to servers; closed with this. */
  mailer: Mailer;
}

export async function startSmtp(
  options: SMTPServerOptions = {},
  mailerOptions: Partial<MailerOptions> = {},
): Promise<Smtp> {
  const mails: Mail[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, { envelope }, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const to = envelope.rcptTo.map(({ address }) => address);
        const from = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
        mails.push({ to, from, ...parseMail(Buffer.concat(chunks).toString()) });
        done();
      });
    },
    ...options,
  });
  // What clients do wrong is theirs to say.
  server.on('error', () => {});
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  const url = `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
  const mailer = createMailer({ url, from: 'Runtide <runtide@example.org>', log: silentLog, ...mailerOptions });
  const take = async (to: string, subject: RegExp) => {
    const isIt = (mail: Mail) => mail.to.includes(to) && subject.test(mail.headers.subject ?? '');
    await until(() => mails.some(isIt), `a mail to ${to} about ${subject.source}`, 5_000);
    return mails.splice(mails.findLastIndex(isIt), 1)[0] as Mail;
  };
  return {
    url,
    mails,
    mailer,
    take,
    takeToken: async (to, subject) => tokenIn(await take(to, subject)),
    async [Symbol.asyncDispose]() {
      await mailer.close();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export function tokenIn({ text }: Mail): string {
  return /\/app\/[\w-]+#(\S+)/.exec(text)?.[1] ?? '';
}

/** Of what nodemailer writes: a part for each of text and HTML. */
function parseMail(raw: string): Omit<Mail, 'to' | 'from'> {
  const { headers, body } = partOf(raw);
  const boundary = /boundary="([^"]+)"/.exec(headers['content-type'] ?? '')?.[1];
  const parts = boundary
    ? body
        .split(`--${boundary}`)
        .slice(1, -1)
        .map((part) => partOf(part.replace(/^\r\n/, '')))
    : [];
  const ofType = (type: string) => {
    const part = parts.find((one) => one.headers['content-type']?.startsWith(type));
    if (!part) return '';
    const encoding = part.headers['content-transfer-encoding'];
    if (encoding === 'base64') return Buffer.from(part.body, 'base64').toString();
    return encoding === 'quoted-printable' ? unquote(part.body.replace(/=\r\n/g, '')) : part.body;
  };
  return { headers, text: ofType('text/plain').replaceAll('\r\n', '\n').trimEnd(), html: ofType('text/html'), raw };
}

function partOf(raw: string): { headers: Record<string, string>; body: string } {
  const end = raw.indexOf('\r\n\r\n');
  const lines = raw
    .slice(0, end)
    .replace(/\r\n[ \t]+/g, ' ')
    .split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), readable(line.slice(colon + 1).trim())];
  });
  return { headers: Object.fromEntries(headers), body: raw.slice(end + 4) };
}

function readable(header: string): string {
  return header
    .replace(/\?= =\?/g, '?==?')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_, how: string, word: string) =>
      how.toLowerCase() === 'b' ? Buffer.from(word, 'base64').toString() : unquote(word.replaceAll('_', ' ')),
    );
}

function unquote(text: string): string {
  const bytes = text.replace(/=([\dA-F]{2})/gi, (_, code: string) => String.fromCharCode(parseInt(code, 16)));
  return Buffer.from(bytes, 'latin1').toString();
}
