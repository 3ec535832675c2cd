// The pure parts only: no page, no SvelteKit, so they run in milliseconds.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['src/**/*.test.ts'] } });
