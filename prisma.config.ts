import { defineConfig } from 'prisma/config';

// Prisma's own commands need no database here: migrations are plain SQL, applied by the server (src/db/migrate.ts).
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  ...(process.env.DATABASE_URL ? { datasource: { url: process.env.DATABASE_URL } } : {}),
});
