// What is done to a conversation, and what of it the model is asked.
import {expect, test} from 'vitest';
import {answering, asMarkdown, asked, before, changed, kNoSettings, newConversation, newId, requestOf, statsOf, statsText, titleOf} from '../../src/state/conversation';

const finish = {reason: 'stop', promptTokens: 12, promptNs: 5e7, tokens: 50, tokensNs: 1.25e9};

function two() {
  let it = asked(newConversation('m', kNoSettings), 'One?', []);
  it = answering(it);
  it = changed(it, it.messages[1].id, {text: '1.', end: 'stop'});
  return asked(it, 'Two?', [{type: 'image/png', base64: 'AAAA'}]);
}

test('ids are not used twice', () => {
  expect(new Set(Array.from({length: 1000}, newId)).size).toBe(1000);
});

test('a title is the first line, cut at a word', () => {
  expect(titleOf('  Hello\nworld')).toBe('Hello');
  expect(titleOf('## A   heading')).toBe('A heading');
  expect(titleOf('')).toBe('Images');
  expect(titleOf('one two three four', 10)).toBe('one two…');
  expect(titleOf('Donaudampfschifffahrt', 10)).toBe('Donaudampf…');
  expect(titleOf('exactly 10', 10)).toBe('exactly 10');
});

test('the first question names the conversation, the second does not', () => {
  expect(two().title).toBe('One?');
});

test('nothing is changed in place', () => {
  const it = two();
  const copy = structuredClone(it);
  asked(it, 'Three?', []);
  before(it, it.messages[0].id);
  changed(it, it.messages[1].id, {text: 'x'});
  expect(it).toEqual(copy);
});

test('before() leaves what came earlier; an unknown message changes nothing', () => {
  const it = two();
  expect(before(it, it.messages[1].id).messages).toEqual(it.messages.slice(0, 1));
  expect(before(it, 'nobody')).toBe(it);
});

test('the request: system first, images as base64, set options only', () => {
  const it = {...two(), settings: {system: 'Be brief.', sampling: {temperature: 0, seed: 7}}};
  expect(requestOf(it)).toEqual({
    model: 'm',
    messages: [
      {role: 'system', content: 'Be brief.'},
      {role: 'user', content: 'One?'},
      {role: 'assistant', content: '1.'},
      {role: 'user', content: 'Two?', images: ['AAAA']},
    ],
    options: {temperature: 0, seed: 7},
  });
});

test('an answer that holds nothing is not sent back to the model', () => {
  const it = answering(two());
  expect(requestOf(it).messages.map(({role}) => role)).toEqual(['user', 'assistant', 'user']);
});

test('figures', () => {
  expect(statsOf(finish, 80)).toEqual({tokens: 50, tokensPerSecond: 40, promptTokens: 12, firstTokenMs: 80});
  expect(statsText(statsOf(finish, 80.4))).toEqual(['40.0 tokens/s', 'first token 80 ms', '50 tokens', 'prompt 12']);
  expect(statsText(statsOf({...finish, tokens: 1, promptTokens: 0}, 12345))).toEqual(['first token 12.3 s', '1 token']);
  expect(statsOf({...finish, tokensNs: 0}, 80).tokensPerSecond).toBe(0);
});

test('as Markdown', () => {
  expect(asMarkdown({...two(), settings: {system: 'S', sampling: {}}})).toBe(
    '# One?\n\n## System\n\nS\n\n## You\n\nOne?\n\n## m\n\n1.\n\n## You\n\n*1 image*\n\nTwo?\n');
});
