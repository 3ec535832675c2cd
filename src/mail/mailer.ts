// Mail, sent in the background: whoever asks for it neither waits for the SMTP server nor hears of its faults. What cannot
// be sent is tried again a few times; what waits is bounded, kept in memory alone, and given a moment when the server stops.
import { createTransport } from 'nodemailer';
import type { Log } from '../db/pool.ts';
import type { Letter } from './letter.ts';

export interface Mailer {
  /** False: so much waits already, or the server stops. Never throws. */
  send(to: string, letter: Letter): boolean;
  /** Sends what waits, for as long as a stop may take; the rest is dropped, and said. */
  close(): Promise<void>;
}

export interface MailerOptions {
  /** smtp:// or smtps://, with user and password where the server asks for them. */
  url: string;
  /** An address, with a name or without. */
  from: string;
  log: Log;
  /** Other than ten seconds and a minute: before it is tried again. */
  pausesMs?: readonly number[];
  /** Other than a thousand. */
  mostWaiting?: number;
}

const PAUSES_MS = [10_000, 60_000];
const MOST_WAITING = 1_000;
/** Mails that are being sent at a time. */
const MOST_AT_ONCE = 4;
const CONNECT_MS = 10_000;
const SILENCE_MS = 20_000;
const CLOSE_MS = 2_000;

export function createMailer({
  url,
  from,
  log,
  pausesMs = PAUSES_MS,
  mostWaiting = MOST_WAITING,
}: MailerOptions): Mailer {
  const transport = createTransport(
    {
      url,
      ...requireTls(url),
      connectionTimeout: CONNECT_MS,
      greetingTimeout: CONNECT_MS,
      socketTimeout: SILENCE_MS,
      disableFileAccess: true,
      disableUrlAccess: true,
    },
    { from },
  );
  interface Waiting {
    to: string;
    letter: Letter;
    attempts: number;
  }
  const queue: Waiting[] = [];
  /** Tried in vain, and to be tried again. */
  const pauses = new Map<NodeJS.Timeout, Waiting>();
  const underWay = new Set<Promise<void>>();
  let closing = false;

  // Said and no more: the server may be back when the first mail is to be sent.
  void transport.verify().then(
    () => log.info({}, 'the SMTP server takes mail'),
    (error: unknown) => log.warn(faultOf(error), 'the SMTP server refuses: mails will not arrive (RUNTIDE_SMTP_URL)'),
  );

  const go = () => {
    while (underWay.size < MOST_AT_ONCE) {
      const next = queue.shift();
      if (!next) return;
      const sending = deliver(next).finally(() => {
        underWay.delete(sending);
        go();
      });
      underWay.add(sending);
    }
  };

  async function deliver(mail: Waiting): Promise<void> {
    const { to, letter } = mail;
    mail.attempts++;
    try {
      await transport.sendMail({
        // As an object, it is one address, whatever stands in it.
        to: { name: '', address: to },
        subject: letter.subject,
        text: letter.text,
        html: letter.html,
        // No answers from those who are away, and no loops with other machines.
        headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
      });
      log.debug({ kind: letter.kind }, 'a mail was sent');
    } catch (error) {
      // Neither address nor link: they stand in what servers answer.
      const about = { kind: letter.kind, attempts: mail.attempts, ...faultOf(error) };
      const pauseMs = pausesMs[mail.attempts - 1];
      if (pauseMs === undefined || closing || isFinal(error)) {
        log.error(about, 'a mail could not be sent');
        return;
      }
      log.warn(about, 'a mail could not be sent yet: it is tried again');
      const timer = setTimeout(() => {
        pauses.delete(timer);
        queue.push(mail);
        go();
      }, pauseMs);
      timer.unref();
      pauses.set(timer, mail);
    }
  }

  return {
    send(to, letter) {
      if (closing || queue.length + pauses.size >= mostWaiting) {
        log.error({ kind: letter.kind, waiting: queue.length + pauses.size }, 'a mail was not taken: too many wait');
        return false;
      }
      queue.push({ to, letter, attempts: 0 });
      go();
      return true;
    },
    async close() {
      closing = true;
      for (const [timer, mail] of pauses) {
        clearTimeout(timer);
        queue.push(mail);
      }
      pauses.clear();
      go();
      let isLate = false;
      const late = new Promise<void>((resolve) =>
        setTimeout(() => {
          isLate = true;
          resolve();
        }, CLOSE_MS).unref(),
      );
      while (underWay.size > 0 && !isLate) await Promise.race([Promise.all(underWay), late]);
      const dropped = queue.splice(0).length + underWay.size;
      if (dropped > 0) log.warn({ dropped }, 'the server stops with mails that were not sent');
      transport.close();
    },
  };
}

/** A password in clear is for this machine alone; `?requireTLS=false` in the address says otherwise. */
function requireTls(url: string): { requireTLS?: true } {
  const { protocol, username, hostname, searchParams } = new URL(url);
  const isHere = hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
  const asks = protocol === 'smtp:' && username !== '' && !isHere && !searchParams.has('requireTLS');
  return asks ? { requireTLS: true } : {};
}

/** Of what the server said, only what it counts: words of its own may hold addresses and links. */
function faultOf(error: unknown): { code?: string; responseCode?: number; command?: string } {
  const { code, responseCode, command } = error as { code?: string; responseCode?: number; command?: string };
  return {
    ...(code === undefined ? {} : { code }),
    ...(responseCode === undefined ? {} : { responseCode }),
    ...(command === undefined ? {} : { command: command.replace(/ .*/s, '') }),
  };
}

/** 5xx is for ever; 4xx, and a server that is away, are for now. */
function isFinal(error: unknown): boolean {
  const { responseCode = 0 } = error as { responseCode?: number };
  return responseCode >= 500;
}
