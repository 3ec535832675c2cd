// Who is looking, and what they may see: read at the start and again now and then, because a first run makes a
// project that no subscription announces.
import { projectsDocument, viewerDocument } from '../documents.ts';
import type { ViewerQuery } from '../generated/graphql.ts';
import { inWords, request } from '../graphql.ts';
import type { ProjectChoice } from '../projects.ts';
import { projectsOf, readProjects } from '../projects.ts';

export type Viewer = NonNullable<ViewerQuery['viewer']>;

let projects = $state.raw<ProjectChoice[]>([]);
let viewer = $state.raw<Viewer | null | undefined>(undefined);
let problem = $state<string | null>(null);

/** undefined: not known yet; null: nobody is signed in. */
export const currentViewer = () => viewer;
/** Of all the viewer's workspaces, the newest first in each. */
export const currentProjects = () => projects;
export const sessionProblem = () => problem;

export async function readViewer(): Promise<void> {
  try {
    const answer = (await request(viewerDocument, {})).viewer ?? null;
    const found = await readProjects(
      answer?.workspaces ?? [],
      async (slug, after) => (await request(projectsDocument, { slug, after })).workspace?.projects ?? null,
    );
    projects = projectsOf(found);
    viewer = answer;
    problem = null;
  } catch (error) {
    problem = inWords(error);
  }
}
