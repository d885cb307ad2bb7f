// Everything lies beside the page and is asked for by relative paths, so that it works behind a proxy's prefix too. Nothing is
// put inline: the page is served with a Content-Security-Policy that forbids it.
import {defineConfig} from 'vitest/config';

const server = process.env.CARAT_SERVER ?? 'http://127.0.0.1:11434'; // `npm run dev` passes the API on to a running server

// Nothing is painted before the script has chosen light or dark; and what comes from the page's own origin needs no CORS.
const tidyTags = {
  name: 'tidy-tags',
  enforce: 'post' as const,
  transformIndexHtml: (html: string) =>
    html.replace(/(<script type="module") crossorigin/, '$1 blocking="render"').replaceAll(' crossorigin', ''),
};

export default defineConfig({
  plugins: [tidyTags],
  base: './',
  resolve: {alias: {entities: new URL('./src/text/entities.ts', import.meta.url).pathname}},
  esbuild: {jsx: 'automatic', jsxImportSource: 'preact', charset: 'utf8'},
  build: {target: 'es2021', assetsDir: 'web', assetsInlineLimit: 0, modulePreload: false, cssCodeSplit: false},
  test: {include: ['tests/unit/*.test.ts']},
  server: {proxy: {'/api': server, '/v1': server}},
});
