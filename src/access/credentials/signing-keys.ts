// The keys by which the server signs tokens, kept in the database for all processes; private halves are encrypted by the
// server's secret. A key signs for 30 days and verifies until whatever it signed has ended. A new one is known to
// everybody for a while before it signs, so that whoever keeps /.well-known/jwks.json for minutes refuses nothing.
import { symmetricDecrypt, symmetricEncrypt } from 'better-auth/crypto';
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';
import { v7 as uuidv7 } from 'uuid';
import { MOST_TOKEN_SECONDS } from '../../config.ts';
import type { Db } from '../../db/prisma.ts';
import type { AccessChanges } from '../changes.ts';

export const ALGORITHM = 'EdDSA';
const CURVE = 'Ed25519';

const MINUTE_MS = 60_000;
/** From when on a key is to be replaced. */
export const DUE_MS = 30 * 24 * 60 * MINUTE_MS;
/** For how long a new key is shown before it signs, while another can. */
export const SHOWN_MS = 10 * MINUTE_MS;
/** From its beginning to when it verifies nothing more: the tokens that it signed last have ended on every clock. */
export const LASTS_MS = DUE_MS + SHOWN_MS + MOST_TOKEN_SECONDS * 1_000 + 2 * MINUTE_MS;
/** Between two looks for a key that is not known: whoever makes up names of keys costs no more than this. */
const LOOK_MS = 3_000;

export interface SigningKeys {
  /** That signs now; made when there is none, or when it is due. Several processes at once make one. */
  signing(): Promise<{ kid: string; key: CryptoKey }>;
  /** Undefined: there is no such key, or it was retired. */
  verifying(kid: string): Promise<CryptoKey | undefined>;
  /** The public halves, for anybody. */
  published(): Promise<JWK[]>;
  close(): void;
}

interface SigningKey {
  kid: string;
  createdAt: number;
  expiresAt: number;
  shown: JWK;
  publicKey: CryptoKey;
  encrypted: string;
}

export function createSigningKeys({ db, changes }: { db: Db; changes: AccessChanges }, secret: string): SigningKeys {
  let known: Promise<SigningKey[]> | null = null;
  let readAt = -Infinity;
  const stop = changes.onChange(() => (known = null));

  const read = () => {
    const reading = readKeys(db);
    known = reading;
    readAt = performance.now();
    reading.catch(() => {
      if (known === reading) known = null;
    });
    return reading;
  };
  /** The newest first, which is not due. */
  const current = async (): Promise<[SigningKey, ...SigningKey[]]> => {
    const [newest, ...older] = await (known ?? read());
    if (newest && !isDue(newest.createdAt)) return [newest, ...older];
    await makeKey(db, secret);
    changes.announce();
    return (await read()) as [SigningKey, ...SigningKey[]];
  };

  return {
    async signing() {
      const keys = await current();
      const now = Date.now();
      const isSigning = ({ createdAt }: SigningKey) =>
        now >= createdAt + SHOWN_MS && now < createdAt + SHOWN_MS + DUE_MS;
      const { kid, encrypted } = keys.find(isSigning) ?? keys[0];
      const privateJwk = JSON.parse(await symmetricDecrypt({ key: secret, data: encrypted })) as JWK;
      return { kid, key: (await importJWK(privateJwk, ALGORITHM)) as CryptoKey };
    },
    async verifying(kid) {
      const named = (keys: readonly SigningKey[]) => keys.find((one) => one.kid === kid);
      let found = named(await (known ?? read()));
      if (!found && performance.now() - readAt > LOOK_MS) found = named(await read());
      return found && Date.now() < found.expiresAt ? found.publicKey : undefined;
    },
    async published() {
      const keys = await current();
      return keys.filter(({ expiresAt }) => Date.now() < expiresAt).map(({ shown }) => shown);
    },
    close: () => stop(),
  };
}

function isDue(createdAt: number): boolean {
  return Date.now() >= createdAt + DUE_MS;
}

async function readKeys(db: Db): Promise<SigningKey[]> {
  const rows = await db.jwks.findMany({
    where: { expiresAt: { gt: new Date() } },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
  });
  return Promise.all(
    rows.map(async ({ id, publicKey, privateKey, createdAt, expiresAt }) => {
      const { kty, crv, x } = JSON.parse(publicKey) as JWK;
      // Named one by one: nothing else of a row can ever be shown.
      const shown = { kty, crv, x, kid: id, alg: ALGORITHM, use: 'sig' } as JWK;
      return {
        kid: id,
        createdAt: createdAt.getTime(),
        expiresAt: (expiresAt as Date).getTime(),
        shown,
        publicKey: (await importJWK(shown, ALGORITHM)) as CryptoKey,
        encrypted: privateKey,
      };
    }),
  );
}

async function makeKey(db: Db, secret: string): Promise<void> {
  const pair = await generateKeyPair(ALGORITHM, { crv: CURVE, extractable: true });
  const privateJwk = JSON.stringify(await exportJWK(pair.privateKey));
  const createdAt = new Date();
  const row = {
    id: uuidv7(),
    alg: ALGORITHM,
    crv: CURVE,
    publicKey: JSON.stringify(await exportJWK(pair.publicKey)),
    privateKey: await symmetricEncrypt({ key: secret, data: privateJwk }),
    createdAt,
    expiresAt: new Date(createdAt.getTime() + LASTS_MS),
  };
  await db.$transaction(async (tx) => {
    // Held until the commit: whoever comes second finds what the first made.
    await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtext('runtide signing key'))`;
    const newest = await tx.jwks.findFirst({
      where: { expiresAt: { gt: createdAt } },
      orderBy: { createdAt: 'desc' },
    });
    if (newest && !isDue(newest.createdAt.getTime())) return;
    await tx.jwks.deleteMany({ where: { expiresAt: { lte: createdAt } } });
    await tx.jwks.create({ data: row });
  });
}
