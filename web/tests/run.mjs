// run.mjs unit|page [DIST]: the page's tests, as ctest runs them. 77 is "skipped", with the reason.
import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {kChromium} from './page/browser.mjs';

const [what, dist = fileURLToPath(new URL('../dist', import.meta.url))] = process.argv.slice(2);
process.env.CARAT_WEB_DIST = resolve(dist);
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
  if (!existsSync(process.env.CARAT_WEB_DIST)) throw new Error(`no built page in ${process.env.CARAT_WEB_DIST}: npm run build`);
  args = ['--test', 'tests/page/page.test.mjs'];
}
process.exit(spawnSync(process.execPath, args, {stdio: 'inherit'}).status ?? 1);
