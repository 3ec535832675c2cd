// Prisma's client over the shared pool.
import { PrismaPg } from '@prisma/adapter-pg';
import type pg from 'pg';
import { PrismaClient } from '../generated/prisma/client.ts';

export type Db = PrismaClient;

export function createPrisma(pool: pg.Pool, schema: string | undefined): PrismaClient {
  const adapter = new PrismaPg(pool, { ...(schema === undefined ? {} : { schema }), disposeExternalPool: false });
  return new PrismaClient({ adapter });
}

/** The name of the unique constraint or index that an error of Prisma's is about, if it is about one. */
export function violatedConstraint(error: unknown): string | undefined {
  const cause = (error as { meta?: { driverAdapterError?: { cause?: { constraint?: unknown } } } }).meta
    ?.driverAdapterError?.cause;
  const constraint = cause?.constraint as { index?: string; fields?: string[] } | string | undefined;
  if (typeof constraint === 'string') return constraint;
  return constraint?.index ?? constraint?.fields?.join(',');
}
