// Who may make an account, and what an account begins with: a workspace of its own, and the one it was invited to.
import { APIError } from 'better-auth/api';
import { v7 as uuidv7 } from 'uuid';
import type { From } from '../../access/access.ts';
import { type Actor, recordAct } from '../../access/audit.ts';
import { hashToken, isToken } from '../../access/credentials/token.ts';
import type { Registration } from '../../config/kinds.ts';
import type { Db } from '../../db/prisma.ts';
import { RuntideError } from '../../errors.ts';
import type { Prisma } from '../../generated/prisma/client.ts';
import { findInvitation, joinByInvitation } from '../../workspaces/invitations.ts';
import { freeSlug } from '../../workspaces/slug.ts';
import { lockFirstAccount } from './first-start.ts';

/** What somebody shows who registers, beside who they are. */
export interface Shown {
  /** The token of an invitation. */
  invitation: string | undefined;
  /** The token of the link by which the server's first account is made. */
  setUp: string | undefined;
  from: From;
  /** The provider by which they sign in, and what it says of them. */
  provider?: { id: string; groups: readonly string[] | null };
}

interface Candidate {
  email: string;
  /** By whoever vouches for them: a provider, or a mail that was answered. */
  emailVerified: boolean;
  /** Whoever administers the server has written down that their group at a provider may come in. */
  isMapped?: boolean;
}

type Reading = Pick<Db, 'user' | 'invitation' | 'signInLink'>;

/** Throws an APIError that says why not. Asked before anything is stored. */
export async function requireRegistration(
  db: Reading,
  registration: Registration,
  { email, emailVerified, isMapped = false }: Candidate,
  { invitation, setUp }: Shown,
): Promise<void> {
  if ((await db.user.count()) === 0) {
    if (await findSetUpLink(db, setUp)) return;
    throw refused(FIRST);
  }
  if (registration.mode === 'closed') throw refused('this server takes no registrations: ask who administers it');
  if (registration.mode === 'open') return;
  if (invitation !== undefined) {
    await findInvitation(db, invitation, email).catch((error: unknown) => {
      throw error instanceof RuntideError ? refused(error.message) : error;
    });
    return;
  }
  if (isMapped) return;
  if (registration.mode !== 'domain') throw refused('registration takes an invitation: ask a member for its link');
  const domain = email.slice(email.lastIndexOf('@') + 1).toLowerCase();
  // Without a password to prove it by, the provider has to have: with one, they prove it by mail before they get in.
  if (!registration.domains.includes(domain) || !emailVerified)
    throw refused(`registration takes a verified address at ${registration.domains.join(' or ')}, or an invitation`);
}

const FIRST = 'the first account is made by the link that `npm run open` prints where the server runs';

function refused(message: string): APIError {
  return new APIError('FORBIDDEN', { code: 'REGISTRATION_REFUSED', message });
}

/** Somebody was quicker. Not FORBIDDEN: in the transaction better-auth would take that for success where mail verifies. */
function tooLate(message: string): APIError {
  return new APIError('CONFLICT', { code: 'REGISTRATION_REFUSED', message });
}

/** In the transaction that makes the account: what it begins with. */
export async function beginAccount(
  tx: Prisma.TransactionClient,
  user: { id: string; name: string; email: string; username?: string | null },
  { invitation, setUp, from }: Shown,
): Promise<void> {
  const actor: Actor = { userId: user.id, name: user.name, credential: { kind: 'registration', id: null }, from };
  await lockFirstAccount(tx);
  const isFirst = (await tx.user.count({ where: { NOT: { id: user.id } } })) === 0;
  // Whoever came by that link has nothing else to show: others would be let in beside the first.
  if (setUp !== undefined && !isFirst)
    throw tooLate('the first account was made already: sign in, or ask for an invitation');
  if (isFirst) {
    const link = await findSetUpLink(tx, setUp);
    if (!link) throw tooLate(FIRST);
    await tx.user.update({ where: { id: user.id }, data: { isAdmin: true } });
    await tx.signInLink.deleteMany({ where: { userId: null } });
  }
  const workspaceId = uuidv7();
  const slug = await freeSlug(tx, user.username ?? user.name);
  await tx.workspace.create({ data: { id: workspaceId, slug, name: user.name } });
  await tx.membership.create({ data: { workspaceId, userId: user.id, role: 'OWNER' } });
  await recordAct(tx, actor, {
    action: 'account.create',
    workspaceId,
    target: { type: 'USER', id: user.id, name: user.name },
    details: { email: user.email, isAdmin: isFirst },
  });
  if (invitation !== undefined)
    await joinByInvitation(tx, actor, { ...user, userId: user.id }, invitation).catch((error: unknown) => {
      throw error instanceof RuntideError ? tooLate(error.message) : error;
    });
}

async function findSetUpLink(db: Pick<Db, 'signInLink'>, token: string | undefined) {
  if (token === undefined || !isToken('link', token)) return null;
  return db.signInLink.findFirst({
    where: { tokenHash: hashToken(token), userId: null, usedAt: null, expiresAt: { gt: new Date() } },
  });
}
