// Accounts by the wire, as a browser has them.
import { randomUUID } from 'node:crypto';
import type { Credential } from './people.ts';

interface Server {
  url: string;
}

export interface IdentityAnswer {
  status: number;
  body: { code?: string; message?: string } & Record<string, unknown>;
  headers: Headers;
  /** As they were set, with what they may do. */
  cookies: string[];
  /** What a browser sends from now on. */
  session: Credential & { cookie: string };
}

export async function post(
  { url }: Server,
  path: string,
  body: object,
  headers: Record<string, string> = {},
): Promise<IdentityAnswer> {
  const response = await fetch(`${url}/api/auth${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    redirect: 'manual',
  });
  const cookies = response.headers.getSetCookie();
  const cookie = cookies.map((one) => one.split(';')[0]).join('; ');
  const text = await response.text();
  return {
    status: response.status,
    body: text === '' ? {} : (JSON.parse(text) as IdentityAnswer['body']),
    headers: response.headers,
    cookies,
    session: { cookie },
  };
}

export interface Registered {
  username: string;
  email: string;
  password: string;
  session: Credential & { cookie: string };
}

export async function register(server: Server, username: string, more: object = {}): Promise<Registered> {
  const email = `${username.toLowerCase()}@example.org`;
  const password = `correct horse ${randomUUID()}`;
  const { status, body, session } = await post(server, '/sign-up/email', { username, email, password, ...more });
  if (status !== 200) throw new Error(`${username} could not register: ${status} ${JSON.stringify(body)}`);
  return { username, email, password, session };
}

/** Null: nobody is signed in. */
export async function readSession({ url }: Server, session: Credential): Promise<unknown> {
  const response = await fetch(`${url}/api/auth/get-session`, { headers: session });
  return response.json();
}
