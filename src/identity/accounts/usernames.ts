// What people may sign in by, beside their address.
import { isReserved } from '../../workspaces/slug.ts';

export const USERNAME_LENGTHS = { least: 2, most: 39 };

/** Whatever its length. */
export function isUsername(text: string): boolean {
  return /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/i.test(text) && !isReserved(text.toLowerCase());
}
