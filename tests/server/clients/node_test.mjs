// The official npm clients of OpenAI and Ollama, unchanged. node_test.mjs OPENAI_URL OLLAMA_URL; run by node_test.py.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';

const [openaiUrl, ollamaUrl, model, modules] = process.argv.slice(2);
const from = createRequire(`${modules}/package.json`);
const {default: OpenAI} = await import(pathToFileURL(from.resolve('openai')));
const {Ollama} = await import(pathToFileURL(from.resolve('ollama')));

const messages = [{role: 'user', content: 'Hello'}];

const openai = new OpenAI({baseURL: `${openaiUrl}/v1`, apiKey: 'x', maxRetries: 0});
const whole = await openai.chat.completions.create({model, messages, max_tokens: 8, temperature: 0});
let text = '';
for await (const chunk of await openai.chat.completions.create({model, messages, max_tokens: 8, temperature: 0, stream: true})) {
  text += chunk.choices[0]?.delta?.content ?? '';
}
assert.equal(text, whole.choices[0].message.content);
assert.equal((await openai.models.list()).data[0].id, model);
assert.equal((await openai.responses.create({model, input: 'Hello', max_output_tokens: 4, temperature: 0})).status, 'incomplete');
await assert.rejects(openai.chat.completions.create({model: 'nope', messages}), {status: 404});
await assert.rejects(openai.chat.completions.create({model, messages, top_p: 2}), {status: 400});
const aborted = await openai.chat.completions.create({model, messages, stream: true});
aborted.controller.abort();

const ollama = new Ollama({host: ollamaUrl});
const options = {temperature: 0, num_predict: 8};
const answer = await ollama.chat({model: 'g270', messages, options});
text = '';
for await (const part of await ollama.chat({model: 'g270', messages, options, stream: true})) text += part.message.content;
assert.equal(text, answer.message.content);
const made = await ollama.generate({model: 'g270', prompt: 'Hello', options});
assert.equal(made.eval_count, 8);
assert.ok((await ollama.list()).models.some(({name}) => name === 'g270:latest'));
assert.equal((await ollama.show({model: 'g270'})).details.family, 'gemma3');
assert.equal((await ollama.ps()).models[0].name, 'g270:latest');
await assert.rejects(ollama.chat({model: 'nope', messages}), /model 'nope' not found/);
console.log('node clients: ok');
