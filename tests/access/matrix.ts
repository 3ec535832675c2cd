// What everybody is answered in a world, and what they should be: the machinery of the tenants' matrices.
import { expect } from 'vitest';
import type { App } from '../support/app.ts';
import type { GraphQLAnswer } from '../support/client.ts';
import { askAs, type Credential } from '../support/people.ts';
import type { Case, Needs } from './cases.ts';
import type { Asking, World } from './world.ts';

/** `ok`, `null`, `unseen`, or the code of an error. */
export type Outcome = string;

const ROLES = ['VIEWER', 'MEMBER', 'ADMIN', 'OWNER'];

function expected(who: string, asking: Asking, one: Case): Outcome {
  const { dead, out, server, grant, guest } = asking;
  const credential = out ? null : asking.credential;
  const { document, needs, hidden, but, outside } = one;
  if (dead) return 'UNAUTHENTICATED';
  if (needs === 'open') return 'ok';
  if (needs === 'session') {
    const otherwise = credential ? ('cookie' in credential ? 'ok' : 'FORBIDDEN') : 'UNAUTHENTICATED';
    return but?.[who] ?? otherwise;
  }
  if (needs === 'server') return server ? 'ok' : credential ? 'FORBIDDEN' : 'UNAUTHENTICATED';
  if (guest && typeof needs === 'object') return expectedOfGuest(asking, one, needs);
  if (!credential) return needs === 'self' ? 'null' : 'UNAUTHENTICATED';
  const has = (scope: string) => grant === undefined || scope === 'ANY' || grant.scopes.split(' ').includes(scope);
  const judged = (): Outcome => {
    if (needs === 'self') return grant?.service ? 'null' : 'ok';
    if (needs === 'person')
      return grant?.service || grant?.limited || grant?.here || !has('ADMIN') ? 'FORBIDDEN' : 'ok';
    // Whatever is reached by a query is read.
    const isQuery = document.startsWith('query');
    if (!grant || (!has('READ') && (isQuery || !has(needs.scope)))) return 'unseen';
    const isInProject = needs.in === 'project' || needs.in === 'shared';
    const isHigh = ROLES.indexOf(grant.role) >= ROLES.indexOf(needs.role);
    if (grant.limited && isInProject) return 'unseen';
    if (grant.outside && isInProject) return outside === undefined ? 'unseen' : isHigh ? outside : 'FORBIDDEN';
    const isNarrow = grant.limited || grant.here;
    const may = isHigh && has(needs.scope) && !(isNarrow && (needs.in === 'workspace' || needs.in === 'shared'));
    return may ? 'ok' : hidden ? 'unseen' : 'FORBIDDEN';
  };
  const outcome = judged();
  return outcome === 'ok' || outcome === 'INVALID_INPUT' ? (but?.[who] ?? outcome) : outcome;
}

/** Who is not in the workspace, where the project is public. */
function expectedOfGuest({ credential, out }: Asking, { asGuest }: Case, needs: Needs): Outcome {
  if (needs.in === 'project' && needs.scope === 'READ') return asGuest ?? 'ok';
  if (!credential || out) return 'UNAUTHENTICATED';
  return needs.in === 'project' || needs.in === 'shared' ? (asGuest ?? 'FORBIDDEN') : 'unseen';
}

export function outcomeOf({ at }: Case, { data, errors }: GraphQLAnswer): Outcome {
  const code = errors?.[0]?.extensions.code;
  if (code !== undefined) return code === 'NOT_FOUND' ? 'unseen' : code;
  const value = at.split('.').reduce<unknown>((from, key) => (from as Record<string, unknown> | null)?.[key], data);
  return value == null ? 'null' : 'ok';
}

type Ask = (credential: Credential | null, one: Case, of: World) => Promise<GraphQLAnswer>;

export type Matrix = ReturnType<typeof createMatrix>;

