// The page in a real browser against a fake server: what a person does with it, step by step. node --test runs it;
// CARAT_WEB_DIST says where the built page lies.
import assert from 'node:assert/strict';
import {after, before, beforeEach, test} from 'node:test';
import {Browser} from './browser.mjs';
import {FakeServer} from './fake_server.mjs';

const dist = process.env.CARAT_WEB_DIST ?? new URL('../../dist', import.meta.url).pathname;
let browser;
let server;

before(async () => { browser = await new Browser().start(); });
after(() => browser.stop());
beforeEach(async () => { server = await new FakeServer(dist).start(); });

// One test: a page, what is done with it, and at the end no fault and no server.
function page_test(name, options, work) {
  test(name, {timeout: 60_000}, async () => {
    const {prepare, ...opening} = options;
    prepare?.(server);
    const page = await browser.open(server.url, opening);
    try {
      await work(page);
      assert.deepEqual(page.faults, []);
    } finally {
      await page.context().close();
      await server.stop();
    }
  });
}

const composer = (page) => page.getByRole('textbox', {name: 'Message'});
const answers = (page) => page.locator('.answer');

async function say(page, text) {
  await page.locator('.picker select').waitFor();
  await composer(page).fill(text);
  await composer(page).press('Enter');
}

async function answered(page, count = 1) {
  await page.locator('.answer[aria-busy=false]').nth(count - 1).waitFor();
}

page_test('a question, an answer that streams, its figures; it is there again after a reload', {}, async (page) => {
  server.answer = async () => ({pieces: ['First', ' second'], wait: 300});
  await say(page, 'Hello?');
  await page.getByText('First', {exact: true}).waitFor(); // before the second piece came
  await answered(page);
  assert.equal(await answers(page).locator('.markdown').innerText(), 'First second');
  assert.match(await answers(page).locator('.stats').innerText(), /^50\.0 tokens\/s\s*·?\s*first token \d+ ms\s*·?\s*2 tokens\s*·?\s*prompt 12$/);
  assert.deepEqual(server.requests[0], {model: 'gemma3:1b', messages: [{role: 'user', content: 'Hello?'}], options: {}, stream: true});
  assert.equal(await page.title(), 'Hello? · Carat');
  await page.reload();
  await answered(page);
  assert.equal(await answers(page).locator('.markdown').innerText(), 'First second');
  assert.equal(await page.getByRole('navigation').getByRole('button', {name: 'Hello?', exact: true}).getAttribute('aria-current'), 'page');
});

page_test('the second turn carries the first; system prompt and sampling go along', {}, async (page) => {
  await page.getByRole('button', {name: 'Settings'}).click();
  await page.getByLabel('System prompt').fill('Be brief.');
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Seed').fill('7');
  await page.getByRole('button', {name: 'Save', exact: true}).click();
  await say(page, 'One');
  await answered(page);
  await say(page, 'Two');
  await answered(page, 2);
  assert.deepEqual(server.requests[1].messages, [{role: 'system', content: 'Be brief.'}, {role: 'user', content: 'One'},
    {role: 'assistant', content: 'Hello there'}, {role: 'user', content: 'Two'}]);
  assert.deepEqual(server.requests[1].options, {temperature: 0, seed: 7});
});

page_test('stop: the server is let go, what came is kept', {}, async (page) => {
  server.answer = async () => ({pieces: Array(400).fill('word '), wait: 25});
  await say(page, 'Go on');
  await page.getByText('word word').waitFor();
  await page.keyboard.press('Escape');
  await page.getByText('You stopped this answer.').waitFor();
  assert.match(await answers(page).locator('.markdown').innerText(), /^word word/);
  await page.waitForTimeout(100);
  assert.equal(server.closed, 1);
  assert.equal(await page.getByRole('button', {name: 'Send', exact: true}).isVisible(), true);
});

page_test('answer again; edit a question: what followed is replaced', {}, async (page) => {
  let count = 0;
  server.answer = async () => ({pieces: [`answer ${++count}`]});
  await say(page, 'One');
  await answered(page);
  await page.getByRole('button', {name: 'Answer again'}).click();
  await page.getByText('answer 2').waitFor();
  assert.equal(await answers(page).count(), 1);
  await answered(page);
  await say(page, 'Two');
  await answered(page, 2);
  await page.locator('.question').first().hover();
  await page.getByRole('button', {name: 'Edit and send again'}).first().click();
  const editor = page.getByRole('textbox', {name: 'Edit your message'});
  assert.equal(await editor.inputValue(), 'One');
  await editor.fill('Uno');
  await editor.press('Enter');
  await page.getByText('answer 4').waitFor();
  assert.equal(await answers(page).count(), 1);
  assert.deepEqual(server.requests[3].messages, [{role: 'user', content: 'Uno'}]);
});

