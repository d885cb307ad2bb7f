// Everything that the page knows, as signals, and everything that a person can do, as functions. The views only show and call.
import {batch, computed, signal} from '@preact/signals';
import {Client, type Model} from '../api/client';
import {kInterrupted, kUnreachable, ProblemError, type Problem} from '../api/problem';
import {answering, asked, before, changed, newConversation, requestOf, statsOf, type Conversation, type Picture, type Settings} from './conversation';
import {MemoryKeep, openKeep, type Keep, type Summary} from './keep';
import {loadPreferences, savePreferences, type Preferences, type Theme} from './preferences';

export const preferences = signal<Preferences>(loadPreferences());
export const models = signal<Model[]>([]);
export const modelsState = signal<'loading' | 'ready' | Problem>('loading');
export const capabilities = signal<Record<string, string[]>>({});
export const summaries = signal<Summary[]>([]);
export const current = signal<Conversation>(newConversation('', preferences.value.settings));
export const running = signal<Record<string, AbortController>>({}); // by conversation
export const lasting = signal(true);
export const askForKey = signal<Problem | null>(null);
export const removed = signal<Conversation | null>(null); // can be brought back for a while

export const isRunning = computed(() => current.value.id in running.value);
export const seesImages = computed(() => (capabilities.value[current.value.model] ?? []).includes('vision'));

const client = new Client(() => preferences.value.key);
let keep: Keep = new MemoryKeep();
const open = new Map<string, Conversation>(); // those that are being answered while another one is looked at
const otherPages = 'BroadcastChannel' in globalThis ? new BroadcastChannel('carat') : undefined;

export function prefer(change: Partial<Preferences>): void {
  preferences.value = {...preferences.value, ...change};
  savePreferences(preferences.value);
}

export function setTheme(theme: Theme): void {
  prefer({theme});
  showTheme();
}

export function showTheme(): void {
  const {theme} = preferences.value;
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

// --- the server -----------------------------------------------------------------------------------------------------

const problemOf = (error: unknown): Problem => (error instanceof ProblemError ? error.problem
  : {kind: 'server', title: 'The page failed.', next: `Reload it. (${error instanceof Error ? error.message : error})`});

export async function loadModels(): Promise<void> {
  try {
    const found = await client.models();
    batch(() => {
      models.value = found;
      modelsState.value = 'ready';
      const {model} = current.value;
      if (!found.some(({name}) => name === model)) {
        const preferred = found.find(({name}) => name === preferences.value.model);
        if (!model || current.value.messages.length === 0) current.value = {...current.value, model: (preferred ?? found[0])?.name ?? ''};
      }
    });
    await loadCapabilities();
  } catch (error) {
    const problem = problemOf(error);
    modelsState.value = problem;
    if (problem.kind === 'key') askForKey.value = problem;
    else if (problem.kind === kUnreachable.kind) setTimeout(() => document.visibilityState === 'visible' && void loadModels(), 4000);
  }
}

async function loadCapabilities(): Promise<void> {
  const {model} = current.value;
  if (!model || model in capabilities.value) return;
  try {
    const found = await client.capabilities(model);
    capabilities.value = {...capabilities.value, [model]: found};
  } catch {
    // it stays unknown: no images, and the chat says what is wrong
  }
}

export function setKey(key: string): void {
  prefer({key});
  askForKey.value = null;
  modelsState.value = 'loading';
  void loadModels();
}

// --- conversations --------------------------------------------------------------------------------------------------

async function loadSummaries(): Promise<void> {
  summaries.value = await keep.list();
}

export async function start(): Promise<void> {
  showTheme();
  current.value = {...current.value, model: preferences.value.model};
  void loadModels();
  keep = await openKeep();
  lasting.value = keep.lasting;
  await loadSummaries();
  otherPages?.addEventListener('message', () => void loadSummaries());
  const wanted = location.hash.slice(1);
  if (wanted) await openConversation(wanted);
  addEventListener('hashchange', () => {
    const id = location.hash.slice(1);
    if (id && id !== current.value.id) void openConversation(id);
  });
  addEventListener('pagehide', () => open.forEach((conversation) => void keep.save(conversation)));
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible' && typeof modelsState.value !== 'string') void loadModels();
  });
}

async function save(conversation: Conversation): Promise<void> {
  try {
    await keep.save(conversation);
    await loadSummaries();
    otherPages?.postMessage('changed');
  } catch {
    lasting.value = false; // full, or forbidden: the page goes on, and says that it does not keep
  }
}

function show(conversation: Conversation): void {
  current.value = conversation;
  history.replaceState(null, '', conversation.messages.length ? `#${conversation.id}` : location.pathname + location.search);
  document.title = conversation.title ? `${conversation.title} · Carat` : 'Carat';
  void loadCapabilities();
}

