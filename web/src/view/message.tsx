// One turn: what was asked, or what was answered with its figures, its problem, and what can be done with it.
import {useLayoutEffect, useRef, useState} from 'preact/hooks';
import type {Problem} from '../api/problem';
import {askForKey, edit, retry} from '../state/app';
import {statsText, type Message} from '../state/conversation';
import {CopyButton} from './copy';
import {Icon, IconButton} from './icons';
import {Markdown} from './markdown';
import {memo} from './memo';

export function ProblemBox({problem, onRetry}: {problem: Problem; onRetry?: () => void}) {
  return (
    <div class="problem" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{problem.title}</strong>
        <p>{problem.next}</p>
        <div class="problem-actions">
          {problem.kind === 'key' && <button type="button" class="primary" onClick={() => (askForKey.value = problem)}>Enter the key</button>}
          {onRetry && <button type="button" onClick={onRetry}>Try again</button>}
        </div>
      </div>
    </div>
  );
}

function Editor({message, onDone}: {message: Message; onDone: () => void}) {
  const [text, setText] = useState(message.text);
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => { // at once: what is typed next must not go into the composer
    area.current!.focus();
    area.current!.setSelectionRange(text.length, text.length);
  }, []);
  const send = () => {
    if (!text.trim() && !message.images) return;
    onDone();
    edit(message.id, text.trim());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      onDone();
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  return (
    <div class="editor">
      <textarea ref={area} value={text} aria-label="Edit your message" rows={Math.min(12, text.split('\n').length + 1)}
        onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKeyDown} />
      <div class="editor-actions">
        <span>What follows this message is replaced.</span>
        <button type="button" onClick={onDone}>Cancel</button>
        <button type="button" class="primary" onClick={send}>Send</button>
      </div>
    </div>
  );
}

function Question({message, busy}: {message: Message; busy: boolean}) {
  const [editing, setEditing] = useState(false);
  return (
    <article class="turn question" aria-label="You">
      {message.images && (
        <div class="pictures">
          {message.images.map((image, at) => <img key={at} src={`data:${image.type};base64,${image.base64}`} alt={`Image ${at + 1}`} />)}
        </div>
      )}
      {editing ? <Editor message={message} onDone={() => setEditing(false)} /> : message.text && <div class="bubble">{message.text}</div>}
      {!editing && (
        <div class="actions">
          <CopyButton text={message.text} label="Copy" />
          <IconButton name="edit" label="Edit and send again" disabled={busy} onClick={() => setEditing(true)} class="edit" />
        </div>
      )}
    </article>
  );
}

function Answer({message, busy}: {message: Message; busy: boolean}) {
  const again = () => retry(message.id);
  const notes = message.stats ? statsText(message.stats) : [];
  return (
    <article class="turn answer" aria-label={message.model || 'Answer'} aria-busy={!message.end}>
      {message.text !== '' && <Markdown text={message.text} />}
      {!message.end && message.text === '' && <div class="waiting" role="status" aria-label="Waiting for the first token"><i /><i /><i /></div>}
      {message.end === 'stop' && message.text === '' && <p class="note">The model ended its answer before the first word.</p>}
      {message.end === 'length' && <p class="note">The answer reached its longest length, or the end of the context. Settings has both.</p>}
      {message.end === 'stopped' && <p class="note">You stopped this answer.</p>}
      {message.problem && <ProblemBox problem={message.problem} onRetry={busy ? undefined : again} />}
      {message.end && (message.text !== '' || !message.problem) && (
        <div class="actions">
          {message.text !== '' && <CopyButton text={message.text} label="Copy the answer" />}
          <IconButton name="retry" label="Answer again" disabled={busy} onClick={again} />
          <span class="stats" title={message.model}>{notes.map((note) => <span key={note}>{note}</span>)}</span>
        </div>
      )}
    </article>
  );
}

export const Turn = memo(function Turn({message, busy}: {message: Message; busy: boolean}) {
  return message.role === 'user' ? <Question message={message} busy={busy} /> : <Answer message={message} busy={busy} />;
});
