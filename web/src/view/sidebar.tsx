// The conversations of this browser, by day, with what can be done to each.
import {useEffect, useRef, useState} from 'preact/hooks';
import {current, lasting, load, newChat, openConversation, remove, rename, running, summaries} from '../state/app';
import {asMarkdown} from '../state/conversation';
import {dayOf} from '../text/day';
import type {Summary} from '../state/keep';
import {IconButton, Icon, Mark} from './icons';

const kSearchFrom = 9; // conversations: fewer are seen at a glance

async function download(id: string): Promise<void> {
  const conversation = await load(id);
  if (!conversation) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([asMarkdown(conversation)], {type: 'text/markdown'}));
  link.download = `${conversation.title.replace(/[^\p{L}\p{N} _-]/gu, '').trim() || 'conversation'}.md`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function Item({summary, onOpen}: {summary: Summary; onOpen: () => void}) {
  const [naming, setNaming] = useState(false);
  const here = summary.id === current.value.id;
  if (naming) {
    const done = (title: string) => {
      setNaming(false);
      void rename(summary.id, title);
    };
    return (
      <li>
        <input class="rename" aria-label="Name of the conversation" defaultValue={summary.title} ref={(input) => input?.focus()}
          onBlur={(event) => done(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter') event.currentTarget.blur();
            if (event.key === 'Escape') { event.stopPropagation(); setNaming(false); }
          }} />
      </li>
    );
  }
  return (
    <li class={here ? 'here' : ''}>
      <button type="button" class="open" aria-current={here ? 'page' : undefined} onClick={() => { void openConversation(summary.id); onOpen(); }}>
        {summary.id in running.value && <span class="dot" role="img" aria-label="being answered" />}
        <span class="title">{summary.title || 'New chat'}</span>
      </button>
      <span class="item-actions">
        <IconButton name="edit" label={`Rename ${summary.title}`} onClick={() => setNaming(true)} />
        <IconButton name="save" label={`Save ${summary.title} as Markdown`} onClick={() => void download(summary.id)} />
        <IconButton name="remove" label={`Delete ${summary.title}`} onClick={() => void remove(summary.id)} />
      </span>
    </li>
  );
}

export function Sidebar({shown, onClose}: {shown: boolean; onClose: () => void}) {
  const [search, setSearch] = useState('');
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!shown) return;
    const from = document.activeElement as HTMLElement | null;
    first.current!.focus();
    return () => from?.focus();
  }, [shown]);
  const all = summaries.value;
  const found = search ? all.filter(({title}) => title.toLowerCase().includes(search.toLowerCase())) : all;
  const days = [...new Set(found.map(({updated}) => dayOf(updated)))];
  return (
    <nav id="conversations" class={`sidebar ${shown ? 'shown' : ''}`} aria-label="Conversations">
      <div class="sidebar-head">
        <span class="brand"><Mark />Carat</span>
        <IconButton name="close" label="Close the list" class="only-narrow" onClick={onClose} />
      </div>
      <button ref={first} type="button" class="new-chat" onClick={() => { newChat(); onClose(); }}><Icon name="add" />New chat</button>
      {all.length >= kSearchFrom && (
        <input class="search" type="search" placeholder="Search titles" aria-label="Search titles" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
      )}
      <div class="list">
        {days.map((day) => (
          <section key={day}>
            <h2>{day}</h2>
            <ul>{found.filter(({updated}) => dayOf(updated) === day).map((summary) => <Item key={summary.id} summary={summary} onOpen={onClose} />)}</ul>
          </section>
        ))}
        {search && found.length === 0 && <p class="quiet">No title has that in it.</p>}
      </div>
      {!lasting.value && <p class="quiet" role="status">This browser does not let the page keep conversations: they are gone when it is closed.</p>}
    </nav>
  );
}
