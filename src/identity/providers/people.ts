// What an account takes over of what a provider says of somebody. Whatever cannot stand in an account is left out: nobody
// is kept out by the name or the picture that they have elsewhere.
import { limits } from '../../access/limits.ts';
import type { Db } from '../../db/prisma.ts';
import { isUsername, USERNAME_LENGTHS } from '../accounts/usernames.ts';

/** As better-auth wants it. */
export interface Person {
  name: string;
  /** Null: nobody gets in without one. */
  email: string | null;
  /** The provider vouches for it. */
  emailVerified: boolean;
  image?: string;
  /** What they would like to sign in by here. */
  username?: string;
}

/** The standard claims of OpenID Connect, none of which has to be there. */
export function personOf(claims: Record<string, unknown>): Person {
  const { name, email, email_verified: verified, picture, preferred_username: username } = claims;
  const address = typeof email === 'string' ? email.trim().toLowerCase() : '';
  const isAddress = address.length <= 254 && /^[^\s@\p{Cc}]+@[^\s@\p{Cc}]+$/u.test(address) && address.isWellFormed();
  const shown = [name, username, address.split('@')[0]].map(nameOf).find((one) => one !== '') ?? 'somebody';
  return {
    name: shown,
    email: isAddress ? address : null,
    // Some send it as text.
    emailVerified: isAddress && (verified === true || verified === 'true'),
    ...(isPicture(picture) ? { image: picture } : {}),
    ...(typeof username === 'string' ? { username: username.toLowerCase() } : {}),
  };
}

function nameOf(text: unknown): string {
  if (typeof text !== 'string') return '';
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim()
    .slice(0, limits.nameLength)
    .toWellFormed();
}

function isPicture(text: unknown): text is string {
  return typeof text === 'string' && text.length <= 2_048 && URL.canParse(text) && new URL(text).protocol === 'https:';
}

/** Without a user name that nobody may have, or that somebody has. */
export async function withFreeUsername(db: Pick<Db, 'user'>, { username, ...person }: Person): Promise<Person> {
  const { least, most } = USERNAME_LENGTHS;
  if (username === undefined || username.length < least || username.length > most || !isUsername(username))
    return person;
  return (await db.user.count({ where: { username } })) > 0 ? person : { ...person, username };
}
