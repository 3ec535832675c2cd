// Where better-auth keeps what it knows: our tables, through Prisma. Two things it would do otherwise: of a session's token
// the database holds the SHA-256 alone, and an account comes to be together with what belongs to it, or not at all.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { BetterAuthOptions, User } from 'better-auth';
import { prismaAdapter } from 'better-auth/adapters/prisma';
import { hashToken } from '../access/credentials/token.ts';
import type { Db } from '../db/prisma.ts';
import type { Prisma } from '../generated/prisma/client.ts';

type Adapter = ReturnType<ReturnType<typeof prismaAdapter>>;
type TransactionAdapter = Parameters<Parameters<Adapter['transaction']>[0]>[0];
type Where = NonNullable<Parameters<Adapter['findOne']>[0]['where']>[number];
type Row = Record<string, unknown>;

/** What happens in the transaction that makes an account, with the account as it was stored. */
export type OnAccount = (tx: Prisma.TransactionClient, user: User) => Promise<void>;

const inTransaction = new AsyncLocalStorage<Prisma.TransactionClient>();

/** For what is asked in the middle: a second connection would be waited for by everybody who has one already. */
export function current(db: Db): Prisma.TransactionClient {
  return inTransaction.getStore() ?? db;
}

export function createStore(db: Db, onAccount: OnAccount): (options: BetterAuthOptions) => Adapter {
  const client = new Proxy(db, {
    get: (target, key) =>
      key === '$transaction'
        ? (work: (tx: Prisma.TransactionClient) => Promise<unknown>) =>
            target.$transaction((tx) => inTransaction.run(tx, () => work(tx)))
        : (Reflect.get(target, key) as unknown),
  });
  const prisma = prismaAdapter(client, { provider: 'postgresql', transaction: true });

  const onCreated = async (model: string, row: Row) => {
    const tx = inTransaction.getStore();
    if (model !== 'user') return;
    if (!tx) throw new Error('an account must be made in a transaction');
    await onAccount(tx, row as unknown as User);
  };
  return (options) => {
    const adapter = prisma(options);
    return {
      ...keepingTokens(adapter, onCreated),
      transaction: (work) => adapter.transaction((inner) => work(keepingTokens(inner, onCreated))),
    };
  };
}

function keepingTokens<Inner extends TransactionAdapter>(
  inner: Inner,
  onCreated: (model: string, row: Row) => Promise<void>,
): Inner {
  const stored = (token: unknown) => hashToken(String(token)).toString('hex');
  const storedValue = (value: Where['value']) => (Array.isArray(value) ? value.map(stored) : stored(value));
  const whereOf = (model: string, where: Where[]): Where[] =>
    model === 'session'
      ? where.map((one) => (one.field === 'token' ? { ...one, value: storedValue(one.value) } : one))
      : where;
  /** With the token that was asked for, since whoever asks for one knows it. Other rows show the hash, which opens nothing. */
  const shown = <Found>(model: string, where: Where[], row: Found): Found => {
    if (model !== 'session' || typeof row !== 'object' || row === null) return row;
    const asked = where.filter(({ field }) => field === 'token').flatMap(({ value }) => value);
    const token = asked.find((one) => stored(one) === (row as Row).token);
    return token === undefined ? row : { ...row, token };
  };
  const adapter: TransactionAdapter = {
    ...inner,
    async create(asked) {
      const isSession = asked.model === 'session';
      const { token } = asked.data as Row;
      const data = isSession ? { ...asked.data, token: stored(token) } : asked.data;
      const row = await inner.create({ ...asked, data });
      await onCreated(asked.model, row);
      return (isSession ? { ...row, token } : row) as never;
    },
    findOne: async (asked) => {
      const row = await inner.findOne<Row>({ ...asked, where: whereOf(asked.model, asked.where) });
      return (isOfSuspended(asked.model, row) ? null : shown(asked.model, asked.where, row)) as never;
    },
    findMany: async (asked) => {
      const where = asked.where ?? [];
      const rows = await inner.findMany<Row>({ ...asked, where: whereOf(asked.model, where) });
      return rows.map((row) => shown(asked.model, where, row)) as never;
    },
    update: async (asked) =>
      shown(
        asked.model,
        asked.where,
        await inner.update({ ...asked, where: whereOf(asked.model, asked.where) }),
      ) as never,
    count: (asked) => inner.count({ ...asked, where: whereOf(asked.model, asked.where ?? []) }),
    updateMany: (asked) => inner.updateMany({ ...asked, where: whereOf(asked.model, asked.where) }),
    delete: (asked) => inner.delete({ ...asked, where: whereOf(asked.model, asked.where) }),
    deleteMany: (asked) => inner.deleteMany({ ...asked, where: whereOf(asked.model, asked.where) }),
    consumeOne: async (asked) =>
      shown(
        asked.model,
        asked.where,
        await inner.consumeOne({ ...asked, where: whereOf(asked.model, asked.where) }),
      ) as never,
    incrementOne: async (asked) =>
      shown(
        asked.model,
        asked.where,
        await inner.incrementOne({ ...asked, where: whereOf(asked.model, asked.where) }),
      ) as never,
  };
  return { ...inner, ...adapter };
}

/** A session that began while its account was being suspended opens nothing here either. */
function isOfSuspended(model: string, row: Row | null): boolean {
  return model === 'session' && (row?.user as Row | undefined)?.suspendedAt != null;
}
