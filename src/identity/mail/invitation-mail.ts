// Sends an invitation's link to whom it is for. It goes to strangers, so it is bounded by workspace, by who invites and by
// the address: past a bound nothing is sent, and whoever invites hands the link on themselves.
import type pg from 'pg';
import type { Access } from '../../access/access.ts';
import type { Db } from '../../db/prisma.ts';
import { makeLetter, quoted } from '../../mail/letter.ts';
import type { Mailer } from '../../mail/mailer.ts';
import { countAttempt } from '../attempts.ts';
import { mailBound } from './mails.ts';

const DAY = 86_400;
const MOST_OF_INVITER = 50;
const MOST_OF_WORKSPACE = 200;

/** Whether a mail is on its way: not without an SMTP server, nor for an invitation without an address. */
export async function mailInvitation(
  { db, pool, mailer, url }: { db: Db; pool: pg.Pool; mailer: Mailer | null; url: () => string },
  { userId, credential }: Access,
  { invitationId, link }: { invitationId: string; link: string },
): Promise<boolean> {
  if (!mailer) return false;
  const invitation = await db.invitation.findUniqueOrThrow({
    where: { id: invitationId },
    select: {
      email: true,
      expiresAt: true,
      workspace: { select: { id: true, name: true } },
      createdBy: { select: { name: true } },
    },
  });
  const { email, expiresAt, workspace, createdBy } = invitation;
  if (email === null) return false;
  const seconds = await countAttempt(pool, [
    mailBound(email),
    { key: `invitations by ${userId ?? credential.id}`, most: MOST_OF_INVITER, seconds: DAY },
    { key: `invitations to ${workspace.id}`, most: MOST_OF_WORKSPACE, seconds: DAY },
  ]);
  if (seconds > 0) return false;
  const host = new URL(url()).host;
  const inviter = createdBy ? quoted(createdBy.name) : 'Somebody';
  const letter = makeLetter({
    kind: 'invitation',
    subject: `Invitation to ${quoted(workspace.name)} on Runtide at ${host}`,
    says: [
      `${inviter} invites you to the workspace ${quoted(workspace.name)} on Runtide, an experiment tracker, at ${host}.`,
    ],
    link: { words: 'See the invitation', url: link },
    closing: [
      `The link is good once, until ${expiresAt.toISOString().slice(0, 16).replace('T', ' ')} UTC, for the account of this address.`,
      'If you do not know who this is, you need do nothing.',
    ],
  });
  return mailer.send(email, letter);
}
