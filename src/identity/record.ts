// What the audit log says of accounts: passwords, second factors, addresses, providers, and who was refused. Of acts that
// better-auth does, which has no transaction to share: they are written when they are done.
import type { BetterAuthOptions, GenericEndpointContext } from 'better-auth';
import { isAPIError } from 'better-auth/api';
import type { From } from '../access/access.ts';
import { type Act, type Actor, type AuditAction, recordForPerson } from '../access/audit.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import { isStorable } from '../runs/text.ts';
import { namedBy } from './sign-in/bounds.ts';

type Hooks = NonNullable<BetterAuthOptions['databaseHooks']>;
/** Of better-auth: what is known where a row is stored. */
type Context = Parameters<NonNullable<NonNullable<NonNullable<Hooks['user']>['update']>['after']>>[1];

/** What of a request tells who was refused. */
interface Attempt {
  path: string;
  body: unknown;
  /** What the endpoint threw, if it threw. */
  returned: unknown;
  /** Who has proven their password and is asked for the second factor; null: nobody that is known. */
  pending(): Promise<string | null>;
}

export interface AccountRecord {
  hooks: Pick<Hooks, 'user' | 'account'>;
  passwordReset(user: { id: string }): Promise<void>;
  /** Whoever is signed in has other recovery codes now. */
  renewedCodes(context: GenericEndpointContext): Promise<void>;
  /**
   * Writes later, and looks the same up for whoever it was: nobody learns from the time of an answer whether there is an
   * account. How often is bounded by how often it may be attempted (./sign-in/bounds.ts).
   */
  refused(attempt: Attempt): void;
}

const SIGN_INS = ['/sign-in/email', '/sign-in/username'];
const SECOND_FACTORS = ['/two-factor/verify-totp', '/two-factor/verify-backup-code', '/two-factor/verify-otp'];

export function createAccountRecord({ db, log }: { db: Db; log: Log }, from: () => From): AccountRecord {
  /** What is being changed of a row, by the request that does it. */
  const changing = new WeakMap<object, object>();

  const note = (change: object, context: Context) => {
    if (context) changing.set(context, { ...changing.get(context), ...change });
    return Promise.resolve();
  };
  const write = async (userId: string, actor: Partial<Actor>, act: Omit<Act, 'workspaceId' | 'target'>) => {
    const user = await db.user.findUnique({ where: { id: userId }, select: { name: true } });
    if (!user) return;
    const { name } = user;
    const whole = { userId, name, credential: { kind: 'session', id: null }, from: from(), ...actor };
    const target = { type: 'USER' as const, id: userId, name };
    await db.$transaction((tx) => recordForPerson(tx, whole, userId, { ...act, target }));
  };
  const bySession = (context: Context): Partial<Actor> => ({
    credential: { kind: 'session', id: context?.context.session?.session.id ?? null },
  });

  const writeRefusal = async (attempt: Attempt, where: From) => {
    const { path } = attempt;
    const found = SIGN_INS.includes(path) ? await findNamed(db, path, attempt.body) : await attempt.pending();
    const reason = codeOf(attempt.returned);
    if (found === null) {
      log.info({ address: where.address, reason }, 'somebody unknown was refused to sign in');
      return;
    }
    await write(
      found,
      { userId: null, name: 'somebody unknown', credential: { kind: 'attempt', id: null }, from: where },
      { action: 'session.refuse', details: { by: path, reason } },
    );
  };

  return {
    hooks: {
      user: {
        update: {
          before: note,
          async after({ id }, context) {
            for (const act of actsOf(changing.get(context ?? {}) ?? {})) await write(id, bySession(context), act);
            if (context) changing.delete(context);
          },
        },
      },
      account: {
        create: {
          async after({ userId, providerId }, context) {
            if (providerId !== 'credential')
              await write(userId, bySession(context), {
                action: 'account.linkProvider',
                details: { provider: providerId },
              });
            else if (context?.path === '/set-password')
              await write(userId, bySession(context), { action: 'account.setPassword' });
          },
        },
        update: {
          before: note,
          // Also what a provider gave anew, which is nobody's act.
          async after({ userId }, context) {
            const isPassword = 'password' in (changing.get(context ?? {}) ?? {});
            if (context) changing.delete(context);
            if (isPassword && context?.path === '/change-password')
              await write(userId, bySession(context), { action: 'account.changePassword' });
          },
        },
        delete: {
          async after({ userId, providerId }, context) {
            await write(userId, bySession(context), {
              action: 'account.unlinkProvider',
              details: { provider: providerId },
            });
          },
        },
      },
    },
    passwordReset: ({ id }) =>
      write(id, { credential: { kind: 'link', id: null } }, { action: 'account.resetPassword' }),
    async renewedCodes(context) {
      const { session } = context.context;
      if (session) await write(session.user.id, bySession(context), { action: 'account.renewRecoveryCodes' });
    },
    refused(attempt) {
      const { path, returned } = attempt;
      if (![...SIGN_INS, ...SECOND_FACTORS].includes(path) || !isAPIError(returned)) return;
      // What is malformed was no attempt on anybody.
      if (![401, 403].includes(returned.statusCode)) return;
      writeRefusal(attempt, from()).catch((error: unknown) =>
        log.warn({ err: error }, 'a refused sign-in could not be written into the audit log'),
      );
    },
  };
}

/** By what was changed of the row of a person. */
function actsOf(change: object): { action: AuditAction; details?: Record<string, string | string[]> }[] {
  const { email, emailVerified, twoFactorEnabled } = change as Record<string, unknown>;
  const told = ['name', 'username', 'image'].filter((field) => field in change);
  return [
    ...(typeof email === 'string' ? [{ action: 'account.changeEmail' as const, details: { email } }] : []),
    ...(emailVerified === true ? [{ action: 'account.verifyEmail' as const }] : []),
    ...(twoFactorEnabled === true ? [{ action: 'account.enableTwoFactor' as const }] : []),
    ...(twoFactorEnabled === false ? [{ action: 'account.disableTwoFactor' as const }] : []),
    ...(told.length > 0 ? [{ action: 'account.update' as const, details: { fields: told } }] : []),
  ];
}

/** Whom a sign-in named; null: nobody. */
async function findNamed(db: Db, path: string, body: unknown): Promise<string | null> {
  const named = namedBy(path, (body ?? {}) as Record<string, unknown>);
  if (typeof named !== 'string' || !isStorable(named)) return null;
  const where = path === '/sign-in/username' ? { username: named.toLowerCase() } : { email: named.toLowerCase() };
  const found = await db.user.findUnique({ where, select: { id: true } });
  return found?.id ?? null;
}

function codeOf(error: unknown): string {
  const { body } = error as { body?: { code?: unknown } };
  return typeof body?.code === 'string' ? body.code : 'REFUSED';
}
