// A body of JSON lines, as they arrive: chunks may end anywhere, also inside a character.
export class BrokenLine extends Error {
  constructor(readonly line: string) {
    super(`not a line of JSON: ${line.slice(0, 80)}`);
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new BrokenLine(line);
  }
}

export async function* jsonLines(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const {done, value} = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, {stream: true});
      const lines = rest.split('\n');
      rest = done ? '' : lines.pop()!;
      for (const line of lines) {
        if (line.trim()) yield parsed(line);
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops reading early lets the server stop too
  }
}
