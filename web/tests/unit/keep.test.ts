// The two places where conversations are kept behave alike, and what is stored outlives the page.
import {IDBFactory} from 'fake-indexeddb';
import {describe, expect, test} from 'vitest';
import {kNoSettings, newConversation, type Conversation} from '../../src/state/conversation';
import {MemoryKeep, openKeep, type Keep} from '../../src/state/keep';
import {kFirst, preferencesFrom} from '../../src/state/preferences';

const some = (title: string, updated: number): Conversation => ({...newConversation('m', kNoSettings), title, updated});

describe.each<[string, () => Promise<Keep>]>([
  ['IndexedDB', () => openKeep(new IDBFactory())],
  ['memory', async () => new MemoryKeep()],
])('%s', (_, make) => {
  test('saves, loads, lists the newest first, replaces, removes', async () => {
    const keep = await make();
    const [a, b] = [some('a', 1), some('b', 2)];
    await keep.save(a);
    await keep.save(b);
    expect(await keep.load(a.id)).toEqual(a);
    expect((await keep.list()).map(({title}) => title)).toEqual(['b', 'a']);
    await keep.save({...a, title: 'A', updated: 3});
    expect((await keep.list()).map(({title}) => title)).toEqual(['A', 'b']);
    await keep.remove(a.id);
    expect(await keep.load(a.id)).toBeUndefined();
    expect(await keep.list()).toEqual([{id: b.id, title: 'b', updated: 2}]);
  });
});

test('another page finds what the first one kept', async () => {
  const factory = new IDBFactory();
  const it = some('kept', 1);
  await (await openKeep(factory)).save(it);
  expect(await (await openKeep(factory)).load(it.id)).toEqual(it);
});

test('a browser without IndexedDB, or one that forbids it, gives memory and says so', async () => {
  expect((await openKeep(undefined)).lasting).toBe(false);
  expect((await openKeep({open: () => { throw new Error('forbidden'); }} as unknown as IDBFactory)).lasting).toBe(false);
  expect((await openKeep(new IDBFactory())).lasting).toBe(true);
});

test('preferences: what makes no sense is what it was at first', () => {
  expect(preferencesFrom(null)).toEqual(kFirst);
  expect(preferencesFrom('not JSON')).toEqual(kFirst);
  expect(preferencesFrom('null')).toEqual(kFirst);
  expect(preferencesFrom('{"theme":"pink","model":5,"settings":{"system":[],"sampling":{"seed":"1","top_k":40,"x":1,"temperature":null}}}'))
    .toEqual({...kFirst, settings: {system: '', sampling: {top_k: 40}}});
  const good = {model: 'm', theme: 'dark', key: 'k', settings: {system: 's', sampling: {temperature: 0}}};
  expect(preferencesFrom(JSON.stringify(good))).toEqual(good);
});
