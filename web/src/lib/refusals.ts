// What /api/auth refuses with, in the words of the page.

const words: Record<string, string> = {
  INVALID_EMAIL_OR_PASSWORD: 'This name or address and this password do not belong together.',
  INVALID_USERNAME_OR_PASSWORD: 'This name or address and this password do not belong together.',
  USERNAME_IS_ALREADY_TAKEN: 'This user name is taken: choose another.',
  USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL: 'There is an account with this address: sign in, or reset its password.',
  INVALID_USERNAME:
    'A user name is made of letters and digits, with single “.”, “_” or “-” between them; a few names are reserved.',
  USERNAME_TOO_SHORT: 'A user name has 2 characters at least.',
  USERNAME_TOO_LONG: 'A user name has 39 characters at most.',
  PASSWORD_TOO_SHORT: 'A password has 8 characters at least.',
  PASSWORD_TOO_LONG: 'A password has 128 characters at most.',
  EMAIL_NOT_VERIFIED: 'Confirm your e-mail address first, by the link that was sent to it.',
  INVALID_CODE: 'This code is not right, or not any more: it changes every 30 seconds.',
  INVALID_BACKUP_CODE: 'This is none of your recovery codes, or was used already.',
  INVALID_TWO_FACTOR_COOKIE: 'This took too long: begin again.',
  SESSION_NOT_FRESH: 'Sign in again for this: it is a while since you did.',
  INVALID_TOKEN: 'This link was used already, or is too old.',
  TOKEN_EXPIRED: 'This link is too old.',
  account_not_linked:
    'There is an account with this address already, and one of both sides has not confirmed it. Sign in as before, confirm the address, and then by the provider.',
  email_not_found: 'The provider tells of no e-mail address that is confirmed.',
  state_mismatch: 'This sign-in began in another browser, or too long ago: begin again.',
  state_not_found: 'This sign-in began in another browser, or too long ago: begin again.',
  access_denied: 'The provider did not let you in.',
  UNAUTHORIZED: 'You are not signed in any more.',
};

/** A sentence as people write it: a capital, and a full stop. What is quoted first stays as it is. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return '';
  const begun = trimmed[0]!.toUpperCase() + trimmed.slice(1);
  return /[.!?:…`”"]$/.test(begun) ? begun : `${begun}.`;
}

export function refusalInWords(code: string | undefined, message: string): string {
  // With this code, better-auth says only that; the server says what a password must be.
  if (code === 'INVALID_PASSWORD' && message === 'Invalid password') return 'This is not your password.';
  const known = code === undefined || !Object.hasOwn(words, code) ? undefined : words[code];
  // "[body.email] Invalid email address"
  return known ?? sentence(message.replace(/^\[body\.\w+\]\s*/, ''));
}
