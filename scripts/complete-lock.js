// Adds to package-lock.json the native parts of packages that npm left out because the machine, or the registry, that
// the lock file was made with did not have them (npm/cli#4828): without them `npm ci` refuses the file, or another
// platform goes without. Run it after every `npm install` of a dependency; --check only says whether it is needed.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** @typedef {{ version?: string, dev?: boolean, optional?: boolean, os?: string[], cpu?: string[], libc?: string[], optionalDependencies?: Record<string, string> }} Locked */

const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const processors = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

/**
 * The entries that are missing, by their place. They carry no integrity: npm fills it in where the package exists.
 * @param {Record<string, Locked>} packages of a lock file
 */
export function missingParts(packages) {
  /** @type {Record<string, Locked>} */
  const missing = {};
  for (const [path, { dev, optionalDependencies = {} }] of Object.entries(packages)) {
    if (!path.includes('node_modules/')) continue;
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (Object.keys(packages).some((other) => other.endsWith(`node_modules/${name}`))) continue;
      const words = name.split(/[-/]/);
      const os = words.filter((word) => systems.includes(word));
      const cpu = words.filter((word) => processors.includes(word));
      if (!/^\d/.test(version) || cpu.length !== 1) continue; // not the part of a platform
      const libc = words.flatMap((word) =>
        word.startsWith('musl') ? ['musl'] : word.startsWith('gnu') ? ['glibc'] : [],
      );
      missing[`node_modules/${name}`] = {
        version,
        cpu,
        ...(dev && { dev }),
        ...(libc.length > 0 && { libc }),
        optional: true,
        ...(os.length > 0 && { os }),
      };
    }
  }
  return missing;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = new URL('../package-lock.json', import.meta.url);
  const lock = JSON.parse(readFileSync(file, 'utf8'));
  const missing = missingParts(lock.packages);
  const names = Object.keys(missing).map((path) => path.slice('node_modules/'.length));
  if (names.length > 0 && process.argv.includes('--check')) {
    console.error(`package-lock.json lacks ${names.join(', ')}: run \`npm run lock\` and commit the result`);
    process.exitCode = 1;
  } else if (names.length > 0) {
    const sorted = Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => a.localeCompare(b, 'en'));
    writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
    console.log(`Added ${names.join(', ')}`);
  }
}
