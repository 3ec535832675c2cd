// Prints schema.graphql from the code. --check: says whether the committed one differs.
import { readFileSync, writeFileSync } from 'node:fs';
import { lexicographicSortSchema, printSchema } from 'graphql';
import { schema } from '../src/schema/schema.ts';

const PATH = 'schema.graphql';
const header = '# Printed from src/schema by `npm run schema`: change it there.\n\n';
const printed = `${header}${printSchema(lexicographicSortSchema(schema))}\n`;

if (!process.argv.includes('--check')) writeFileSync(PATH, printed);
else if (readFileSync(PATH, 'utf8') !== printed) {
  console.error(`${PATH} differs from src/schema: run \`npm run schema\` and commit the result`);
  process.exitCode = 1;
}
