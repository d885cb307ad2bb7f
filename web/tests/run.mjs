// run.mjs unit | page [DIST] | real CARAT: the page's tests, as ctest runs them. 77 is "skipped", with the reason.
import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {kChromium} from './page/browser.mjs';

const [what, where = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
const path = resolve(where);
process.env[what === 'real' ? 'CARAT_BINARY' : 'CARAT_WEB_DIST'] = path;
const here = fileURLToPath(new URL('..', import.meta.url));
process.chdir(here);
let args;
if (what === 'unit') {
  args = ['node_modules/vitest/vitest.mjs', 'run'];
} else {
  if (!kChromium) {
    console.log('skipped: no Chromium is installed (on Debian: apt-get install chromium), CARAT_CHROMIUM names none');
    process.exit(77);
  }
  if (!existsSync(path)) throw new Error(`${path} is not built`);
  args = ['--test', `tests/page/${what}.test.mjs`];
}
process.exit(spawnSync(process.execPath, args, {stdio: 'inherit'}).status ?? 1);
