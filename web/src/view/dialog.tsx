// A dialog over the page: Escape and a click beside it close it, and the focus goes back to where it was.
import type {ComponentChildren} from 'preact';
import {useEffect, useRef} from 'preact/hooks';
import {IconButton} from './icons';

export function Dialog({title, onClose, onSubmit, children}: {title: string; onClose: () => void; onSubmit: () => void; children: ComponentChildren}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current!;
    element.showModal();
    return () => element.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label={title} onCancel={(event) => { event.preventDefault(); onClose(); }}
      onMouseDown={(event) => event.target === dialog.current && onClose()}>
      <form onSubmit={(event) => { event.preventDefault(); onSubmit(); }}>
        <div class="dialog-head"><h2>{title}</h2><IconButton name="close" label="Close" onClick={onClose} /></div>
        {children}
      </form>
    </dialog>
  );
}
