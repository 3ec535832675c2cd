// The workspace whose settings are shown, for the pages below its layout.
import { createContext } from 'svelte';
import type { SettingsQuery } from '../generated/graphql.ts';

export type WorkspaceSettings = NonNullable<SettingsQuery['workspace']>;

export type ShownWorkspace = {
  readonly now: WorkspaceSettings;
  /** After it was changed. */
  reload: () => Promise<void>;
};

export const [shownWorkspace, showWorkspace] = createContext<ShownWorkspace>();
