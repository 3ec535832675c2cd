// `npm run admin -- …`: what whoever is at the server's machine does to accounts: the first administrator, and the way
// back for people who are locked out. Beside a running server, which learns of it within a second, or without one.
import { parseArgs } from 'node:util';
import { atTheMachine, recordAct, recordForPerson } from '../access/audit.ts';
import type { Db } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { User } from '../generated/prisma/client.ts';
import { restoreAccount, setServerAdmin, suspendAccount } from '../identity/accounts/accounts.ts';
import { deleteAccount } from '../identity/accounts/delete-account.ts';
import { createResetLink, RESET_MINUTES } from '../identity/sign-in/reset.ts';
import { replaceSecret } from '../identity/secret.ts';
import { isId, isStorable } from '../runs/text.ts';

export interface AdminParts {
  db: Db;
  /** By which people reach the server. */
  url: string;
  /** That sign-ins and second factors are kept by. */
  secret: () => string;
  say: (line: string) => void;
}

interface Command {
  /** What stands behind it, for people to read. */
  takes: string;
  does: string;
  run(parts: AdminParts, user: User, heir: User): Promise<string>;
}

const machine = atTheMachine();
/** The database's triggers tell the servers. */
const changes = { announce: () => {} };

/** Of one account each, named by user name, address or id. */
const COMMANDS: Record<string, Command> = {
  grant: {
    takes: 'WHO',
    does: 'makes them an administrator of the server',
    async run({ db }, user) {
      await setServerAdmin({ db, changes }, machine, user.id, true);
      return `${nameOf(user)} administers the server.`;
    },
  },
  revoke: {
    takes: 'WHO',
    does: 'ends that; not of the last one',
    async run({ db }, user) {
      await setServerAdmin({ db, changes }, machine, user.id, false);
      return `${nameOf(user)} does not administer the server.`;
    },
  },
  suspend: {
    takes: 'WHO',
    does: 'lets nobody in by the account, nor by its keys',
    async run({ db }, user) {
      await suspendAccount({ db, changes }, machine, user.id);
      return `${nameOf(user)} is suspended.`;
    },
  },
  restore: {
    takes: 'WHO',
    does: 'lets them in again',
    async run({ db }, user) {
      await restoreAccount({ db, changes }, machine, user.id);
      return `${nameOf(user)} can sign in again.`;
    },
  },
  'reset-link': {
    takes: 'WHO',
    does: `prints a link by which they set a new password; good once, for ${RESET_MINUTES} minutes`,
    run: ({ db, url }, user) => createResetLink(db, url, user.id, machine),
  },
  'remove-two-factor': {
    takes: 'WHO',
    does: 'for who has lost the second factor and the recovery codes: the password alone signs in',
    async run({ db }, user) {
      await db.$transaction(async (tx) => {
        await tx.twoFactor.deleteMany({ where: { userId: user.id } });
        await tx.user.update({ where: { id: user.id }, data: { twoFactorEnabled: false } });
        await recordForPerson(tx, machine, user.id, aboutIt('account.disableTwoFactor', user), { byServer: true });
      });
      return `${nameOf(user)} signs in without a second factor.`;
    },
  },
  'verify-email': {
    takes: 'WHO',
    does: 'takes the address as proven',
    async run({ db }, user) {
      await db.$transaction(async (tx) => {
        await tx.user.update({ where: { id: user.id }, data: { emailVerified: true } });
        await recordForPerson(tx, machine, user.id, aboutIt('account.verifyEmail', user), { byServer: true });
      });
      return `${user.email} counts as proven.`;
    },
  },
  delete: {
    takes: 'WHO --hand-over-to WHO',
    does: 'deletes the account, finally; runs, projects and what they alone owned go to the other one',
    async run({ db }, user, heir) {
      await deleteAccount({ db, changes }, machine, { userId: user.id, handOverTo: heir.id });
      return `${nameOf(user)} is deleted; ${nameOf(heir)} has what they left.`;
    },
  },
};

const USAGE = [
  'npm run admin -- COMMAND (in a container: node src/main.ts admin COMMAND), where WHO is a user name, an e-mail address or an id:',
  '',
  ...[
    ['list', 'prints the accounts'],
    ...Object.entries(COMMANDS).map(([name, { takes, does }]) => [`${name} ${takes}`, does]),
    ['replace-secret', 'takes the secret that this process has: everybody signs in again, and second factors go'],
  ].map(([what, does]) => `  ${what?.padEnd(36)} ${does}`),
].join('\n');

/** What was asked for, before any engine is started for it; a string: what was wrong, with what there is. */
export function readAdminCommand(args: readonly string[]): ((parts: AdminParts) => Promise<void>) | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { 'hand-over-to': { type: 'string' }, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    const [name = '', who, ...rest] = positionals;
    if (values.help) return USAGE;
    const heir = values['hand-over-to'];
    const plain = { list: listAccounts, 'replace-secret': takeSecret };
    if (Object.hasOwn(plain, name) && who === undefined && heir === undefined) return plain[name as keyof typeof plain];
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) return name === '' ? USAGE : wrong(`Runtide does not know ${args.join(' ')}.`);
    const isComplete = rest.length === 0 && who !== undefined && (heir !== undefined) === (name === 'delete');
    if (!isComplete) return wrong(`It is: ${name} ${command.takes}`);
    return async (parts) => {
      const user = await find(parts.db, who);
      parts.say(await command.run(parts, user, heir === undefined ? user : await find(parts.db, heir)));
    };
  } catch (error) {
    return wrong((error as Error).message);
  }
}

function wrong(what: string): string {
  return `${what}\n\n${USAGE}`;
}

async function find(db: Db, who: string): Promise<User> {
  const named = who.toLowerCase();
  const found = isStorable(named)
    ? ((await db.user.findFirst({ where: { OR: [{ username: named }, { email: named }] } })) ??
      (isId(named) ? await db.user.findUnique({ where: { id: named } }) : null))
    : null;
  if (found) return found;
  throw new RuntideError('NOT_FOUND', `there is no account named ${who}: \`npm run admin -- list\` prints them`);
}

async function listAccounts({ db, say }: AdminParts): Promise<void> {
  const users = await db.user.findMany({ orderBy: { id: 'asc' } });
  const rows = users.map(({ username, email, name, isAdmin, suspendedAt, twoFactorEnabled, createdAt }) => {
    const marks = [isAdmin && 'administrator', suspendedAt && 'suspended', twoFactorEnabled && 'second factor'];
    const told = marks.filter((mark) => typeof mark === 'string').join(', ');
    return [username ?? '-', email, createdAt.toISOString().slice(0, 10), printable(name), told];
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows)
    say(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  if (users.length === 0) say('There is no account yet: `npm run open` prints the link to make one.');
}

async function takeSecret({ db, secret, say }: AdminParts): Promise<void> {
  await replaceSecret(db, secret());
  await db.$transaction((tx) =>
    recordAct(tx, machine, {
      action: 'server.replaceSecret',
      workspaceId: null,
      target: { type: 'SERVER', id: 'server', name: 'the server' },
    }),
  );
  say('The secret is replaced: everybody signs in again, and second factors are set up anew.');
}

function aboutIt<Action extends string>(action: Action, { id, name }: User) {
  return { action, target: { type: 'USER' as const, id, name } };
}

function nameOf({ username, email }: User): string {
  return username ?? email;
}

/** A name says nothing to the terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, '?');
}
