// The door of a bare machine: `npm start`, `npm test` and the others come here first, on whatever Node is installed and
// before there are packages. Only old syntax in this file, so that an old Node reads far enough to say what is missing.
var major = parseInt(process.versions.node, 10);
var minor = parseInt(process.versions.node.slice(3), 10);
var npm = /^npm\/(\d+)/.exec(process.env.npm_config_user_agent || '');

if (major < 20 || (major === 20 && minor < 11)) {
  console.error('Runtide needs Node 20.11 or later with its npm; this is Node ' + process.versions.node + '.');
  console.error('Install a newer one (https://nodejs.org) and run the same command again.');
  process.exit(1);
}
if (npm && Number(npm[1]) < 10) {
  console.error('Runtide needs npm 10 or later; this is npm ' + npm[0].slice(4) + '.');
  console.error('Run "npm install --global npm" and then the same command again.');
  process.exit(1);
}
const { setUp } = await import('./setup/plan.js');
await setUp(process.argv[2] || 'start');