page_test('what a model writes cannot act: no HTML, no scripts, no images, no odd links', {}, async (page) => {
  server.answer = async () => ({pieces: ['<img src=x onerror="window.hurt=1"><script>window.hurt=1</script> **bold**\n\n',
    '![p](https://evil.example/p.png) [j](javascript:window.hurt=1) [d](data:text/html,x) [ok](https://ok.example/a?b=1)\n\n',
    '<svg/onload=window.hurt=1> &lt;b&gt; &eacute;\n\n```html\n<b onclick="window.hurt=1">x</b>\n```\n\n| a | b |\n|--:|:-:|\n| 1 | 2 |\n']});
  await say(page, 'Be evil');
  await answered(page);
  const body = answers(page).locator('.markdown');
  assert.equal(await page.evaluate(() => window.hurt), undefined);
  assert.equal(await body.locator('img, script, svg, b, [style], [onclick], [onerror]').count(), 0);
  assert.deepEqual(await body.locator('a').evaluateAll((links) => links.map((link) => [link.textContent, link.getAttribute('href'), link.rel, link.target])),
    [['p', 'https://evil.example/p.png', 'noopener noreferrer nofollow', '_blank'], ['ok', 'https://ok.example/a?b=1', 'noopener noreferrer nofollow', '_blank']]);
  assert.equal(await body.locator('strong').innerText(), 'bold');
  assert.match(await body.innerText(), /<svg\/onload=window\.hurt=1> <b> é/);
  assert.deepEqual(await body.locator('td').evaluateAll((cells) => cells.map((cell) => getComputedStyle(cell).textAlign)), ['right', 'center']);
  assert.equal(await body.locator('.code pre').innerText(), '<b onclick="window.hurt=1">x</b>\n');
});

page_test('code is coloured and copied', {permissions: ['clipboard-read', 'clipboard-write']}, async (page) => {
  server.answer = async () => ({pieces: ['```python\n', 'def f():\n    return 1\n', '```\nDone.']});
  await say(page, 'Code');
  await answered(page);
  assert.equal(await page.locator('.hljs-keyword').first().innerText(), 'def');
  await page.getByRole('button', {name: 'Copy', exact: true}).last().click();
  await page.getByRole('button', {name: 'Copied'}).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'def f():\n    return 1\n');
  await page.getByRole('button', {name: 'Copy the answer'}).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '```python\ndef f():\n    return 1\n```\nDone.');
});

page_test('conversations: a new one, the list, rename, delete and bring back', {}, async (page) => {
  await say(page, 'First one');
  await answered(page);
  await page.keyboard.press('Control+Shift+O');
  await page.getByText('What would you like to know?').waitFor();
  await say(page, 'Second one');
  await answered(page);
  const list = page.locator('.list .title');
  assert.deepEqual(await list.allInnerTexts(), ['Second one', 'First one']);
  await list.nth(1).hover();
  await page.getByRole('button', {name: 'Rename First one'}).click();
  await page.getByLabel('Name of the conversation').fill('Renamed');
  await page.keyboard.press('Enter');
  await page.getByRole('button', {name: 'Renamed', exact: true}).click();
  await page.locator('.question .bubble', {hasText: 'First one'}).waitFor();
  assert.deepEqual(await list.allInnerTexts(), ['Second one', 'Renamed']);
  await page.getByRole('button', {name: 'Delete Renamed'}).click();
  await page.getByText('Deleted “Renamed”.').waitFor();
  assert.deepEqual(await list.allInnerTexts(), ['Second one']);
  await page.getByRole('button', {name: 'Bring it back'}).click();
  await list.nth(1).waitFor();
  assert.deepEqual(await list.allInnerTexts(), ['Second one', 'Renamed']);
});

