// Where a message is written: Enter sends, Shift+Enter is a new line, Escape stops the answer.
import {useEffect, useLayoutEffect, useRef, useState} from 'preact/hooks';
import {current, isRunning, modelsState, seesImages, send, stop} from '../state/app';
import type {Picture} from '../state/conversation';
import {kPictureTypes, pictureOf} from '../text/picture';
import {IconButton} from './icons';

const drafts = new Map<string, string>(); // by conversation: looking at another one loses nothing
const onAPhone = () => matchMedia('(pointer: coarse)').matches;

export function Composer() {
  const id = current.value.id;
  const busy = isRunning.value;
  const sees = seesImages.value;
  const [text, setText] = useState('');
  const [pictures, setPictures] = useState<Picture[]>([]);
  const [note, setNote] = useState('');
  const area = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const ready = current.value.model !== '' && (text.trim() !== '' || pictures.length > 0);

  useEffect(() => {
    setText(drafts.get(id) ?? '');
    setPictures([]);
    setNote('');
    if (!onAPhone()) area.current!.focus();
  }, [id]);
  useLayoutEffect(() => {
    area.current!.style.height = 'auto';
    area.current!.style.height = `${area.current!.scrollHeight}px`;
  }, [text]);

  const write = (value: string) => {
    drafts.set(id, value);
    setText(value);
  };
  const submit = () => {
    if (busy || !ready) return;
    send(text.trim(), pictures);
    write('');
    setPictures([]);
    setNote('');
  };
  const attach = async (files: Iterable<File>) => {
    const images = [...files].filter((file) => file.type.startsWith('image/'));
    if (images.length === 0) return;
    if (!sees) return setNote(`${current.value.model || 'This model'} does not see images. Choose one that does (Gemma 3 4B and larger).`);
    for (const file of images) {
      try {
        const picture = await pictureOf(file);
        setPictures((all) => [...all, picture]);
        setNote('');
      } catch {
        setNote(`${file.name} is no image that this browser can read. JPEG, PNG and WebP work.`);
      }
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !onAPhone()) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && text === '') {
      const edits = document.querySelectorAll<HTMLElement>('.question .edit:not(:disabled)');
      if (edits.length) {
        event.preventDefault();
        edits[edits.length - 1].click();
      }
    }
  };

  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); submit(); }}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => { event.preventDefault(); void attach(event.dataTransfer?.files ?? []); }}>
      {note && <p class="composer-note" role="status">{note}</p>}
      <div class="composer-box">
        {pictures.length > 0 && (
          <div class="pictures">
            {pictures.map((picture, at) => (
              <div class="attached" key={at}>
                <img src={`data:${picture.type};base64,${picture.base64}`} alt={`Attached image ${at + 1}`} />
                <IconButton name="close" label={`Remove image ${at + 1}`} onClick={() => setPictures(pictures.filter((_, other) => other !== at))} />
              </div>
            ))}
          </div>
        )}
        <textarea ref={area} value={text} rows={1} placeholder="Write a message" aria-label="Message" enterkeyhint={onAPhone() ? 'enter' : 'send'}
          onInput={(event) => write(event.currentTarget.value)} onKeyDown={onKeyDown}
          onPaste={(event) => { if (event.clipboardData?.files.length) { event.preventDefault(); void attach(event.clipboardData.files); } }} />
        <div class="composer-row">
          <input ref={chooser} type="file" accept={kPictureTypes.join(',')} multiple hidden
            onChange={(event) => { void attach([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ''; }} />
          <IconButton name="image" label={sees ? 'Attach images' : 'This model does not see images'} disabled={!sees} onClick={() => chooser.current!.click()} />
          {busy
            ? <IconButton name="stop" label="Stop (Escape)" class="send" onClick={stop} />
            : <IconButton name="send" label={modelsState.value === 'ready' && !current.value.model ? 'Choose a model first' : 'Send'} type="submit" class="send" disabled={!ready} />}
        </div>
      </div>
    </form>
  );
}
