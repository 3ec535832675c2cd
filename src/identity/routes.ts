// What of /api/auth/ is there at all. better-auth brings routes that nobody needs here, or that are another's: its lists of
// sessions hold their tokens (`Viewer.sessions` and `revokeSession` are for that), some hand a provider's tokens to the
// page, and others say who has an account. What is not in this table is not there, nor what an update adds.
export interface Route {
  method: 'GET' | 'POST';
  /** It may hash a password: see ./sign-in/turns.ts. */
  hashes?: true;
}

const post: Route = { method: 'POST' };
const hashing: Route = { method: 'POST', hashes: true };

export const routes: Readonly<Record<string, Route>> = {
  '/get-session': { method: 'GET' },
  '/sign-up/email': hashing,
  '/sign-in/email': hashing,
  '/sign-in/username': hashing,
  '/sign-in/social': post,
  '/sign-in-link': post,
  '/sign-out': post,
  '/callback/:id': { method: 'GET' },
  '/request-password-reset': post,
  '/reset-password': hashing,
  '/send-verification-email': post,
  // GET at better-auth, with the token in the address: from pages it comes in a body.
  '/verify-email': post,
  '/update-user': post,
  '/change-email': post,
  '/change-password': hashing,
  '/set-password': hashing,
  '/link-social': post,
  // Whoever takes a provider away from their account needs to know its id.
  '/list-accounts': { method: 'GET' },
  '/unlink-account': post,
  '/two-factor/enable': hashing,
  '/two-factor/disable': hashing,
  '/two-factor/generate-backup-codes': hashing,
  '/two-factor/verify-totp': post,
  '/two-factor/verify-backup-code': post,
};

/** Of a path below /api/auth, as it is written: nothing is decoded, and no slash at its end is passed over. */
export function findRoute(method: string, path: string): Route | null {
  const name = /^\/callback\/[\w-]+$/.test(path) ? '/callback/:id' : path;
  const found = Object.hasOwn(routes, name) ? routes[name] : undefined;
  return found?.method === method ? found : null;
}
