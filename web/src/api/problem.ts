// What went wrong, in words, and what to do next. Every error that a person sees on the page is one of these.
export type ProblemKind = 'unreachable' | 'key' | 'model' | 'busy' | 'request' | 'server' | 'cut';

export interface Problem {
  kind: ProblemKind;
  title: string;
  next: string;
}

export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.title);
  }
}

// The text of an error body: Ollama's {"error": "..."}, OpenAI's {"error": {"message": "..."}}, or what else there is.
export function errorText(body: string): string {
  try {
    const {error} = JSON.parse(body);
    if (typeof error === 'string') return error;
    if (typeof error?.message === 'string') return error.message;
  } catch {
    // not JSON
  }
  return body.trim().slice(0, 300);
}

const sentence = (text: string) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.\s]*$/, '.') : '');

export function problemOfStatus(status: number, body: string, model: string, hadKey: boolean): Problem {
  const said = sentence(errorText(body));
  if (status === 401) {
    return {kind: 'key', title: hadKey ? 'The server did not accept the API key.' : 'This server asks for an API key.',
      next: 'Enter the key that it was started with (carat serve --api-key).'};
  }
  if (status === 403) {
    return {kind: 'request', title: said || 'The server does not accept requests from this address.',
      next: 'Open the page by the name or address that the server was started with (carat serve --host), or allow this one with OLLAMA_ORIGINS.'};
  }
  if (status === 404 && model) {
    return {kind: 'model', title: said || `There is no model ${model} here.`, next: `Choose another model above, or fetch it: carat pull ${model}`};
  }
  if (status === 429 || status === 503) {
    return {kind: 'busy', title: 'The server has more to do than it can take.', next: 'Try again in a moment.' + (said ? ` (${said})` : '')};
  }
  if (status === 413) {
    return {kind: 'request', title: 'This message is larger than the server takes.', next: 'Send a shorter text, or fewer or smaller images.'};
  }
  if (status >= 500) {
    return {kind: 'server', title: said || `The server failed (${status}).`, next: 'Try again; if it happens again, the log of carat serve tells more.'};
  }
  return {kind: 'request', title: said || `The server refused the request (${status}).`, next: 'Change the message or the settings, and send it again.'};
}

// An error that comes in the middle of an answer.
export function problemOfLine(text: string): Problem {
  return {kind: 'server', title: sentence(text), next: 'What came before it is kept. Try again, or ask for something shorter.'};
}

export const kCutOff: Problem = {kind: 'cut', title: 'The connection ended before the answer did.',
  next: 'What came before is kept. If carat serve still runs, try again.'};

export const kUnreachable: Problem = {kind: 'unreachable', title: 'The server does not answer.',
  next: 'Check that carat serve is running and that this page comes from its address, then try again.'};

export const kInterrupted: Problem = {kind: 'cut', title: 'The page was closed before the answer was complete.',
  next: 'What came before is kept. Try again for a whole one.'};
