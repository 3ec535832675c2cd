// What the tenants' matrix asks of what is below /api/auth, with what each needs.
export interface IdentityRoute {
  method?: 'GET';
  body?: object;
  /**
   * `session`: of oneself, signed in, and 401 to all others. `open`: to anybody, who are all answered alike, whatever
   * credential they show. `cookie`: with the cookie of any session, and nothing without one. `none`: the library has it,
   * and we do not.
   */
  needs: 'session' | 'open' | 'cookie' | 'none';
  /** What those are answered who are not signed in, where that is no refusal. */
  nobody?: { status: number; text: string };
}

const password = 'a guess of it';
const none: IdentityRoute = { needs: 'none' };
const read = { method: 'GET' } as const;

export const identityRoutes: Record<string, IdentityRoute> = {
  '/ok': { ...read, needs: 'open' },
  '/error': { ...read, needs: 'open' },
  '/get-session': { ...read, needs: 'session', nobody: { status: 200, text: 'null' } },
  '/sign-in/social': { needs: 'open', body: { provider: 'oidc', callbackURL: '/app/' } },
  '/callback/:id': { ...read, needs: 'open' },
  '/sign-in/email': { needs: 'open', body: { email: 'nobody@example.org', password } },
  '/sign-in/username': { needs: 'open', body: { username: 'nobody', password } },
  '/sign-in-link': { needs: 'open', body: { token: 'x' } },
  '/sign-up/email': { needs: 'open', body: { email: 'x', username: 'x', password } },
  '/sign-out': { needs: 'cookie', nobody: { status: 200, text: '{"success":true}' } },
  '/request-password-reset': { needs: 'open', body: { email: 'nobody@example.org' } },
  '/reset-password': { needs: 'open', body: { token: 'x', newPassword: password } },
  '/reset-password/:token': { ...none, ...read },
  '/verify-email': { needs: 'open', body: { token: 'x' } },
  // Who is signed in asks for their own address alone.
  '/send-verification-email': {
    needs: 'session',
    body: { email: 'nobody@example.org' },
    nobody: { status: 200, text: '{"status":true}' },
  },
  '/verify-password': none,
  '/change-email': { needs: 'session', body: { newEmail: 'new@example.org' } },
  '/change-password': { needs: 'session', body: { currentPassword: password, newPassword: password } },
  '/set-password': { needs: 'session', body: { newPassword: password } },
  '/update-user': { needs: 'session', body: { name: 'new' } },
  '/delete-user': none,
  '/delete-user/callback': { ...none, ...read },
  '/list-accounts': { ...read, needs: 'session' },
  '/link-social': { needs: 'session', body: { provider: 'oidc', callbackURL: '/app/' } },
  '/unlink-account': { needs: 'session', body: { providerId: 'oidc', accountId: 'x' } },
  '/two-factor/enable': { needs: 'session', body: { password } },
  '/two-factor/disable': { needs: 'session', body: { password } },
  '/two-factor/get-totp-uri': { needs: 'session', body: { password } },
  '/two-factor/generate-backup-codes': { needs: 'session', body: { password } },
  '/two-factor/verify-totp': { needs: 'session', body: { code: '000000' } },
  '/two-factor/verify-backup-code': { needs: 'session', body: { code: 'x' } },
  '/two-factor/send-otp': none,
  '/two-factor/verify-otp': none,
  '/list-sessions': { ...none, ...read },
  '/revoke-session': none,
  '/revoke-sessions': none,
  '/revoke-other-sessions': none,
  '/update-session': none,
  '/is-username-available': none,
  '/get-access-token': none,
  '/refresh-token': none,
  '/account-info': { ...none, ...read },
};
