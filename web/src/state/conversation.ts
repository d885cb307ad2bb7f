// Conversations as values, and everything that is done to one: each function returns a new one.
import type {ChatRequest, Finish} from '../api/client';
import type {Problem} from '../api/problem';

export interface Picture {
  type: string; // image/jpeg
  base64: string;
}

export interface Stats {
  tokens: number;
  tokensPerSecond: number; // 0: too few to tell
  promptTokens: number;
  firstTokenMs: number; // by the page's own clock, from sending to the first text
}

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  text: string;
  images?: Picture[];
  model?: string;
  stats?: Stats;
  end?: 'stop' | 'length' | 'stopped' | 'failed'; // none: still being written
  problem?: Problem;
}

export const kSamplingFields = ['temperature', 'top_k', 'top_p', 'min_p', 'repeat_penalty', 'num_predict', 'num_ctx', 'seed'] as const;
export type SamplingField = (typeof kSamplingFields)[number];

// What is not set is the model's default.
export interface Settings {
  system: string;
  sampling: Partial<Record<SamplingField, number>>;
}

export interface Conversation {
  id: string;
  title: string;
  updated: number; // milliseconds since 1970
  model: string;
  settings: Settings;
  messages: Message[];
}

export const kNoSettings: Settings = {system: '', sampling: {}};

let serial = 0;
export function newId(): string {
  return `${Date.now().toString(36)}-${(serial++).toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
}

export function newConversation(model: string, settings: Settings): Conversation {
  return {id: newId(), title: '', updated: Date.now(), model, settings, messages: []};
}

// The first line of the first message, cut at a word.
export function titleOf(text: string, longest = 48): string {
  const line = text.trim().split('\n')[0].replace(/\s+/g, ' ').replace(/^#+ /, '');
  if (!line) return 'Images';
  if (line.length <= longest) return line;
  const cut = line.slice(0, longest);
  const space = cut.lastIndexOf(' ');
  return `${cut.slice(0, space > longest / 2 ? space : longest).trimEnd()}…`;
}

export function asked(conversation: Conversation, text: string, images: Picture[]): Conversation {
  const message: Message = {id: newId(), role: 'user', text, ...(images.length ? {images} : {})};
  return {...conversation, title: conversation.title || titleOf(text), updated: Date.now(), messages: [...conversation.messages, message]};
}

export function answering(conversation: Conversation): Conversation {
  const message: Message = {id: newId(), role: 'assistant', text: '', model: conversation.model};
  return {...conversation, updated: Date.now(), messages: [...conversation.messages, message]};
}

// Without that message and all that follow.
export function before(conversation: Conversation, id: string): Conversation {
  const at = conversation.messages.findIndex((message) => message.id === id);
  return at < 0 ? conversation : {...conversation, messages: conversation.messages.slice(0, at)};
}

export function changed(conversation: Conversation, id: string, change: Partial<Message>): Conversation {
  return {...conversation, messages: conversation.messages.map((message) => (message.id === id ? {...message, ...change} : message))};
}

// What the model is asked: the turns as they stand; an answer that holds nothing is left out.
export function requestOf(conversation: Conversation): ChatRequest {
  const {system, sampling} = conversation.settings;
  const turns = conversation.messages.filter((message) => message.role === 'user' || message.text !== '');
  return {
    model: conversation.model,
    messages: [
      ...(system.trim() ? [{role: 'system' as const, content: system}] : []),
      ...turns.map(({role, text, images}) => ({role, content: text, ...(images ? {images: images.map((image) => image.base64)} : {})})),
    ],
    options: {...sampling},
  };
}

export function statsOf(finish: Finish, firstTokenMs: number): Stats {
  const seconds = finish.tokensNs / 1e9;
  return {tokens: finish.tokens, tokensPerSecond: finish.tokens > 1 && seconds > 0 ? finish.tokens / seconds : 0,
    promptTokens: finish.promptTokens, firstTokenMs};
}

export function statsText(stats: Stats): string[] {
  const parts: string[] = [];
  const digits = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  if (stats.tokensPerSecond) parts.push(`${digits(stats.tokensPerSecond)} tokens/s`);
  parts.push(stats.firstTokenMs >= 10_000 ? `first token ${(stats.firstTokenMs / 1000).toFixed(1)} s` : `first token ${Math.round(stats.firstTokenMs)} ms`);
  parts.push(`${stats.tokens} ${stats.tokens === 1 ? 'token' : 'tokens'}`);
  if (stats.promptTokens) parts.push(`prompt ${stats.promptTokens}`);
  return parts;
}

export function asMarkdown(conversation: Conversation): string {
  const turns = conversation.messages.map(({role, text, images, model}) => {
    const pictures = images ? `*${images.length} image${images.length > 1 ? 's' : ''}*\n\n` : '';
    return `## ${role === 'user' ? 'You' : model ?? 'Model'}\n\n${pictures}${text}\n`;
  });
  const system = conversation.settings.system.trim();
  return [`# ${conversation.title}\n`, ...(system ? [`## System\n\n${system}\n`] : []), ...turns].join('\n');
}
