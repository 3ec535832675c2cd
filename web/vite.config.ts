import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import type { Adapter } from '@sveltejs/kit';
import { sveltekit } from '@sveltejs/kit/vite';
import adapter from '@sveltejs/adapter-static';
import tailwindcss from '@tailwindcss/vite';
import type { Plugin } from 'vite';
import { defineConfig } from 'vite';

// SvelteKit's bootstrap is the one inline script of the page. As a file, the server's Content-Security-Policy can stay
// at `script-src 'self'`, with no hash that changes with every build.
function withoutInlineScript(inner: Adapter, folder: string): Adapter {
  return {
    ...inner,
    adapt: async (builder) => {
      await inner.adapt(builder);
      const html = readFileSync(`${folder}/index.html`, 'utf8');
      const script = /<script>([\s\S]*?)<\/script>/.exec(html);
      if (!script?.[1]) throw new Error('the page has no inline script any more: remove this step');
      const name = `_app/immutable/boot.${createHash('sha256').update(script[1]).digest('hex').slice(0, 12)}.js`;
      writeFileSync(`${folder}/${name}`, script[1]);
      writeFileSync(`${folder}/index.html`, html.replace(script[0], `<script src="/app/${name}"></script>`));
    },
  };
}

// The server picks by what a browser takes. After the step above, which the adapter's own packing would come before.
function packed(inner: Adapter, folder: string): Adapter {
  return {
    ...inner,
    adapt: async (builder) => {
      await inner.adapt(builder);
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(html|js|css|svg|json|txt)$/.test(name)) continue;
        const bytes = readFileSync(`${folder}/${name}`);
        const forms = { br: brotliCompressSync(bytes), gz: gzipSync(bytes, { level: 9 }) };
        for (const [ending, form] of Object.entries(forms))
          if (form.length < bytes.length) writeFileSync(`${folder}/${name}.${ending}`, form);
      }
    },
  };
}

// SvelteKit hides its announcer with a style attribute, which `style-src 'self'` refuses: app.css does it instead.
const withoutInlineStyle: Plugin = {
  name: 'without-inline-style',
  enforce: 'pre',
  transform: (code, id) =>
    id.endsWith('/components/root.svelte') ? { code: code.replace(/\sstyle="[^"]*"/, ''), map: null } : null,
};

// In development the page runs on vite and talks to a server beside it.
const server = 'http://127.0.0.1:4000';

export default defineConfig({
  plugins: [
    withoutInlineStyle,
    tailwindcss(),
    sveltekit({
      adapter: packed(withoutInlineScript(adapter({ pages: 'build', fallback: 'index.html' }), 'build'), 'build'),
      paths: { base: '/app' },
    }),
  ],
  server: { proxy: { '/graphql': { target: server, ws: true }, '/api': { target: server } } },
});
