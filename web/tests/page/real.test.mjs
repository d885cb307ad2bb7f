// The page against the program itself, with a tiny model of random weights (its answers are noise, of the length that one asks for).
// CARAT_BINARY names the program.
import assert from 'node:assert/strict';
import {spawn, spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {Browser} from './browser.mjs';

const carat = process.env.CARAT_BINARY;
const kKey = 'open sesame';
let folder;
let browser;
let server;
let url;

const serve = (flags) => spawn(carat, ['serve', '--port', '0', ...flags],
  {stdio: ['ignore', 'ignore', 'pipe'], env: {...process.env, CARAT_HOME: folder}});

const addressOf = (started) => new Promise((resolve, reject) => {
  let said = '';
  started.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
    const found = /listening on (http:\S+)/.exec(said);
    if (found) resolve(`${found[1]}/`);
  });
  started.on('exit', () => reject(new Error(`carat serve ended: ${said}`)));
});

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'carat-page-'));
  const model = join(folder, 'tiny.gguf');
  assert.equal(spawnSync(carat, ['synth', 'tiny', model, '--type', 'q8_0']).status, 0);
  server = serve([model, '--served-model-name', 'tiny', '--api-key', kKey]);
  url = await addressOf(server);
  browser = await new Browser().start();
});

after(async () => {
  await browser?.stop();
  server?.kill('SIGKILL');
  rmSync(folder, {recursive: true, force: true});
});

test('the key, a chat, its figures, the same again by seed, stop', {timeout: 90_000}, async () => {
  const page = await browser.open(url, {expected: [/401/]});
  page.setDefaultTimeout(20_000);
  await page.getByLabel('Key', {exact: true}).fill(kKey);
  await page.getByRole('button', {name: 'Use it'}).click();
  await page.locator('.picker select').waitFor();
  assert.equal(await page.locator('.picker select').inputValue(), 'tiny');
  assert.equal(await page.getByRole('button', {name: 'This model does not see images'}).isDisabled(), true);

  const settings = async (values) => {
    await page.getByRole('button', {name: 'Settings'}).click();
    for (const [label, value] of Object.entries(values)) await page.getByLabel(label).fill(value);
    await page.getByRole('button', {name: 'Save', exact: true}).click();
  };
  const answer = page.locator('.answer[aria-busy=false]');
  await settings({'Longest answer': '24', 'Seed': '1'});
  await page.getByRole('textbox', {name: 'Message'}).fill('Hello');
  await page.keyboard.press('Enter');
  await answer.waitFor();
  await page.getByText('The answer reached its longest length').waitFor();
  assert.match(await answer.locator('.stats').innerText(), /tokens\/s[^]*first token \d+ ms[^]*24 tokens[^]*prompt \d+/);
  const first = await answer.locator('.markdown').textContent();
  assert.notEqual(first.trim(), '');
  await page.getByRole('button', {name: 'Answer again'}).click();
  await answer.waitFor();
  await page.getByText('The answer reached its longest length').waitFor();
  assert.equal(await answer.locator('.markdown').textContent(), first);

  await settings({'Longest answer': '2000'});
  await page.getByRole('button', {name: 'Answer again'}).click();
  await page.locator('.answer[aria-busy=true] .markdown').waitFor();
  await page.getByRole('button', {name: 'Stop (Escape)'}).click();
  await page.getByText('You stopped this answer.').waitFor();
  assert.deepEqual(page.faults, []);
});

test('a picture is attached, sent and seen', {timeout: 90_000}, async () => {
  const run = (...words) => {
    const {status, stderr} = spawnSync(carat, words, {env: {...process.env, CARAT_HOME: folder}});
    assert.equal(status, 0, String(stderr));
  };
  const modelfile = join(folder, 'Modelfile');
  run('synth', 'siglip-tiny', '--type', 'f16', '--text-width', '256', join(folder, 'tower.gguf'));
  writeFileSync(modelfile, `FROM ${folder}/tiny.gguf
FROM ${folder}/tower.gguf
TEMPLATE """<start_of_turn>user
{{ .Prompt }}<end_of_turn>
<start_of_turn>model
"""
`);
  run('create', 'eyes', '-f', modelfile);
  const seeing = serve([]);
  try {
    const page = await browser.open(await addressOf(seeing));
    page.setDefaultTimeout(20_000);
    await page.locator('.picker select').selectOption('eyes:latest');
    await page.getByRole('button', {name: 'Attach images'}).waitFor();
    const png = await page.evaluate(() => {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [40, 30];
      canvas.getContext('2d').fillRect(3, 4, 20, 10);
      return canvas.toDataURL('image/png').split(',')[1];
    });
    await page.locator('input[type=file]').setInputFiles([{name: 'a.png', mimeType: 'image/png', buffer: Buffer.from(png, 'base64')}]);
    await page.getByAltText('Attached image 1').waitFor();
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.getByLabel('Longest answer').fill('8');
    await page.getByRole('button', {name: 'Save', exact: true}).click();
    await page.getByRole('textbox', {name: 'Message'}).fill('What is this?');
    await page.keyboard.press('Enter');
    const answer = page.locator('.answer[aria-busy=false]');
    await answer.waitFor();
    const stats = await answer.locator('.stats').innerText();
    assert.ok(Number(/prompt (\d+)/.exec(stats)[1]) > 16, stats); // the picture alone has 16
    assert.deepEqual(page.faults, []);
  } finally {
    seeing.kill('SIGKILL');
  }
});
