// The kinds of variables: what each takes, what of it is shown to people, and what is refused, in words that say what was
// expected.
import { isIP } from 'node:net';

export interface Variable<Value> {
  name: string;
  /** Other trackers' names for the same thing, read when `name` is not set. */
  aliases: string[];
  type: string;
  /** The value without the variable, as a person would write it. */
  defaultText: string;
  bounds: string;
  description: string;
  secret: boolean;
  /** Throws an Error that says what was expected. */
  parse(text: string | undefined): Value;
}

type Options = { aliases?: string[]; description: string };

export function text(name: string, options: Options & { default: string; pattern?: RegExp; expected?: string }) {
  return variable(name, 'text', options.default, options.expected ?? '', options, (value) => {
    if (options.pattern && !options.pattern.test(value)) throw new Error(`expected ${options.expected}`);
    return value;
  });
}

export function integer(name: string, options: Options & { default: number; min: number; max: number }) {
  const bounds = `${options.min} to ${options.max}`;
  return variable(name, 'integer', String(options.default), bounds, options, (value) => {
    const number = Number(value);
    if (!/^-?\d+$/.test(value) || number < options.min || number > options.max)
      throw new Error(`expected an integer from ${bounds}`);
    return number;
  });
}

export function choice<const Choice extends string>(
  name: string,
  choices: Choice[],
  options: Options & { default: Choice },
) {
  return variable(name, 'choice', options.default, choices.join(', '), options, (value): Choice => {
    const found = choices.find((one) => one === value.toLowerCase());
    if (!found) throw new Error(`expected one of ${choices.join(', ')}`);
    return found;
  });
}

export function flag(name: string, options: Options) {
  return variable(name, 'choice', 'false', 'true, false', options, (value) => {
    if (!/^(true|false)$/i.test(value)) throw new Error('expected true or false');
    return value.toLowerCase() === 'true';
  });
}

export function url(name: string, protocols: string[], options: Options & { origin?: boolean; defaultText: string }) {
  const bounds = protocols.map((protocol) => `${protocol}//…`).join(' or ');
  const found: Variable<string | undefined> = {
    ...variable(name, 'URL', '', bounds, options, (value) => value),
    defaultText: options.defaultText,
    parse(value) {
      if (!value) return undefined;
      if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol)) throw new Error(`expected ${bounds}`);
      return options.origin ? originOf(value) : value;
    },
  };
  return found;
}

/** With a password in it: never shown. */
export function secretUrl(...options: Parameters<typeof url>): Variable<string | undefined> {
  return { ...url(...options), secret: true };
}

export type Registration = { mode: 'open' | 'invite' | 'closed' } | { mode: 'domain'; domains: string[] };

export function registration(name: string, options: Options) {
  const found: Variable<Registration | undefined> = {
    ...variable(name, 'text', '', 'open, invite, domain:…, closed', options, () => undefined),
    defaultText: '`open` where this machine alone reaches the server, else `invite`',
    parse(value) {
      if (!value) return undefined;
      if (value === 'open' || value === 'invite' || value === 'closed') return { mode: value };
      const domains = /^domain:(.+)$/.exec(value)?.[1]?.toLowerCase().split(',');
      const isDomain = (one: string) => /^(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+$/.test(one);
      if (!domains?.every((one) => isDomain(one.trim())))
        throw new Error('expected open, invite, closed, or domain: and domains with commas between them');
      return { mode: 'domain', domains: domains.map((one) => one.trim()) };
    },
  };
  return found;
}

/** What may be left out, and has no default. */
function optional(name: string, type: string, options: Options & { pattern: RegExp; expected: string }) {
  const found: Variable<string | undefined> = {
    ...variable(name, type, '', '', options, (value) => value),
    secret: type === 'secret',
    parse(value) {
      if (!value) return undefined;
      if (!options.pattern.test(value)) throw new Error(`expected ${options.expected}`);
      return value;
    },
  };
  return found;
}

/** As a provider gives them to whoever registers with it. */
export function clientId(name: string, options: Options) {
  return optional(name, 'text', { ...options, pattern: /^[\x21-\x7e]{1,255}$/, expected: 'an id without spaces' });
}

export function clientSecret(name: string, options: Options) {
  return optional(name, 'secret', { ...options, pattern: /^[\x21-\x7e]{1,512}$/, expected: 'a secret without spaces' });
}

/** In plain text over this machine alone: whoever stood between could be anybody. */
export function issuer(name: string, options: Options) {
  const bounds = 'https://…, or http://… on this machine';
  const found: Variable<string | undefined> = {
    ...variable(name, 'URL', '', bounds, options, (value) => value),
    parse(value) {
      if (!value) return undefined;
      const parsed = URL.canParse(value) ? new URL(value) : null;
      const isPlain = parsed?.protocol === 'http:' && isLoopback(parsed.hostname);
      if (!parsed || !(parsed.protocol === 'https:' || isPlain) || /[?#@]/.test(value))
        throw new Error(`expected ${bounds}, without a query`);
      return value;
    },
  };
  return found;
}

/** Of a URL too, which has brackets around an IPv6 address. */
export function isLoopback(host: string): boolean {
  const address = host.replace(/^\[|\]$/g, '');
  return address === 'localhost' || address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));
}

/** Whoever is in the group at the provider has this role in the workspace. */
export interface GroupRole {
  group: string;
  /** Its slug. */
  workspace: string;
  role: 'OWNER' | 'ADMIN' | 'MEMBER' | 'VIEWER';
}

export function groupRoles(name: string, options: Options) {
  const form = /^(?<group>.{1,255})=(?<workspace>[a-z0-9-]{1,48}):(?<role>OWNER|ADMIN|MEMBER|VIEWER)$/;
  const bounds = 'group=workspace:ROLE, separated by commas or in lines of their own';
  return variable(name, 'list of groups', '', bounds, options, (value) => {
    // Names of groups may hold commas, as those of LDAP do: only one behind a role ends an entry.
    const entries = value
      .split(/\n|(?<=:(?:OWNER|ADMIN|MEMBER|VIEWER)\s*),/)
      .map((one) => one.trim())
      .filter((one) => one !== '');
    const roles = entries.map((entry): GroupRole => {
      const { group, workspace, role } = form.exec(entry)?.groups ?? {};
      // What holds another entry has a role that is none.
      if (!group || !workspace || !role || /=[\w-]*:\w*\s*,/.test(group))
        throw new Error(`expected group=workspace:ROLE such as ml-team=vision:MEMBER, not "${entry}"`);
      return { group: group.trim(), workspace, role: role as GroupRole['role'] };
    });
    const pairs = roles.map(({ group, workspace }) => `${group}=${workspace}`);
    const twice = pairs.find((pair, index) => pairs.indexOf(pair) !== index);
    if (twice) throw new Error(`expected one role a group and workspace: ${twice} stands there twice`);
    return roles;
  });
}

export function scopes(name: string, options: Options & { default: string }) {
  return variable(name, 'list of scopes', options.default, 'separated by spaces', options, (value) => {
    const found = value.split(/[\s,]+/).filter((one) => one !== '');
    if (!found.includes('openid') || found.some((one) => !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(one)))
      throw new Error('expected scopes with spaces between them, openid among them');
    return found;
  });
}

export function origins(name: string, options: Options) {
  return variable(name, 'list of origins', '', 'separated by commas', options, (value) =>
    value
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '')
      .map(originOf),
  );
}

