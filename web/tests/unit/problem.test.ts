// Errors in words, each with a next step.
import {expect, test} from 'vitest';
import {errorText, problemOfStatus} from '../../src/api/problem';
import {dayOf} from '../../src/text/day';

test("an error's text, in Ollama's shape, in OpenAI's, in none", () => {
  expect(errorText('{"error":"model is required"}')).toBe('model is required');
  expect(errorText('{"error":{"message":"bad key","code":401}}')).toBe('bad key');
  expect(errorText(' plain\n')).toBe('plain');
  expect(errorText('{"error":7}')).toBe('{"error":7}');
});

test.each([
  [401, '', 'key', 'This server asks for an API key.'],
  [403, '', 'request', 'The server does not accept requests from this address.'],
  [403, '{"error":"unknown origin"}', 'request', 'Unknown origin.'],
  [404, '{"error":"model \'m\' not found"}', 'model', "Model 'm' not found."],
  [404, '', 'model', 'There is no model m here.'],
  [400, '{"error":"top_k must be an integer"}', 'request', 'Top_k must be an integer.'],
  [413, '', 'request', 'This message is larger than the server takes.'],
  [503, '{"error":"server busy"}', 'busy', 'The server has more to do than it can take.'],
  [429, '', 'busy', 'The server has more to do than it can take.'],
  [500, '{"error":"out of memory"}', 'server', 'Out of memory.'],
  [502, '', 'server', 'The server failed (502).'],
])('status %i %s', (status, body, kind, title) => {
  const problem = problemOfStatus(status, body, 'm', false);
  expect([problem.kind, problem.title]).toEqual([kind, title]);
  expect(problem.next).not.toBe('');
});

test('a key that was sent and refused', () => {
  expect(problemOfStatus(401, '', '', true).title).toBe('The server did not accept the API key.');
});

test('days', () => {
  const now = new Date(2026, 10, 25, 15);
  const at = (...date: [number, number, number, number?]) => dayOf(new Date(...date).getTime(), now);
  expect([at(2026, 10, 25, 0), at(2026, 10, 24, 23), at(2026, 10, 20), at(2026, 9, 2), at(2025, 9, 2)])
    .toEqual(['Today', 'Yesterday', 'Last 7 days', 'October', 'October 2025']);
});
