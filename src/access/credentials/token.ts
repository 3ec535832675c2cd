// Secrets that clients carry: API keys, sessions, sign-in links, invitations. `<prefix>_<256 random bits><checksum>`, so
// that leak scanners find them and a mistyped one is refused without a look into the database, which holds SHA-256 alone.
import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { v7 as uuidv7 } from 'uuid';

export type TokenKind = 'key' | 'session' | 'link' | 'invitation';

const PREFIX: Record<TokenKind, string> = { key: 'rtk', session: 'rts', link: 'rtl', invitation: 'rti' };
const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 256 bits and 32 bits in base 62. */
const RANDOM_LENGTH = 43;
const CHECKSUM_LENGTH = 6;

export function makeToken(kind: TokenKind): string {
  const random = base62(BigInt(`0x${randomBytes(32).toString('hex')}`), RANDOM_LENGTH);
  const body = `${PREFIX[kind]}_${random}`;
  return body + checksum(body);
}

/** A new API key: its secret, which exists nowhere else, and what the database holds of it. */
export function makeKey(): { secret: string; row: { id: string; start: string; secretHash: Buffer<ArrayBuffer> } } {
  const secret = makeToken('key');
  return { secret, row: { id: uuidv7(), start: secret.slice(0, 8), secretHash: hashToken(secret) } };
}

/** Whether this can be a token of that kind at all. */
export function isToken(kind: TokenKind, text: string): boolean {
  const body = text.slice(0, -CHECKSUM_LENGTH);
  return (
    text.length === PREFIX[kind].length + 1 + RANDOM_LENGTH + CHECKSUM_LENGTH &&
    text.startsWith(`${PREFIX[kind]}_`) &&
    text.endsWith(checksum(body))
  );
}

/** What the database holds of a token. Looked up by an index on the hash: no secret is compared letter by letter. */
export function hashToken(token: string): Buffer<ArrayBuffer> {
  // Of each request: in one call it costs half of what a Hash does.
  return Buffer.from(hash('sha256', token, 'buffer'));
}

function checksum(body: string): string {
  return base62(BigInt(crc32(body)), CHECKSUM_LENGTH);
}

function base62(number: bigint, length: number): string {
  let text = '';
  for (let rest = number; rest > 0n; rest /= 62n) text = LETTERS[Number(rest % 62n)] + text;
  return text.padStart(length, '0');
}
