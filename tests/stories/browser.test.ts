// What a person sees in the browser: the link signs in, a run appears and its curves grow while it logs, the connection
// breaks and comes back without a gap, and GraphiQL's tabs run as they stand.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSignInLink } from '../../src/identity/sign-in/links.ts';
import { type App, createOwner, startApp } from '../support/app.ts';
import { openPage, startChromium } from '../support/browser.ts';
import { until } from '../support/client.ts';
import { startProxy } from '../support/proxy.ts';

let app: App;
let browser: Browser;
beforeAll(async () => {
  [app, browser] = await Promise.all([startApp(), startChromium()]);
});
afterAll(async () => {
  await browser?.close();
  await app?.[Symbol.asyncDispose]();
});

async function signIn(page: Page, origin: string, userId = app.owner.userId): Promise<void> {
  const token = await createSignInLink(app.engines.db, userId);
  await page.goto(`${origin}/app/sign-in#${token}`);
  await page.waitForURL(`${origin}/app/`);
}

async function log(runId: string, steps: number[]): Promise<void> {
  const metrics = [
    { name: 'train/loss', steps, values: steps.map((step) => 1 / (step + 1)) },
    { name: 'train/accuracy', steps, values: steps.map((step) => (step % 10 === 7 ? 'NaN' : 1 - 1 / (step + 1))) },
  ];
  await app.must(
    'mutation($runId: ID!, $metrics: [MetricColumnsInput!]) { logMetrics(input: { runId: $runId, metrics: $metrics }) { cursor } }',
    { runId, metrics },
  );
}

test('a newcomer signs in, sees a run appear, and watches its curves grow through a broken connection', async () => {
  await using proxy = await startProxy(app.url);
  const { context, page, outside, complaints } = await openPage(browser, proxy.url);
  const firstRun = await app.createRun({ project: 'browser', name: 'first' });
  await signIn(page, proxy.url);
  const rows = page.getByTestId('run-row');
  await rows.first().waitFor();

  // A run that is made while somebody looks appears by itself.
  const runId = await app.createRun({ project: 'browser', name: 'second' });
  const row = page.locator(`[data-testid="run-row"][data-run-id="${runId}"]`);
  await row.waitFor();
  expect(await rows.count()).toBe(2);
  expect(await row.getByTestId('run-status').getAttribute('data-status')).toBe('RUNNING');

  await log(runId, [0, 1, 2]);
  await row.click();
  const loss = page.locator('[data-testid="panel"][data-metric="train/loss"]');
  const points = async () => Number(await loss.getAttribute('data-points'));
  const drawn = (count: number) => until(async () => (await points()) === count, `${count} points drawn`);
  await loss.waitFor();
  await drawn(3);
  const connection = page.getByTestId('connection');
  await until(async () => (await connection.getAttribute('data-tone')) === 'live', 'the page is live');

  for (let step = 3; step < 20; step++) await log(runId, [step]);
  await drawn(20);
  // A late step goes where it belongs, a repeated one takes the place of the first.
  await log(runId, [-5, 19]);
  await drawn(21);
  expect(await loss.getAttribute('data-last-step')).toBe('19');
  // Something was really drawn: the canvas has ink.
  const ink = await loss
    .locator('canvas')
    .first()
    .evaluate((canvas: HTMLCanvasElement) => {
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      let painted = 0;
      for (let at = 3; at < data.length; at += 4) if (data[at]! > 0) painted++;
      return painted;
    });
  expect(ink).toBeGreaterThan(200);

  proxy.cut();
  await until(async () => (await connection.getAttribute('data-tone')) !== 'live', 'the page says that it is cut off');
  for (let step = 20; step < 40; step++) await log(runId, [step]);
  expect(await points()).toBe(21);
  proxy.mend();
  await drawn(41);
  await until(async () => (await connection.getAttribute('data-tone')) === 'live', 'the page is live again');
  await log(runId, [40]);
  await drawn(42);

  // The end of the run is seen as it happens.
  await app.must('mutation($id: ID!) { finishRun(input: { id: $id }) { run { id } } }', { id: runId });
  await until(
    async () => (await page.getByTestId('run-status').first().getAttribute('data-status')) === 'COMPLETED',
    'the page says that the run has ended',
  );
  expect(firstRun).not.toBe(runId);
  expect({ outside, complaints }).toEqual({ outside: [], complaints: [] });
  await context.close();
}, 60_000);

