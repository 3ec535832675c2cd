import { expect, test } from 'vitest';
import { isOwnMachine, returnTo, withReturn } from './return-to.ts';

test('a path of ours is gone to, with its question and without its fragment', () => {
  expect(returnTo('/app/runs/1?x=2', '/app/')).toBe('/app/runs/1?x=2');
  expect(returnTo('/app/workspaces/a/settings#secret', '/app/')).toBe('/app/workspaces/a/settings');
  expect(returnTo('/app/', '/app/')).toBe('/app/');
});

test.each([
  null,
  '',
  'https://elsewhere.example/app/',
  '//elsewhere.example/app/',
  '/\\elsewhere.example',
  '/app/\\..\\..\\elsewhere',
  '/app/../graphql',
  '/app/%2e%2e/graphql',
  '/app/..//elsewhere.example/',
  '/apple',
  '/app',
  'javascript:alert(1)',
  '/app/\n/elsewhere.example',
  '\t//elsewhere.example',
  'app/runs',
])('nothing else is: %j', (asked) => {
  expect(returnTo(asked, '/app/')).toBe('/app/');
});

test('what is asked for survives the way through an address', () => {
  const page = withReturn('/app/sign-in', '/app/?project=a&b=c', '/app/');
  expect(returnTo(new URL(page, 'http://x').searchParams.get('to'), '/app/')).toBe('/app/?project=a&b=c');
  expect(withReturn('/app/sign-in', '/app/', '/app/')).toBe('/app/sign-in');
});

test('one’s own machine is told from others', () => {
  expect(['localhost', 'runs.localhost', '127.0.0.1', '[::1]'].filter(isOwnMachine)).toHaveLength(4);
  expect(['localhost.example.org', 'runs.example.org', '127.example.org', '10.0.0.1'].filter(isOwnMachine)).toEqual([]);
});
