// What people may sign in by, beside their address.
import { isReserved } from '../../workspaces/slug.ts';

export const USERNAME_LENGTHS = { least: 2, most: 39 };

/** Whatever its length. */
export function isUsername(text: string): boolean {
  return faultOf(text) === null;
}

/** What is wrong with it, in words. */
export function faultOf(text: string): string | null {
  if (!/^[a-z0-9]+(?:[._-][a-z0-9]+)*$/i.test(text))
    return 'username must have letters from a to z and digits, with single “.”, “_” or “-” between them, such as ada.lovelace';
  return isReserved(text.toLowerCase()) ? `username must not be ${text}, which is reserved: choose another` : null;
}