export function newChat(): void {
  const {model, settings} = preferences.value;
  const known = models.value.some(({name}) => name === model);
  show(newConversation(known ? model : models.value[0]?.name ?? model, settings));
}

export async function openConversation(id: string): Promise<void> {
  let found = open.get(id) ?? (await keep.load(id));
  if (!found) return newChat();
  const unfinished = found.messages.find((message) => message.role === 'assistant' && !message.end);
  if (unfinished && !open.has(id)) found = changed(found, unfinished.id, {end: 'failed', problem: kInterrupted});
  show(found);
}

export async function rename(id: string, title: string): Promise<void> {
  const found = open.get(id) ?? (id === current.value.id ? current.value : await keep.load(id));
  if (found && title.trim()) await replace({...found, title: title.trim()});
}

export async function remove(id: string): Promise<void> {
  running.value[id]?.abort();
  const found = id === current.value.id ? current.value : await keep.load(id);
  await keep.remove(id);
  await loadSummaries();
  otherPages?.postMessage('changed');
  if (found) {
    removed.value = found;
    setTimeout(() => removed.value === found && (removed.value = null), 8000);
  }
  if (id === current.value.id) newChat();
}

export async function bringBack(): Promise<void> {
  const found = removed.value;
  removed.value = null;
  if (found) await replace(found);
}

export const load = (id: string): Promise<Conversation | undefined> => (id === current.value.id ? Promise.resolve(current.value) : keep.load(id));

// The conversation as it is now, wherever it is looked at or being answered.
function put(conversation: Conversation): void {
  if (open.has(conversation.id)) open.set(conversation.id, conversation);
  if (conversation.id === current.value.id) current.value = conversation;
}

async function replace(conversation: Conversation): Promise<void> {
  put(conversation);
  if (conversation.id === current.value.id) document.title = `${conversation.title} · Carat`;
  await save(conversation);
}

export function chooseModel(model: string): void {
  prefer({model});
  current.value = {...current.value, model};
  if (current.value.messages.length) void save(current.value);
  void loadCapabilities();
}

export function setSettings(settings: Settings): void {
  prefer({settings});
  current.value = {...current.value, settings};
  if (current.value.messages.length) void save(current.value);
}

// --- a turn ---------------------------------------------------------------------------------------------------------

const kShowEveryMs = 40;
const kSaveEveryMs = 2000;

export function send(text: string, images: Picture[]): void {
  if (!isRunning.value) void answer(asked(current.value, text, images));
}

export function retry(id: string): void {
  if (!isRunning.value) void answer(before(current.value, id));
}

export function edit(id: string, text: string): void {
  const images = current.value.messages.find((message) => message.id === id)?.images ?? [];
  if (!isRunning.value) void answer(asked(before(current.value, id), text, images));
}

export function stop(): void {
  running.value[current.value.id]?.abort();
}

async function answer(conversation: Conversation): Promise<void> {
  const {id} = conversation;
  const request = requestOf(conversation);
  let state = answering(conversation);
  const message = state.messages[state.messages.length - 1].id;
  const abort = new AbortController();
  open.set(id, state);
  batch(() => {
    running.value = {...running.value, [id]: abort};
    show(state);
  });
  void save(state);

  const started = performance.now();
  let firstTokenMs = 0;
  let text = '';
  let shownAt = 0;
  let savedAt = started;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const update = (change: Parameters<typeof changed>[2]) => put((state = changed(open.get(id)!, message, change)));
  const showText = () => {
    timer = undefined;
    shownAt = performance.now();
    update({text});
    if (shownAt - savedAt > kSaveEveryMs) {
      savedAt = shownAt;
      void save(state);
    }
  };
  let last: Parameters<typeof changed>[2];
  try {
    last = {end: 'stop'};
    for await (const event of client.chat(request, abort.signal)) {
      if ('text' in event) {
        firstTokenMs ||= performance.now() - started;
        text += event.text;
        timer ??= setTimeout(showText, Math.max(0, kShowEveryMs - (performance.now() - shownAt)));
      } else {
        last = {end: event.finish.reason === 'length' ? 'length' : 'stop', stats: statsOf(event.finish, firstTokenMs || performance.now() - started)};
      }
    }
  } catch (error) {
    last = abort.signal.aborted ? {end: 'stopped'} : {end: 'failed', problem: problemOf(error)};
  }
  clearTimeout(timer);
  update({text, ...last});
  open.delete(id);
  const {[id]: _, ...others} = running.value;
  running.value = others;
  if (last.problem?.kind === 'key') askForKey.value = last.problem;
  if (removed.value?.id !== id) await save(state);
}
