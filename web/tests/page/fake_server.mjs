// A server with the part of the API that the page uses, whose answers a test scripts. It serves the built page as carat serve
// does: with the strict security policy, and nothing else.
import {createServer} from 'node:http';
import {readFileSync} from 'node:fs';
import {extname, join, normalize} from 'node:path';

const kPolicy = readFileSync(new URL('../../../src/server/web_assets.h', import.meta.url), 'utf8')
  .match(/kWebSecurityPolicy =\s*((?:"[^"]*"\s*)+)/)[1].replace(/"\s*"|"/g, '').trim();
const kTypes = {'.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml'};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class FakeServer {
  models = [{name: 'gemma3:1b', details: {parameter_size: '1.0B', quantization_level: 'Q4_0'}}];
  capabilities = {};
  key = '';
  requests = []; // the bodies of /api/chat
  closed = 0; // answers that the page did not wait for
  // What a chat is answered with: pieces of text, then how it ends: {reason}, {error}, {cut: true}, {status, body}.
  answer = async () => ({pieces: ['Hello', ' there'], reason: 'stop'});

  constructor(dist) {
    this.dist = dist;
    this.server = createServer((request, response) => this.handle(request, response).catch((error) => {
      console.error(error);
      response.destroy();
    }));
  }

  async start(port = 0) {
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
    return this;
  }

  stop() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    return closed;
  }

  async handle(request, response) {
    const {pathname} = new URL(request.url, 'http://x');
    const json = (status, body) => {
      response.writeHead(status, {'Content-Type': 'application/json'});
      response.end(JSON.stringify(body));
    };
    if (!pathname.startsWith('/api/')) {
      const file = join(this.dist, normalize(pathname === '/' ? '/index.html' : pathname));
      let bytes;
      try {
        bytes = readFileSync(file);
      } catch {
        response.writeHead(404);
        return response.end();
      }
      response.writeHead(200, {'Content-Type': kTypes[extname(file)], 'Content-Security-Policy': kPolicy, 'X-Content-Type-Options': 'nosniff'});
      return response.end(bytes);
    }
    if (this.key && request.headers.authorization !== `Bearer ${this.key}`) return json(401, {error: 'unauthorized'});
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = text ? JSON.parse(text) : {};
    if (pathname === '/api/tags') return json(200, {models: this.models});
    if (pathname === '/api/show') return json(200, {capabilities: this.capabilities[body.model] ?? ['completion'], details: {}});
    if (pathname === '/api/chat') return this.chat(body, response, json);
    return json(404, {error: 'not found'});
  }

  async chat(body, response, json) {
    this.requests.push(body);
    const {pieces = [], reason = 'stop', error, cut, status, body: failure, wait = 5, before = 0} = await this.answer(body);
    if (status) return json(status, failure);
    let open = true;
    response.on('close', () => {
      open = false;
      if (!response.writableEnded) this.closed += 1;
    });
    const line = (value) => response.write(`${JSON.stringify({model: body.model, created_at: new Date().toISOString(), ...value})}\n`);
    response.writeHead(200, {'Content-Type': 'application/x-ndjson'});
    await pause(before);
    for (const piece of pieces) {
      if (!open) return;
      line({message: {role: 'assistant', content: piece}, done: false});
      await pause(wait);
    }
    if (cut) return response.destroy();
    if (error) {
      line({error});
    } else {
      line({message: {role: 'assistant', content: ''}, done: true, done_reason: reason, total_duration: 2e9, load_duration: 1e6,
        prompt_eval_count: 12, prompt_eval_duration: 5e7, eval_count: pieces.length, eval_duration: pieces.length * 2e7});
    }
    response.end();
  }
}
