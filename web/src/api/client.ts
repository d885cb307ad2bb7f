// The server's own interface, as this page uses it: what models there are, what one can do, and a chat that streams.
import {jsonLines, BrokenLine} from './ndjson';
import {kCutOff, kUnreachable, ProblemError, problemOfLine, problemOfStatus} from './problem';

export interface Model {
  name: string;
  details: string; // "1B, Q4_0"
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
  images?: string[]; // base64
}

export interface ChatRequest {
  model: string;
  messages: ChatMessage[];
  options: Record<string, number>;
}

// The last line of an answer. Durations are nanoseconds.
export interface Finish {
  reason: string;
  promptTokens: number;
  promptNs: number;
  tokens: number;
  tokensNs: number;
}

export type ChatEvent = {text: string} | {finish: Finish};

export class Client {
  constructor(private readonly key: () => string) {}

  private async send(path: string, init: RequestInit, model = ''): Promise<Response> {
    const key = this.key();
    const headers: Record<string, string> = {Accept: 'application/json'};
    if (init.body) headers['Content-Type'] = 'application/json';
    if (key) headers.Authorization = `Bearer ${key}`;
    let response: Response;
    try {
      response = await fetch(path, {...init, headers, cache: 'no-store', credentials: 'omit'});
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ProblemError(kUnreachable);
    }
    if (!response.ok) {
      throw new ProblemError(problemOfStatus(response.status, await response.text().catch(() => ''), model, key !== ''));
    }
    return response;
  }

  async models(): Promise<Model[]> {
    const body = await (await this.send('./api/tags', {})).json();
    return (body.models ?? []).map((model: any) => ({
      name: model.name as string,
      details: [model.details?.parameter_size, model.details?.quantization_level].filter(Boolean).join(', '),
    }));
  }

  async capabilities(model: string): Promise<string[]> {
    const response = await this.send('./api/show', {method: 'POST', body: JSON.stringify({model})}, model);
    return (await response.json()).capabilities ?? [];
  }

  // Ends with {finish}, or throws: a ProblemError, or the signal's AbortError.
  async *chat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    const response = await this.send('./api/chat', {method: 'POST', body: JSON.stringify({...request, stream: true}), signal}, request.model);
    try {
      for await (const line of jsonLines(response.body!)) {
        const {error, message, done, ...rest} = line as any;
        if (error) throw new ProblemError(problemOfLine(typeof error === 'string' ? error : error.message ?? String(error)));
        if (message?.content) yield {text: message.content};
        if (done) {
          yield {finish: {reason: rest.done_reason ?? 'stop', promptTokens: rest.prompt_eval_count ?? 0, promptNs: rest.prompt_eval_duration ?? 0,
            tokens: rest.eval_count ?? 0, tokensNs: rest.eval_duration ?? 0}};
          return;
        }
      }
    } catch (error) {
      if (signal.aborted || error instanceof ProblemError) throw error;
      if (error instanceof BrokenLine) throw new ProblemError(problemOfLine(`the server sent what is no answer (${error.message})`));
      throw new ProblemError(kCutOff);
    }
    throw new ProblemError(kCutOff);
  }
}
