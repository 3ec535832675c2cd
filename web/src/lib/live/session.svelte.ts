// Who is looking, and what they may see: read at the start and again now and then, because a first run makes a
// project that no subscription announces.
import { viewerDocument } from '../documents.ts';
import type { ViewerQuery } from '../generated/graphql.ts';
import { inWords, request } from '../graphql.ts';

export type Viewer = NonNullable<ViewerQuery['viewer']>;

let viewer = $state.raw<Viewer | null | undefined>(undefined);
let problem = $state<string | null>(null);

/** undefined: not known yet; null: nobody is signed in. */
export const currentViewer = () => viewer;
export const sessionProblem = () => problem;

export async function readViewer(): Promise<void> {
  try {
    viewer = (await request(viewerDocument, {})).viewer ?? null;
    problem = null;
  } catch (error) {
    problem = inWords(error);
  }
}

export type ProjectChoice = { id: string; name: string; workspace: string; runs: number; newest: number };

export function projectsOf(someone: Viewer): ProjectChoice[] {
  return someone.workspaces.flatMap((workspace) =>
    workspace.projects.edges.map(({ node }) => ({
      id: node.id,
      name: node.name,
      workspace: workspace.name,
      runs: node.runs.totalCount,
      newest: Date.parse(node.runs.edges[0]?.node.createdAt ?? '') || 0,
    })),
  );
}
