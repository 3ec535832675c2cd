// What a workspace may be called in addresses.
import { randomBytes } from 'node:crypto';
import type { Db } from '../db/prisma.ts';
import { invalidInput } from '../errors.ts';

const FORM = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
const MOST = 48;

/** Names of routes and pages, now or one day, and what people would take for the server itself. */
const RESERVED = new Set(
  'about account accounts admin ajax-api api app assets auth billing blog docs download error export favicon files graphiql graphql health healthz help home import invitations invite join login logout me metrics mlflow new null oauth privacy profile projects public readyz register reset robots root runs runtide search server service-accounts sessions settings setup sign-in sign-out sign-up static status support system terms undefined user users version viewer webhooks well-known workspace workspaces www'.split(
    ' ',
  ),
);

export function checkSlug(slug: string, field: string): string {
  if (slug.length > MOST || !FORM.test(slug))
    throw invalidInput(
      `${field} must have 1 to ${MOST} small letters and digits, with single hyphens between them, such as vision-lab`,
      { field },
    );
  if (RESERVED.has(slug))
    throw invalidInput(`${field} must not be ${slug}, which is reserved: choose another`, { field });
  return slug;
}

export function isReserved(name: string): boolean {
  return RESERVED.has(name);
}

/** A slug out of a name; empty when nothing of it can stand in one. */
export function slugOf(name: string): string {
  const letters = name.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  return letters
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, MOST)
    .replace(/^-+|-+$/g, '');
}

/** A slug that nobody has, for who or what is called so. */
export async function freeSlug(db: Pick<Db, 'workspace'>, name: string): Promise<string> {
  const slug = slugOf(name) || 'workspace';
  const isTaken = RESERVED.has(slug) || (await db.workspace.count({ where: { slug } })) > 0;
  return isTaken ? `${slug.slice(0, MOST - 9)}-${randomBytes(4).toString('hex')}` : slug;
}
