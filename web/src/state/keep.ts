// Where conversations are kept: this browser's IndexedDB, or only the page's memory where it forbids that. Nothing of them is
// sent anywhere but to the model.
import type {Conversation} from './conversation';

export interface Summary {
  id: string;
  title: string;
  updated: number;
}

export interface Keep {
  readonly lasting: boolean;
  list(): Promise<Summary[]>; // the newest first
  load(id: string): Promise<Conversation | undefined>;
  save(conversation: Conversation): Promise<void>;
  remove(id: string): Promise<void>;
}

export const summaryOf = ({id, title, updated}: Conversation): Summary => ({id, title, updated});
const newestFirst = (list: Summary[]) => list.sort((a, b) => b.updated - a.updated);

export class MemoryKeep implements Keep {
  readonly lasting = false;
  private readonly kept = new Map<string, Conversation>();

  async list() { return newestFirst([...this.kept.values()].map(summaryOf)); }
  async load(id: string) { return this.kept.get(id); }
  async save(conversation: Conversation) { this.kept.set(conversation.id, conversation); }
  async remove(id: string) { this.kept.delete(id); }
}

const answerOf = <T>(request: IDBRequest<T>) => new Promise<T>((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const doneOf = (transaction: IDBTransaction) => new Promise<void>((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onerror = transaction.onabort = () => reject(transaction.error);
});

// Two stores, so that the list does not read every image: the summaries, and the conversations.
class BrowserKeep implements Keep {
  readonly lasting = true;
  constructor(private readonly base: IDBDatabase) {}

  async list() {
    return newestFirst(await answerOf<Summary[]>(this.base.transaction('summaries').objectStore('summaries').getAll()));
  }

  load(id: string) {
    return answerOf<Conversation | undefined>(this.base.transaction('conversations').objectStore('conversations').get(id));
  }

  save(conversation: Conversation) {
    return this.change((summaries, conversations) => {
      summaries.put(summaryOf(conversation));
      conversations.put(conversation);
    });
  }

  remove(id: string) {
    return this.change((summaries, conversations) => {
      summaries.delete(id);
      conversations.delete(id);
    });
  }

  private change(work: (summaries: IDBObjectStore, conversations: IDBObjectStore) => void) {
    const transaction = this.base.transaction(['summaries', 'conversations'], 'readwrite');
    work(transaction.objectStore('summaries'), transaction.objectStore('conversations'));
    return doneOf(transaction);
  }
}

export async function openKeep(factory: IDBFactory | undefined = globalThis.indexedDB): Promise<Keep> {
  try {
    const request = factory!.open('carat', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('summaries', {keyPath: 'id'});
      request.result.createObjectStore('conversations', {keyPath: 'id'});
    };
    return new BrowserKeep(await answerOf(request));
  } catch {
    return new MemoryKeep();
  }
}
