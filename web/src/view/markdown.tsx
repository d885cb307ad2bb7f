// An answer as it is read: blocks of clean HTML. A block that did not change keeps its elements (and what is selected in them).
import {useMemo} from 'preact/hooks';
import {blocks, clean} from '../text/markdown';
import {copyText} from './copy';
import {memo} from './memo';

const Block = memo(function Block({html}: {html: string}) {
  const safe = useMemo(() => clean(html), [html]);
  return <div class="block" dangerouslySetInnerHTML={{__html: safe}} />;
});

function copyCode(event: MouseEvent): void {
  const button = (event.target as Element).closest<HTMLElement>('[data-copy]');
  const code = button?.closest('.code')?.querySelector('pre')?.textContent;
  if (!button || code == null) return;
  void copyText(code).then((copied) => {
    button.textContent = copied ? 'Copied' : 'Not allowed';
    setTimeout(() => (button.textContent = 'Copy'), 1600);
  });
}

export const Markdown = memo(function Markdown({text}: {text: string}) {
  return (
    <div class="markdown" onClick={copyCode}>
      {blocks(text).map((html, at) => <Block key={at} html={html} />)}
    </div>
  );
});
