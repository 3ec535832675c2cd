// Ways around what bounds attempts: fields that a route does not take, addresses that cost nothing, headers that anybody
// may send.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { post, register } from '../../support/identity.ts';
import { codeAs } from '../../support/people.ts';
import { until } from '../../support/client.ts';

let app: App;
beforeAll(async () => {
  app = await startApp({ trustProxy: ['loopback'] });
});
beforeEach(() => app.engines.pool.query('DELETE FROM attempts'));
afterAll(() => app[Symbol.asyncDispose]());

/** How many of so many guesses at one account were looked at. */
async function guesses(
  many: number,
  guess: (n: number) => { path: string; body: object; headers?: Record<string, string> },
) {
  let answered = 0;
  for (let n = 0; n < many; n++) {
    const { path, body, headers } = guess(n);
    const { status } = await post(app, path, body, headers);
    expect(status).toBeOneOf([401, 429]);
    if (status === 401) answered++;
  }
  return answered;
}

test('an address of somebody else beside the user name is no other account, to the bounds or to the audit log', async () => {
  const bystander = await register(app, 'Bystander');
  const target = await register(app, 'Guessed');
  const answered = await guesses(15, (n) => ({
    path: '/sign-in/username',
    body: { username: 'guessed', password: 'wrong horse', email: n === 0 ? bystander.email : `${n}@example.org` },
  }));
  expect(answered).toBe(10);
  const refusals = () => app.engines.db.auditEntry.findMany({ where: { action: 'session.refuse' } });
  const written = await until(
    async () => ((await refusals()).length === 10 ? refusals() : null),
    'refusals are written',
  );
  expect(new Set(written.map(({ targetName }) => targetName))).toEqual(new Set(['Guessed']));
  const { username, password } = target;
  expect((await post(app, '/sign-in/username', { username, password, email: 'x@example.org' })).status).toBe(429);
});

test('a network of IPv6 is one address', async () => {
  const { email } = await register(app, 'Six');
  const answered = await guesses(15, (n) => ({
    path: '/sign-in/email',
    body: { email, password: 'wrong horse' },
    headers: { 'x-forwarded-for': `2001:db8:0:7:${n}::1` },
  }));
  expect(answered).toBe(10);
  // Nobody is locked out elsewhere by it.
  const elsewhere = { 'x-forwarded-for': '2001:db8:0:8::1' };
  expect((await post(app, '/sign-in/email', { email, password: 'wrong horse' }, elsewhere)).status).toBe(401);
});

test('what a client writes before the proxy does is not where it is', async () => {
  const { email } = await register(app, 'Forwarded');
  const answered = await guesses(15, (n) => ({
    path: '/sign-in/email',
    body: { email, password: 'wrong horse' },
    headers: {
      'x-forwarded-for': `198.51.100.${n}, 203.0.113.7`,
      'x-runtide-address': `198.51.100.${n}`,
      'x-real-ip': `198.51.100.${n}`,
      forwarded: `for=198.51.100.${n}`,
    },
  }));
  expect(answered).toBe(10);
});

test('whoever has a session guesses its password as seldom, from however many addresses', async () => {
  const { session, password } = await register(app, 'Lent');
  const routes = ['/change-password', '/two-factor/enable', '/two-factor/disable'];
  const guess = (n: number, given: string) => {
    const body = { password: given, currentPassword: given, newPassword: 'battery staple' };
    const headers = { ...session, 'x-forwarded-for': `198.51.100.${n}` };
    return post(app, routes[n % routes.length] as string, body, headers);
  };
  const statuses: number[] = [];
  for (let n = 0; n < 15; n++) statuses.push((await guess(n, 'wrong horse')).status);
  expect(statuses).toEqual([...Array(10).fill(400), ...Array(5).fill(429)]);
  expect((await guess(100, password)).status).toBe(429);
  const remove = 'mutation($password: String!) { deleteViewer(input: { password: $password }) { id } }';
  expect(await codeAs(app, session, remove, { password })).toBe('RATE_LIMITED');
});
