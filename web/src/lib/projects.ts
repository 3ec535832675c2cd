// The projects to choose from: all pages of each workspace, up to a bound that keeps one look cheap.
import type { ProjectPageFragment } from './generated/graphql.ts';

export type ProjectPage = ProjectPageFragment;
type Workspace = { slug: string; name: string; projects: ProjectPage };
export type ProjectChoice = { id: string; name: string; workspace: string; runs: number; newest: number };

/** 2,000 projects of a workspace. */
export const pagesOfWorkspace = 20;

/** Each workspace with the edges of all its pages, the first of which it came with. */
export async function readProjects<Place extends Workspace>(
  workspaces: readonly Place[],
  readPage: (slug: string, after: string) => Promise<ProjectPage | null>,
): Promise<Place[]> {
  const whole: Place[] = [];
  for (const workspace of workspaces) {
    let page: ProjectPage | null = workspace.projects;
    const edges = new Map(page.edges.map((edge) => [edge.node.id, edge]));
    for (let pages = 1; page?.pageInfo.hasNextPage && page.pageInfo.endCursor && pages < pagesOfWorkspace; pages++) {
      page = await readPage(workspace.slug, page.pageInfo.endCursor);
      // One that came in between moves the others down: they are listed once all the same.
      for (const edge of page?.edges ?? []) edges.set(edge.node.id, edge);
    }
    whole.push({ ...workspace, projects: { ...workspace.projects, edges: [...edges.values()] } });
  }
  return whole;
}

export function projectsOf(workspaces: readonly Workspace[]): ProjectChoice[] {
  return workspaces.flatMap((workspace) =>
    workspace.projects.edges.map(({ node }) => ({
      id: node.id,
      name: node.name,
      workspace: workspace.name,
      runs: node.runs.totalCount,
      newest: Date.parse(node.runs.edges[0]?.node.createdAt ?? '') || 0,
    })),
  );
}