export function createMatrix(app: App, world: World) {
  /** Everything that is stored, except what the looking itself leaves behind. */
  async function stored(): Promise<string> {
    const tables = [
      '"user"',
      'workspace',
      'membership',
      'invitation',
      'service_account',
      'project',
      'project_member',
      'run',
    ];
    const more = [
      'attempt',
      'run_head',
      'run_writer',
      'journal',
      'account',
      'two_factor',
      'verification',
      'console_writer',
      'console_chunk',
      'run_command',
      'audit_entry',
    ];
    const keys = `SELECT id, name, scopes, all_projects, project_ids, enabled, expires_at, revoked_at FROM api_key`;
    const sessions = 'SELECT id, user_id, token_hash, expires_at FROM session';
    const sums = [...[...tables, ...more].map((table) => `SELECT * FROM ${table}`), keys, sessions].map(
      (rows) => `(SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM (${rows}) t)`,
    );
    const { rows } = await app.engines.pool.query({ text: `SELECT ${sums.join(', ')}`, rowMode: 'array' });
    return JSON.stringify(rows);
  }

  const ask: Ask = (credential, { document, variables }, of) => askAs(app, credential, document, variables?.(of) ?? {});

  /** The first event of a stream, while its project is being changed. */
  const watch: Ask = async (credential, { document, variables }, of) => {
    const stop = new AbortController();
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', ...credential },
      body: JSON.stringify({ query: document, variables: variables?.(of) }),
      signal: stop.signal,
    });
    if (!response.headers.get('content-type')?.startsWith('text/event-stream'))
      return (await response.json()) as GraphQLAnswer;
    let text = '';
    const decoder = new TextDecoder();
    const changing = setInterval(
      () => void app.engines.db.run.update({ where: { id: of.runId }, data: { notes: '' } }).catch(() => {}),
      200,
    );
    try {
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        const event = /^data: (\{.*\})$/m.exec(text)?.[1];
        if (event !== undefined) return JSON.parse(event) as GraphQLAnswer;
      }
      throw new Error(`the stream ended without a word: ${text}`);
    } finally {
      clearInterval(changing);
      stop.abort();
    }
  };

  /** What those of `who` are answered, by name; what of this world they were told, though they have no part in it. */
  async function answersTo(who: readonly string[], one: Case, how: Ask) {
    const outcomes: Record<string, Outcome> = {};
    const leaks: Record<string, string> = {};
    const wrong: Record<string, unknown> = {};
    for (const name of who) {
      const { credential, grant, guest } = world.asking[name] as Asking;
      const answer = await how(credential, one, world);
      const outcome = outcomeOf(one, answer);
      // What may not be seen is null where a field may be null, and NOT_FOUND where it may not.
      outcomes[name] = outcome === 'null' && wanted(name, one) === 'unseen' ? 'unseen' : outcome;
      if (outcomes[name] !== wanted(name, one)) wrong[name] = answer.errors;
      const text = JSON.stringify(answer);
      const secret = grant?.limited || grant?.outside ? world.project : world.mark;
      // What is public is told to guests, and nothing else.
      const told = guest ? world.open.reduce((left, open) => left.replaceAll(open, ''), text) : text;
      // People are told of to those who administer the server, and nothing that is theirs.
      const isTold =
        one.needs === 'server'
          ? new RegExp(`${world.mark} (?!owner|admin|member|viewer|guest|stranger|suspended|server|keyed|over)`).test(
              told,
            ) || told.includes(world.slug)
          : told.includes(secret);
      if ((!grant || grant.limited || grant.outside) && outcome !== 'unseen' && isTold) leaks[name] = text;
    }
    return { outcomes, leaks, wrong };
  }

  const wanted = (who: string, one: Case) => expected(who, world.asking[who] as Asking, one);
  const those = (one: Case, may: boolean) =>
    Object.keys(world.asking).filter((who) => (wanted(who, one) === 'ok') === may);
  const allWanted = (who: readonly string[], one: Case) => ({
    outcomes: Object.fromEntries(who.map((name) => [name, wanted(name, one)])),
    leaks: {},
    wrong: {},
  });

  /** Everybody who may not is refused, and nothing of what is stored has changed. */
  async function expectRefusals(one: Case): Promise<void> {
    const refused = those(one, false);
    const before = await stored();
    expect(await answersTo(refused, one, ask)).toEqual(allWanted(refused, one));
    expect(await stored()).toEqual(before);
  }

  return { ask, watch, stored, answersTo, wanted, those, allWanted, expectRefusals };
}
