// The commands for whoever is at the machine: `migrate [--status]`, `open` (a link that signs in, or makes the first
// account), `key` (an API key), `admin` (./admin.ts). They work beside a running server, and without one.
import { addressOf, type Config } from '../config.ts';
import { generatedSecret } from '../config/values.ts';
import { readServerInfo } from '../db/data-folder.ts';
import { migrate, migrationStates } from '../db/migrate.ts';
import { RuntideError } from '../errors.ts';
import { createApiKey } from '../identity/accounts/first-start.ts';
import { readAdminCommand } from './admin.ts';
import { withDatabase, withDb, withOwner } from './database.ts';
import { say, sayAside } from './say.ts';
import { entranceOf } from './welcome.ts';

export type Command = (config: Config, flags: string[]) => Promise<void>;

export const commands: Record<string, Command> = {
  async migrate(config, flags) {
    await withDatabase(config, async (connectionString) => {
      if (flags.includes('--status')) {
        for (const { name, state } of await migrationStates(connectionString)) say(`${state.padEnd(8)} ${name}`);
        return;
      }
      const applied = await migrate(connectionString);
      say(applied.length > 0 ? applied.map((name) => `applied  ${name}`).join('\n') : 'The database is up to date.');
    });
  },
  async open(config) {
    const running = await readServerInfo(config.dataDir);
    const url = running?.url ?? addressOf(config, config.port);
    if (!running && !config.databaseUrl)
      throw new RuntideError('UNAVAILABLE', 'no server runs on this data folder: start one with `npm start`');
    const [, link, how] = await withOwner(config, (db, owner) => entranceOf(db, owner, url));
    say(link);
    say(`(${how})`);
  },
  async key(config) {
    const key = await withOwner(config, async (db, owner) => {
      if (!owner)
        throw new RuntideError('CONFLICT', 'there is no account yet: `npm run open` prints the link to make one');
      return createApiKey(db, owner, 'made by npm run key');
    });
    say(key);
  },
  async admin(config, args) {
    const command = readAdminCommand(args);
    if (typeof command === 'string') {
      sayAside(command);
      process.exit(2);
    }
    const url = (await readServerInfo(config.dataDir))?.url ?? addressOf(config, config.port);
    const secret = () => config.authSecret ?? generatedSecret(config.dataDir, 'auth-secret');
    await withDb(config, (db) => command({ db, url, secret, say }));
  },
};
