// Copying: by the clipboard interface, or, on a page that is not served over TLS or from loopback, by a selection.
import {useState} from 'preact/hooks';
import {IconButton} from './icons';

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'offscreen';
    document.body.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    return copied;
  }
}

export function CopyButton({text, label}: {text: string; label: string}) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    if (await copyText(text)) {
      setCopied(true);
      setTimeout(() => setCopied(false), 1600);
    }
  };
  return <IconButton name={copied ? 'check' : 'copy'} label={copied ? 'Copied' : label} onClick={() => void copy()} />;
}
