// The mails about an account. They are sent in the background, so that no answer tells by its time whether there is an
// account. What a stranger can ask for is bounded by whom it goes to; warnings are counted apart, so that nobody can use
// them up beforehand.
import type pg from 'pg';
import type { Log } from '../../db/pool.ts';
import { type Letter, makeLetter, quoted } from '../../mail/letter.ts';
import type { Mailer } from '../../mail/mailer.ts';
import { type Bound, countAttempt } from '../attempts.ts';
import { RESET_MINUTES, resetLink, VERIFY_HOURS } from '../sign-in/reset.ts';

export interface Addressee {
  name: string;
  email: string;
}

export interface IdentityMails {
  /** False: there is no SMTP server. */
  areSent: boolean;
  verifyAddress(whom: Addressee, token: string): void;
  /** To the new address, which is that of `whom`. */
  confirmAddress(whom: Addressee, token: string): void;
  resetPassword(whom: Addressee, token: string): void;
  /** Somebody has tried to register with this address. */
  accountExists(whom: Addressee): void;
  /** To the old address. */
  addressChanged(whom: Addressee, newAddress: string): void;
  passwordChanged(whom: Addressee): void;
}

const HOUR = 3_600;

/** How often a stranger may have something sent to this address. */
export function mailBound(email: string): Bound {
  return { key: `mails to ${email.toLowerCase()}`, most: 10, seconds: HOUR };
}

export function createIdentityMails(
  { pool, mailer, log }: { pool: pg.Pool; mailer: Mailer | null; log: Log },
  url: string,
): IdentityMails {
  const host = new URL(url).host;
  const notYou = 'If it was not you, you need do nothing.';

  const countAndSend = async (to: string, bound: Bound, letter: Letter, by: Mailer) => {
    if ((await countAttempt(pool, [bound])) === 0) by.send(to, letter);
    else log.warn({ kind: letter.kind }, 'a mail was not sent: that address was sent many already');
  };
  const post = (to: string, bound: Bound, letter: Letter) => {
    if (!mailer) {
      log.info({ kind: letter.kind }, 'nothing was sent: without RUNTIDE_SMTP_URL, administrators hand links on');
      return;
    }
    void countAndSend(to, bound, letter, mailer).catch((error: unknown) =>
      log.error({ err: error, kind: letter.kind }, 'a mail could not be counted'),
    );
  };
  const warn = (to: string, letter: Letter) => post(to, { key: `warnings to ${to}`, most: 20, seconds: HOUR }, letter);
  const greeting = ({ name }: Addressee) => `Hello ${quoted(name)},`;
  const forHours = `The link is good for ${VERIFY_HOURS} hours.`;

  return {
    areSent: mailer !== null,
    verifyAddress(whom, token) {
      const letter = makeLetter({
        kind: 'verify address',
        subject: `Confirm your address for Runtide at ${host}`,
        says: [greeting(whom), `an account at ${host} was made with this address. Confirm that it is yours.`],
        link: { words: 'Confirm the address', url: `${url}/app/verify-email#${token}` },
        closing: [forHours, notYou],
      });
      post(whom.email, mailBound(whom.email), letter);
    },
    confirmAddress(whom, token) {
      const letter = makeLetter({
        kind: 'confirm new address',
        subject: `Confirm your new address for Runtide at ${host}`,
        says: [
          greeting(whom),
          `your account at ${host} is to have this address from now on. Confirm that it is yours.`,
        ],
        link: { words: 'Confirm the address', url: `${url}/app/verify-email#${token}` },
        closing: [forHours, notYou],
      });
      post(whom.email, mailBound(whom.email), letter);
    },
    resetPassword(whom, token) {
      const letter = makeLetter({
        kind: 'reset password',
        subject: `Set a new password for Runtide at ${host}`,
        says: [greeting(whom), `somebody asked for a new password for your account at ${host}.`],
        link: { words: 'Set a new password', url: resetLink(url, token) },
        closing: [`The link is good once, for ${RESET_MINUTES} minutes. It ends all sessions.`, notYou],
      });
      post(whom.email, mailBound(whom.email), letter);
    },
    accountExists(whom) {
      const letter = makeLetter({
        kind: 'account exists',
        subject: `You have an account for Runtide at ${host}`,
        says: [
          greeting(whom),
          `somebody tried to register at ${host} with this address, which has an account already. If it was you: sign in, or set a new password.`,
        ],
        link: { words: 'Sign in', url: `${url}/app/sign-in` },
        closing: [notYou],
      });
      post(whom.email, mailBound(whom.email), letter);
    },
    addressChanged(whom, newAddress) {
      const letter = makeLetter({
        kind: 'address changed',
        subject: `The address of your account at ${host} has changed`,
        says: [greeting(whom), `your account at ${host} has another address now: ${newAddress}.`],
        closing: ['If it was not you, tell whoever administers the server at once.'],
      });
      warn(whom.email, letter);
    },
    passwordChanged(whom) {
      const letter = makeLetter({
        kind: 'password changed',
        subject: `The password of your account at ${host} has changed`,
        says: [greeting(whom), `the password of your account at ${host} was set anew.`],
        link: { words: 'Not you? Set another', url: `${url}/app/reset-password` },
        closing: ['If it was not you, tell whoever administers the server too.'],
      });
      warn(whom.email, letter);
    },
  };
}