test('a link signs in once, and the page says so', async () => {
  const { context, page } = await openPage(browser, app.url);
  const token = await createSignInLink(app.engines.db, app.owner.userId);
  await page.goto(`${app.url}/app/sign-in#${token}`);
  await page.waitForURL(`${app.url}/app/`);
  expect(page.url()).not.toContain(token);
  await context.clearCookies();
  await page.goto(`${app.url}/app/sign-in#${token}`);
  await until(
    async () => /npm run open/.test(await page.getByTestId('notice').innerText()),
    'the page says what to do',
  );
  await context.close();
});

test.each(['signed in', 'by a header'])(
  "GraphiQL's tabs run as they stand, and its subscription shows what is logged: %s",
  async (how) => {
    const { context, page, outside, complaints } = await openPage(browser, app.url);
    if (how === 'signed in') await signIn(page, app.url);
    await page.goto(`${app.url}/graphql`);
    const tabs = page.locator('.graphiql-tab-button');
    await until(async () => (await tabs.count()) === 4, 'four tabs');
    const answer = page.locator('.graphiql-response');
    const editor = page.locator('.graphiql-query-editor');
    // Tabs slide into place for a moment, in which a click may miss: again, until the right query is there.
    const show = (name: string) =>
      until(async () => {
        await tabs.filter({ hasText: name }).click({ delay: 50 });
        const shown = () =>
          editor.innerText().then((text) => new RegExp(`(mutation|subscription|query)\\s${name}\\b`).test(text));
        return until(shown, `the query ${name}`, 1_000).catch(() => false);
      }, `the tab ${name}`);
    const isByHeader = how === 'by a header';
    // Each tab has headers of its own.
    const authorize = async () => {
      const headers = page.locator('.graphiql-editor-tool .monaco-editor:visible');
      await page.getByRole('button', { name: 'Headers' }).click();
      await headers.click();
      await page.keyboard.press('ControlOrMeta+a');
      await page.keyboard.insertText(JSON.stringify({ authorization: `Bearer ${app.apiKey}` }));
      await until(async () => (await headers.innerText()).includes('Bearer'), 'the header is written');
    };
    const run = async (name: string, expected: RegExp) => {
      await show(name);
      if (isByHeader) await authorize();
      const shown = async () => {
        const text = (await answer.innerText()).replaceAll(/\s+/g, ' ');
        return expected.test(text) && text;
      };
      // GraphiQL takes a moment to notice which operation a tab has; people are slower, and press again.
      return until(async () => {
        await page.locator('.graphiql-execute-button').click();
        return until(shown, 'an answer', 1_500).catch(() => false as const);
      }, `${name} answers ${expected}`);
    };
    await run('MakeRun', /"status": "RUNNING"/);
    await run('Log', /"accepted": 5/);
    const watched = await run('Watch', /"NaN"/);
    expect(watched).toMatch(/"steps": \[ 1, 2, 3, 4 \]/);

    const { project } = await app.must('{ project(name: "graphiql") { runs(first: 1) { nodes { id } } } }');
    await log(project.runs.nodes[0].id, [100]);
    await until(async () => /train\/loss/.test(await answer.innerText()), 'the subscription shows a new batch');
    // The editor draws the lines that fit; further down is the chart.
    await run('Read', /"tag": "val", "count": 1, "last": 0.94/);
    expect({ outside, complaints }).toEqual({ outside: [], complaints: [] });
    await context.close();
  },
  60_000,
);

test('who was sent an invitation joins by a click, once, and sees what the workspace has', async () => {
  await app.createRun({ project: 'shared', name: 'of the workspace' });
  const guest = await createOwner(app, 'guest');
  const { inviteMember } = await app.must(
    'mutation($input: InviteMemberInput!) { inviteMember(input: $input) { link } }',
    { input: { workspaceId: app.owner.workspaceId, role: 'VIEWER' } },
  );
  const link = inviteMember.link as string;
  const { context, page, outside, complaints } = await openPage(browser, app.url);
  await signIn(page, app.url, guest.userId);

  await page.goto(link);
  await page.getByTestId('join').click();
  await page.waitForURL(`${app.url}/app/`);
  await page.getByText('shared').first().waitFor();

  await page.goto(link);
  await page.getByTestId('join').click();
  await page.getByTestId('problem').waitFor();
  expect(await page.getByTestId('problem').textContent()).toMatch(/used|member/);
  expect(page.url()).not.toContain('#');
  expect({ outside, complaints }).toEqual({ outside: [], complaints: [] });
  await context.close();
});
