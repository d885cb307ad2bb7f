// picture.mjs DIST OUT.png: the README's picture of the page, with a made-up answer.
import {Browser} from './browser.mjs';
import {FakeServer} from './fake_server.mjs';

const [dist, out] = process.argv.slice(2);
const kAnswer = `The \`std::lower_bound\` of a sorted range is the **first element that is not less** than the value:

\`\`\`cpp
#include <algorithm>
#include <vector>

// The position where value would be inserted.
size_t position(const std::vector<int>& sorted, int value) {
  return std::lower_bound(sorted.begin(), sorted.end(), value) - sorted.begin();
}
\`\`\`

| function | comparisons | range |
|---|--:|---|
| \`lower_bound\` | log₂ n + 1 | sorted |
| \`find\` | n | any |

Both leave the range as it is.`;

const server = await new FakeServer(dist).start();
server.answer = async () => ({pieces: kAnswer.match(/[^]{1,4}/g), wait: 0, before: 60});
const browser = await new Browser().start();
const page = await browser.open(server.url, {viewport: {width: 1180, height: 800}});
await page.locator('.picker select').waitFor();
for (const question of ['Plan a week of dinners for two', 'Why is the sky dark at night?', 'How do I find where to insert into a sorted vector in C++?']) {
  await page.getByRole('button', {name: 'New chat'}).click();
  await page.getByRole('textbox', {name: 'Message'}).fill(question);
  await page.keyboard.press('Enter');
  await page.locator('.answer .stats').waitFor();
}
await page.mouse.move(700, 790);
await page.screenshot({path: out});
await browser.stop();
await server.stop();