page_test('an answer goes on while another conversation is read', {}, async (page) => {
  server.answer = async (body) => ({pieces: body.messages[0].content === 'Slow' ? Array(30).fill('tick ') : ['quick'], wait: 30});
  await say(page, 'Slow');
  await page.getByText('tick').waitFor();
  await page.getByRole('button', {name: 'New chat'}).click();
  await say(page, 'Fast');
  await answered(page);
  await page.getByRole('navigation').getByRole('button', {name: 'Slow'}).last().click();
  await answered(page);
  assert.equal(await answers(page).locator('.markdown').innerText(), 'tick '.repeat(30).trim());
});

page_test('a key that the server asks for', {prepare: (it) => { it.key = 'open sesame'; }, expected: [/401/]}, async (page) => {
  await page.getByRole('dialog').getByText('This server asks for an API key.').waitFor();
  await page.getByLabel('Key', {exact: true}).fill('wrong');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('did not accept').waitFor();
  await page.getByLabel('Key', {exact: true}).fill('open sesame');
  await page.getByRole('button', {name: 'Use it'}).click();
  await say(page, 'Hello');
  await answered(page);
  assert.equal(await answers(page).locator('.markdown').innerText(), 'Hello there');
});

page_test('errors in words: busy, cut off, in the middle, no model', {expected: [/503/, /404/, /ERR_/]}, async (page) => {
  const ends = [{status: 503, body: {error: 'server busy'}}, {pieces: ['It begins'], cut: true, wait: 200}, {pieces: ['Half'], error: 'out of memory'},
    {status: 404, body: {error: "model 'gemma3:1b' not found"}}, {pieces: ['Fine']}];
  server.answer = async () => ends.shift();
  await say(page, 'Try');
  const alert = page.getByRole('alert');
  for (const text of ['The server has more to do than it can take.', 'The connection ended before the answer did.', 'Out of memory.', "Model 'gemma3:1b' not found."]) {
    await alert.getByText(text).waitFor();
    if (text.startsWith('The connection')) assert.equal(await answers(page).locator('.markdown').innerText(), 'It begins');
    await alert.getByRole('button', {name: 'Try again'}).click();
  }
  await page.getByText('Fine').waitFor();
  assert.equal(await alert.count(), 0);
});

page_test('a server that is gone, and comes back', {expected: [/ERR_/]}, async (page) => {
  await say(page, 'One');
  await answered(page);
  const {port} = new URL(server.url);
  await server.stop();
  await say(page, 'Two');
  await page.getByRole('alert').getByText('The server does not answer.').waitFor();
  server = await new FakeServer(dist).start(Number(port));
  await page.getByRole('button', {name: 'Try again'}).click();
  await answered(page, 2);
  assert.equal(server.requests[0].messages.length, 3);
});

page_test('an answer that its length ended, and one that is empty', {}, async (page) => {
  server.answer = async () => ({pieces: ['And so'], reason: 'length'});
  await say(page, 'Long');
  await page.getByText('The answer reached its longest length').waitFor();
  server.answer = async () => ({pieces: []});
  await say(page, 'Empty');
  await page.getByText('The model ended its answer before the first word.').waitFor();
});

page_test('a page that is closed in the middle of an answer keeps what came', {}, async (page) => {
  server.answer = async () => ({pieces: ['kept ', ...Array(200).fill('more ')], wait: 30});
  await say(page, 'Go');
  await page.getByText('kept more more').waitFor();
  await page.waitForTimeout(2200);
  await page.reload();
  await page.getByText('The page was closed before the answer was complete.').waitFor();
  assert.match(await answers(page).locator('.markdown').innerText(), /^kept more/);
});

const kSees = {prepare: (it) => {
  it.models.push({name: 'gemma3:4b', details: {}});
  it.capabilities['gemma3:4b'] = ['completion', 'vision'];
}};

