// The secret by which cookies are signed and second factors encrypted is one for all processes on a database: with
// another, a process would sign people out whom the others have signed in, and could read nothing that they encrypted.
import { hash } from 'node:crypto';
import type { Db } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';

/** Of several first starts, the first decides. */
export async function requireSecret(db: Db, secret: string): Promise<void> {
  const fingerprint = hash('sha256', `fingerprint of ${secret}`);
  await db.serverSecret.createMany({ data: [{ id: 1, fingerprint }], skipDuplicates: true });
  const known = await db.serverSecret.findUniqueOrThrow({ where: { id: 1 } });
  if (known.fingerprint !== fingerprint)
    throw new RuntideError(
      'CONFLICT',
      'this database belongs to another secret: set RUNTIDE_AUTH_SECRET to that of the process that made it (in its data folder: secrets/auth-secret). If it is lost, `npm run admin -- replace-secret` takes this one; then everybody signs in again, and second factors are set up anew',
    );
}

export async function replaceSecret(db: Db, secret: string): Promise<void> {
  const fingerprint = hash('sha256', `fingerprint of ${secret}`);
  await db.$transaction([
    db.session.deleteMany(),
    db.twoFactor.deleteMany(),
    db.user.updateMany({ data: { twoFactorEnabled: false } }),
    db.jwks.deleteMany(),
    db.verification.deleteMany(),
    db.serverSecret.upsert({ where: { id: 1 }, create: { id: 1, fingerprint }, update: { fingerprint } }),
  ]);
}
