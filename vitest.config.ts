import { defineConfig } from 'vitest/config';

export default defineConfig({
  // As Node itself resolves packages: with `development` among the conditions there would be two graphql modules.
  ssr: { resolve: { conditions: ['node', 'module-sync'] } },
  test: {
    include: ['tests/**/*.test.ts', 'web/src/**/*.test.ts'],
    globalSetup: 'tests/support/global-setup.ts',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores: more workers only take turns.
    maxWorkers: 2,
  },
});