page_test('images: only where the model sees them, drawn anew and sent as base64', kSees, async (page) => {
  const attach = page.getByRole('button', {name: 'This model does not see images'});
  await page.locator('.picker select').waitFor();
  assert.equal(await attach.isDisabled(), true);
  await page.getByLabel('Model', {exact: true}).selectOption('gemma3:4b');
  await page.getByRole('button', {name: 'Attach images'}).waitFor();
  const png = await page.evaluate(() => {
    const canvas = document.createElement('canvas');
    canvas.width = 3000;
    canvas.height = 10;
    return canvas.toDataURL('image/png').split(',')[1];
  });
  await page.locator('input[type=file]').setInputFiles([{name: 'a.png', mimeType: 'image/png', buffer: Buffer.from(png, 'base64')}]);
  await page.getByAltText('Attached image 1').waitFor();
  await page.locator('input[type=file]').setInputFiles([{name: 'b.png', mimeType: 'image/png', buffer: Buffer.from('no image')}]);
  await page.getByText('b.png is no image that this browser can read.').waitFor();
  await say(page, 'What is this?');
  await answered(page);
  const [{images, content}] = server.requests[0].messages;
  assert.equal(content, 'What is this?');
  assert.equal(images.length, 1);
  assert.equal(Buffer.from(images[0], 'base64').readUInt32BE(16), 1536); // the width in the PNG's header
  assert.equal(await page.locator('.question img').count(), 1);
});

page_test('no model at all: what to do', {prepare: (it) => { it.models = []; }}, async (page) => {
  await page.getByText('carat pull gemma3:270m-pt').waitFor();
  server.models = [{name: 'new', details: {}}];
  await page.getByRole('button', {name: 'Look again'}).click();
  assert.equal(await page.getByLabel('Model', {exact: true}).inputValue(), 'new');
});

page_test('light, dark, as the system; remembered', {colorScheme: 'dark'}, async (page) => {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const button = page.getByRole('button', {name: /^Colours/});
  assert.equal(await paper(), 'rgb(23, 25, 28)');
  await button.click();
  assert.equal(await paper(), 'rgb(251, 250, 247)');
  await page.reload();
  assert.equal(await paper(), 'rgb(251, 250, 247)');
});

page_test('a phone: nothing is wider than the screen, the list opens and closes, Enter is a new line',
  {viewport: {width: 360, height: 640}, isMobile: true, hasTouch: true}, async (page) => {
    server.answer = async () => ({pieces: ['`' + 'x'.repeat(300) + '`\n\n```\n' + 'y'.repeat(300) + '\n```\n\n|' + ' wide column |'.repeat(12) + '\n|' + '-|'.repeat(12) + '\n']});
    await page.locator('.picker select').waitFor();
    await composer(page).fill('x'.repeat(200));
    await composer(page).press('Enter');
    assert.equal(await answers(page).count(), 0);
    await page.getByRole('button', {name: 'Send', exact: true}).tap();
    await answered(page);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    assert.equal(await page.evaluate(() => document.querySelector('.messages').scrollWidth <= 360), true);
    await page.getByRole('button', {name: 'Conversations'}).tap();
    await page.getByRole('button', {name: 'New chat'}).tap();
    await page.getByText('What would you like to know?').waitFor();
    await page.getByRole('button', {name: 'New chat'}).waitFor({state: 'hidden'});
  });

page_test('by keyboard alone', {}, async (page) => {
  await page.locator('.picker select').waitFor();
  await page.keyboard.type('Typed at once'); // the composer has the focus
  await page.keyboard.press('Enter');
  await answered(page);
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('End');
  await page.keyboard.type('!');
  await page.keyboard.press('Enter');
  await page.getByText('Typed at once!').first().waitFor();
  await answered(page);
  assert.equal(server.requests[1].messages[0].content, 'Typed at once!');
  await page.keyboard.press('Control+,');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.getByRole('dialog').count(), 0);
  const unnamed = await page.evaluate(() => [...document.querySelectorAll('button, select, textarea, input:not([hidden])')]
    .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim() || element.closest('label'))).map((element) => element.outerHTML));
  assert.deepEqual(unnamed, []);
});

page_test('a long conversation follows its end until one scrolls up', {}, async (page) => {
  server.answer = async () => ({pieces: Array(60).fill('A line of its own.\n\n'), wait: 20});
  const gap = () => page.evaluate(() => { const box = document.querySelector('.messages'); return box.scrollHeight - box.scrollTop - box.clientHeight; });
  await say(page, 'Write');
  await page.locator('.block').nth(30).waitFor();
  assert.equal(await gap() < 60, true);
  await page.locator('.messages').hover();
  await page.mouse.wheel(0, -400);
  await page.getByRole('button', {name: 'To the end'}).waitFor();
  await answered(page);
  assert.equal(await gap() > 300, true);
  await page.getByRole('button', {name: 'To the end'}).click();
  assert.equal(await gap() < 2, true);
});
