// Accounts: requests to /api/auth. The session is in a cookie that no script sees; refusals become ApiError, in words
// that can be shown.
import { ApiError, unreachable } from './graphql.ts';
import { refusalInWords } from './refusals.ts';

type Refusal = { code?: string; message?: string; errors?: { message: string; extensions?: { code?: string } }[] };

async function ask<Answer>(path: string, init: RequestInit): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(`/api/auth${path}`, {
      ...init,
      credentials: 'same-origin',
      signal: AbortSignal.timeout(30_000),
    });
  } catch (cause) {
    throw new ApiError(unreachable, 'The server does not answer.', { cause });
  }
  // eslint-disable-next-line typescript/no-unsafe-type-assertion -- what each address answers is said where it is asked
  const body = (await response.json().catch(() => null)) as Answer | Refusal | null;
  if (response.ok) return body as Answer;
  const refusal: Refusal = body ?? {};
  const code = refusal.code ?? refusal.errors?.[0]?.extensions?.code ?? 'INTERNAL';
  const message = refusal.message ?? refusal.errors?.[0]?.message ?? `The server answered ${response.status}.`;
  throw new ApiError(code, refusalInWords(code, message));
}

export const postIdentity = <Answer = unknown>(path: string, body: Record<string, unknown> = {}): Promise<Answer> =>
  ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

/** Makes a session that is used last longer. */
export const extendSession = (): Promise<unknown> => ask('/get-session', { method: 'GET' });

export type SignedIn = { twoFactorRedirect?: boolean };

/** By user name or by address, whichever it is. */
export function signIn(who: string, password: string, rememberMe: boolean): Promise<SignedIn> {
  const name = who.trim();
  return name.includes('@')
    ? postIdentity('/sign-in/email', { email: name, password, rememberMe })
    : postIdentity('/sign-in/username', { username: name, password, rememberMe });
}
