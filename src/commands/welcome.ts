// What a start prints, and by which links whoever is at the machine gets in.
import { readCredential, readCredentials, writeCredential } from '../access/credentials/credentials-file.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/prisma.ts';
import { createApiKey, ensureOwner, findOwner, isKeyUsable, type Owner } from '../identity/accounts/first-start.ts';
import { createSetUpLink, createSignInLink } from '../identity/sign-in/links.ts';
import { version } from '../version.ts';

/** What a person needs next. On loopback there is no form to fill in: a link signs in, and programs find a key. */
export async function welcome(config: Config, db: Db, url: string, localUrl: string): Promise<string> {
  const lines = [`Runtide ${version} is running.`, '', `  Dashboard  ${url}/app/`];
  const owner = config.loopback ? await ensureOwner(db, config.userName) : await findOwner(db);
  if (config.loopback || !owner) {
    const [what, link, how] = await entranceOf(db, owner, url);
    lines.push(`  ${what.padEnd(9)}  ${link}`, `             (${how}; \`npm run open\` prints another)`);
  }
  lines.push(`  GraphiQL   ${url}/graphql`);
  if (config.loopback && owner) lines.push(`  API key    ${await ensureLocalKey(config, db, owner, [url, localUrl])}`);
  else lines.push('  API key    `npm run key` prints one (in a container: `node src/main.ts key`)');
  lines.push(`  Data       ${config.databaseUrl ? 'in the database of DATABASE_URL' : config.dataDir}`, '');
  return lines.join('\n');
}

/** By which whoever is at the machine gets in: what the link does, the link, and for how long. */
export async function entranceOf(db: Db, owner: Owner | null, url: string): Promise<[string, string, string]> {
  if (owner)
    return ['Sign in', `${url}/app/sign-in#${await createSignInLink(db, owner.userId)}`, 'good once, for 15 minutes'];
  return [
    'Set up',
    `${url}/app/set-up#${await createSetUpLink(db)}`,
    'makes the first account; good once, for 24 hours',
  ];
}

/** Programs here ask for the address that they use: the one that people have, and the one where the server listens. */
async function ensureLocalKey(config: Config, db: Db, owner: Owner, urls: string[]): Promise<string> {
  const { credentialsPath } = config;
  try {
    // Any key of this database will do: one for each port that it ever had would only add up.
    let key: string | null = null;
    for (const known of await readCredentials(credentialsPath)) if (await isKeyUsable(db, known)) key ??= known;
    for (const url of urls) {
      const known = await readCredential(credentialsPath, url);
      if (known !== null && (await isKeyUsable(db, known))) continue;
      key ??= await createApiKey(db, owner, 'programs on this machine');
      await writeCredential(credentialsPath, url, key);
    }
    return `in ${credentialsPath} (programs on this machine find it)`;
  } catch (error) {
    return `not written: ${(error as Error).message} (\`npm run key\` prints one)`;
  }
}
