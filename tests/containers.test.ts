// Dockerfile and docker-compose.yml, as far as they can be held to their word without an engine: what goes into the
// image, who it runs as, what is published, and that no password stands in either.
import { execFile } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { parseConfig, variables } from '../src/config.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFile(join(root, path), 'utf8');

interface Stage {
  name: string;
  base: string;
  /** Instruction and the rest of it, continuation lines put together. */
  lines: [string, string][];
}

async function readStages(): Promise<Stage[]> {
  const text = (await read('Dockerfile')).replaceAll(/^#.*\n/gm, '').replaceAll(/\\\n\s*/g, '');
  const stages: Stage[] = [];
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    const [, instruction = '', rest = ''] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
    const [base = '', , name = ''] = rest.split(' ');
    if (instruction === 'FROM') stages.push({ base, name, lines: [] });
    else stages.at(-1)?.lines.push([instruction, rest]);
  }
  return stages;
}

/** Sources and destination of each COPY. */
function copies({ lines }: Stage): { from: string | undefined; sources: string[]; to: string }[] {
  return lines
    .filter(([instruction]) => instruction === 'COPY')
    .map(([, rest]) => {
      const words = rest.split(' ');
      const from = words[0]?.startsWith('--from=') ? words.shift()?.slice('--from='.length) : undefined;
      return { from, to: words.pop() ?? '', sources: words };
    });
}

test('the image is built from files that are there and that the engine is given', async () => {
  const stages = await readStages();
  expect(stages.map(({ name }) => name)).toEqual(['build', 'packages', '']);
  for (const { base } of stages) expect(base).toMatch(/^node:24(-|$)/);
  const given = (await read('.dockerignore')).split('\n').filter((line) => /^[!\w.*]/.test(line));
  expect(given[0]).toBe('*');
  const sources = stages.flatMap(copies).flatMap((copy) => (copy.from === undefined ? copy.sources : []));
  expect(sources).toContain('src');
  expect(sources.filter((source) => !existsSync(join(root, source)))).toEqual([]);
  expect(sources.filter((source) => !given.includes(`!${source.split('/')[0]}`))).toEqual([]);
  expect(given.filter((line) => !line.startsWith('!'))).toEqual(expect.arrayContaining(['**/.env*', 'src/generated']));
});

test('the image runs as a user without rights, ends on SIGTERM and says whether it is ready', async () => {
  const [, packages, image] = (await readStages()) as [Stage, Stage, Stage];
  const install = packages.lines.find(([, rest]) => rest.startsWith('npm ci'))?.[1] ?? '';
  for (const flag of ['--omit=dev', '--omit=optional', '--ignore-scripts']) expect(install).toContain(flag);
  const of = (instruction: string) => image.lines.filter(([one]) => one === instruction).map(([, rest]) => rest);
  expect(of('USER')).toEqual(['node']);
  expect(image.lines.findIndex(([one]) => one === 'USER')).toBeGreaterThan(
    image.lines.findLastIndex(([one]) => one === 'COPY'),
  );
  expect(of('STOPSIGNAL')).toEqual(['SIGTERM']);
  // A list, not a line for a shell, which would keep the signal to itself.
  expect(JSON.parse(of('CMD')[0] ?? '')).toEqual(['node', 'src/main.ts']);
  const check = JSON.parse(/ CMD (\[.*\])$/.exec(of('HEALTHCHECK')[0] ?? '')?.[1] ?? '') as string[];
  expect(check.slice(0, 2)).toEqual(['node', '-e']);
  expect(check[2]).toContain(`/readyz`);
  const environment = Object.fromEntries(
    of('ENV').flatMap((rest) => rest.split(' ').map((pair) => pair.split('=') as [string, string])),
  );
  const known = new Set<string>(Object.values(variables).map(({ name }) => name));
  expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual(['NODE_ENV']);
  expect(parseConfig({ ...environment, RUNTIDE_PUBLIC_URL: 'http://localhost:4000' }).dataDir).toBe('/data');
});

test('the image holds whatever the server reads at run time', async () => {
  const [, , image] = (await readStages()) as [Stage, Stage, Stage];
  const held = copies(image).flatMap(({ sources, to }) => (to === './' ? sources : [to]));
  const { dependencies } = JSON.parse(await read('package.json')) as { dependencies: Record<string, string> };
  const outside = new Set<string>();
  const packages = new Set<string>();
  for (const path of globSync('src/**/*.ts', { cwd: root }).filter((one) => !one.includes('generated'))) {
    const text = (await read(path)).replaceAll(/^import type [\s\S]*?;$/gm, '');
    for (const [, specifier = ''] of text.matchAll(/(?:from |import\()'([^']+)'/g)) {
      const target = posix.join(posix.dirname(path), specifier);
      if (specifier.startsWith('.') && !target.startsWith('src/')) outside.add(target);
      if (!/^(\.|node:)/.test(specifier)) packages.add(/^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '');
    }
    for (const [, specifier = ''] of text.matchAll(/new URL\('(\.\.\/[^']+)'/g))
      outside.add(posix.join(posix.dirname(path), specifier));
  }
  expect([...outside].toSorted()).toEqual(['package.json', 'prisma/migrations', 'web/build']);
  expect(held).toEqual(expect.arrayContaining([...outside, 'src', 'node_modules']));
  expect([...packages].filter((name) => !(name in dependencies))).toEqual([]);
  expect(packages.size).toBeGreaterThan(10);
});

interface Service {
  build?: string;
  ports?: string[];
  networks?: string[];
  network_mode?: string;
  environment?: Record<string, string | number>;
  env_file?: { path: string; required: boolean }[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: object;
  restart?: string;
  volumes?: string[];
  command?: string[];
  entrypoint?: string[];
}

interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean } | null>;
  volumes: Record<string, null>;
}