/** Of proxies that are believed: how many stand before the server, or what addresses they have. */
export function proxies(name: string, options: Options) {
  const bounds = 'a number to 20, or a list separated by commas';
  return variable(name, 'number or list of addresses', '', bounds, options, (value): number | string[] => {
    if (/^\d+$/.test(value)) {
      if (Number(value) > 20) throw new Error('expected at most 20 proxies in a row');
      return Number(value);
    }
    const list = value.split(',').map((one) => one.trim());
    return list.filter((one) => one !== '').map(checkProxy);
  });
}

function checkProxy(value: string): string {
  if (value === 'loopback' || value === 'private') return value;
  const [address = '', length, ...rest] = value.split('/');
  const family = isIP(address);
  const isRange =
    length === undefined || (/^[1-9]\d{0,2}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128));
  if (family !== 0 && isRange && rest.length === 0) return value;
  throw new Error(
    `expected a number of proxies, or addresses such as 10.0.0.7, 10.0.0.0/8, loopback or private, not "${value}"`,
  );
}

/** At least `minLength` characters and none of the examples that people copy; generated into the data folder. */
export function secret(name: string, options: Options & { minLength: number }) {
  const found: Variable<string | undefined> = {
    ...variable(name, 'secret', '', `at least ${options.minLength} characters`, options, (value) => value),
    defaultText: 'generated into the data folder',
    secret: true,
    parse(value) {
      if (!value) return undefined;
      if (value.length < options.minLength) throw new Error(`expected at least ${options.minLength} characters`);
      const isPlain = new Set(value).size < 8;
      if (isPlain || /change.?me|example|secret.?key|\byour[-_ ]|password|default|123456/i.test(value))
        throw new Error('this looks like an example: make one with `openssl rand -base64 32`, or leave it out');
      return value;
    },
  };
  return found;
}

/** `ada@example.org` or `Ada Lovelace <ada@example.org>`. */
export function mailbox(name: string, options: Options & { defaultText: string }) {
  const found: Variable<string | undefined> = {
    ...variable(name, 'address', '', '', options, () => undefined),
    defaultText: options.defaultText,
    parse(value) {
      if (!value) return undefined;
      if (
        !/^(?:[^<>"@,;:\p{Cc}]{1,100} )?<?[\w.+-]{1,64}@[\w.-]{1,190}>?$/u.test(value) ||
        value.includes('<') !== value.endsWith('>')
      )
        throw new Error('expected an address such as runtide@example.org, or Runtide <runtide@example.org>');
      return value;
    },
  };
  return found;
}

function variable<Value>(
  name: string,
  type: string,
  defaultText: string,
  bounds: string,
  options: Options,
  parse: (value: string) => Value,
): Variable<Value> {
  const { description, aliases = [] } = options;
  const read = (value: string | undefined) => parse(value || defaultText);
  return { name, aliases, type, defaultText, bounds, description, secret: false, parse: read };
}

function originOf(value: string): string {
  if (!URL.canParse(value)) throw new Error(`expected an origin such as https://runs.example.org, not "${value}"`);
  const parsed = new URL(value);
  const isOrigin = parsed.href === `${parsed.origin}/` && /^https?:$/.test(parsed.protocol);
  if (!isOrigin) throw new Error(`expected an origin such as https://runs.example.org, not "${value}"`);
  return parsed.origin;
}
