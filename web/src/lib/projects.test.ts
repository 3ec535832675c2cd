import { expect, it } from 'vitest';
import type { ProjectPage } from './projects.ts';
import { pagesOfWorkspace, projectsOf, readProjects } from './projects.ts';

const page = (from: number, count: number, next: string | null): ProjectPage => ({
  totalCount: 250,
  pageInfo: { hasNextPage: next !== null, endCursor: next },
  edges: Array.from({ length: count }, (_, i) => ({
    node: { id: `p${from + i}`, name: `project ${from + i}`, runs: { totalCount: 1, edges: [] } },
  })),
});

it('lists all projects of every workspace, page by page, each once', async () => {
  const asked: string[] = [];
  const workspaces = [
    { slug: 'mine', name: 'Mine', projects: page(0, 100, '100') },
    { slug: 'ours', name: 'Ours', projects: page(900, 2, null) },
  ];
  const whole = await readProjects(workspaces, async (slug, after) => {
    asked.push(`${slug} ${after}`);
    // A project was made meanwhile: the page begins with one that was there before.
    return after === '100' ? page(99, 100, '200') : page(199, 51, null);
  });
  expect(asked).toEqual(['mine 100', 'mine 200']);
  const projects = projectsOf(whole);
  expect(projects.length).toBe(252);
  expect(projects[249]).toEqual({ id: 'p249', name: 'project 249', workspace: 'Mine', runs: 1, newest: 0 });
  expect(projects[251]!.workspace).toBe('Ours');
});

it('ends after so many pages, and with a workspace that went away', async () => {
  const workspaces = [{ slug: 'mine', name: 'Mine', projects: page(0, 1, '1') }];
  let reads = 0;
  const endless = await readProjects(workspaces, async () => page(++reads, 1, `${reads}`));
  expect(projectsOf(endless).length).toBe(pagesOfWorkspace);
  expect(projectsOf(await readProjects(workspaces, async () => null)).length).toBe(1);
});