const readCompose = async () => parse(await read('docker-compose.yml')) as Compose;

test('only the server is published, and only on this machine', async () => {
  const { services, networks } = await readCompose();
  expect(Object.keys(services)).toEqual(['server', 'database', 'bus', 'secrets']);
  const published = Object.entries(services).filter(([, { ports }]) => ports !== undefined);
  expect(published.map(([name, { ports }]) => [name, ports])).toEqual([['server', ['127.0.0.1:4000:4000']]]);
  expect(networks.engines).toEqual({ internal: true });
  const { database, bus, secrets } = services;
  expect([database?.networks, bus?.networks, secrets?.network_mode]).toEqual([['engines'], ['engines'], 'none']);
});

test('every service that stays is checked, and waits for what it needs', async () => {
  const { services, volumes } = await readCompose();
  const hasImageCheck = (await readStages()).at(-1)?.lines.some(([instruction]) => instruction === 'HEALTHCHECK');
  for (const [name, service] of Object.entries(services)) {
    const stays = service.restart !== undefined;
    expect([name, stays]).toEqual([name, name !== 'secrets']);
    const isChecked = service.healthcheck !== undefined || (service.build === '.' && hasImageCheck === true);
    expect([name, isChecked]).toEqual([name, stays]);
    for (const [needed, { condition }] of Object.entries(service.depends_on ?? {}))
      expect(condition).toBe(needed === 'secrets' ? 'service_completed_successfully' : 'service_healthy');
    for (const volume of service.volumes ?? []) expect(Object.keys(volumes)).toContain(volume.split(':')[0]);
  }
  expect(Object.keys(services.server?.depends_on ?? {})).toEqual(['secrets', 'database', 'bus']);
});

test('every setting of the server can be made, and there need be none', async () => {
  const { services } = await readCompose();
  expect(services.server?.env_file).toEqual([{ path: '.env', required: false }]);
});

test('no password stands in the file: secrets are made by it, once, and the server takes them', async () => {
  const text = await read('docker-compose.yml');
  const { services } = await readCompose();
  // Nothing that looks like one: not as a variable's value, not in an address.
  expect(text.match(/\w+:\/\/[^\s/'"]*:[^\s/'"%]+@/g)).toBeNull();
  for (const { environment = {} } of Object.values(services))
    for (const [name, value] of Object.entries(environment)) {
      const isSecret = /PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL|REDIS_URL/.test(name);
      expect([name, isSecret && !name.endsWith('_FILE')]).toEqual([name, false]);
      expect(String(value)).not.toMatch(/password=|pass:/i);
    }

  const folder = await mkdtemp(join(tmpdir(), 'runtide-secrets-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const [program = '', ...options] = services.secrets?.entrypoint ?? [];
  const script = (services.secrets?.command?.[0] ?? '').replaceAll('$$', '$').replaceAll('/run/runtide', folder);
  // Who the files belong to is for root to say.
  const make = () => promisify(execFile)(program, [...options, `chown() { :; }\n${script}`]);
  const files = () =>
    Promise.all(
      ['server/database-url', 'server/redis-url', 'database/password', 'bus/password', 'bus/valkey.conf'].map((path) =>
        readFile(join(folder, path), 'utf8'),
      ),
    );
  await make();
  const [databaseUrl = '', redisUrl = '', password = '', busPassword = '', busSettings = ''] = await files();
  expect(password).toMatch(/^[0-9a-f]{64}$/);
  expect(busPassword).toMatch(/^[0-9a-f]{64}$/);
  expect(busPassword).not.toBe(password);
  expect(busSettings).toContain(`requirepass ${busPassword}\n`);
  const inServer = (path: string) => path.replace('/run/runtide', folder);
  const environment = Object.entries(services.server?.environment ?? {}).map(([name, value]) => [
    name,
    inServer(String(value)).replaceAll(/\$\{\w+:-(.*?)\}/g, '$1'),
  ]);
  const config = parseConfig(Object.fromEntries(environment) as Record<string, string>);
  expect(config).toMatchObject({ databaseUrl, redisUrl, loopback: false, publicUrl: 'http://localhost:4000' });
  expect(databaseUrl).toBe(`postgres://runtide:${password}@database:5432/runtide`);
  expect(redisUrl).toBe(`redis://:${busPassword}@bus:6379`);
  const before = await files();
  await make();
  expect(await files()).toEqual(before);
  // Cut off in the middle, it starts again as a whole.
  await rm(join(folder, 'complete'));
  await make();
  expect((await files())[2]).not.toBe(password);
});
