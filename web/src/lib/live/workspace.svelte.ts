// The workspace whose settings are shown, for the pages below its layout.
import { createContext } from 'svelte';
import type { SettingsQuery, WorkspaceRole } from '../generated/graphql.ts';

/** With a role: who reads a public project from outside has no settings. */
export type WorkspaceSettings = NonNullable<SettingsQuery['workspace']> & { viewerRole: WorkspaceRole };

export type ShownWorkspace = {
  readonly now: WorkspaceSettings;
  /** After it was changed. */
  reload: () => Promise<void>;
};

export const [shownWorkspace, showWorkspace] = createContext<ShownWorkspace>();
