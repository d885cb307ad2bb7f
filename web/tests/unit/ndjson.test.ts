// The stream parser: however the bytes are cut, the same values.
import {expect, test} from 'vitest';
import {BrokenLine, jsonLines} from '../../src/api/ndjson';

function bodyOf(chunks: Uint8Array[], onCancel = () => {}): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull: (controller) => (at < chunks.length ? controller.enqueue(chunks[at++]) : controller.close()),
    cancel: onCancel,
  });
}

async function valuesOf(body: ReadableStream<Uint8Array>): Promise<unknown[]> {
  const values = [];
  for await (const value of jsonLines(body)) values.push(value);
  return values;
}

const kText = '{"a":"Zürich 💎"}\n{"b":[1,2]}\n\n{"c":"\\n"}';
const kValues = [{a: 'Zürich 💎'}, {b: [1, 2]}, {c: '\n'}];

test('every cut in two, also inside a character, gives the same values', async () => {
  const bytes = new TextEncoder().encode(kText);
  for (let cut = 0; cut <= bytes.length; cut++) {
    expect(await valuesOf(bodyOf([bytes.slice(0, cut), bytes.slice(cut)]))).toEqual(kValues);
  }
});

test('byte by byte', async () => {
  expect(await valuesOf(bodyOf([...new TextEncoder().encode(kText)].map((byte) => Uint8Array.of(byte))))).toEqual(kValues);
});

test('nothing at all is no value', async () => {
  expect(await valuesOf(bodyOf([]))).toEqual([]);
});

test('a line that is no JSON is an error that shows it, after the values before it', async () => {
  const seen: unknown[] = [];
  const read = async () => {
    for await (const value of jsonLines(bodyOf([new TextEncoder().encode('{"a":1}\n<html>\n')]))) seen.push(value);
  };
  await expect(read()).rejects.toThrow(BrokenLine);
  await expect(valuesOf(bodyOf([new TextEncoder().encode('{"a":')]))).rejects.toThrow('{"a":');
  expect(seen).toEqual([{a: 1}]);
});

test('a reader that stops early cancels the body', async () => {
  let cancelled = false;
  const body = bodyOf([new TextEncoder().encode('{"a":1}\n{"b":2}\n'), new Uint8Array(1), new Uint8Array(1)], () => { cancelled = true; });
  for await (const _ of jsonLines(body)) break;
  expect(cancelled).toBe(true);
});
