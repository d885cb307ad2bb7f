// The whole page: the list at the side (over the page where that is narrow), the model above, the conversation, the composer.
import {useEffect, useState} from 'preact/hooks';
import {askForKey, bringBack, isRunning, newChat, removed, stop} from '../state/app';
import {Composer} from './composer';
import {Header} from './header';
import {Messages} from './messages';
import {KeyDialog, SettingsDialog} from './settings';
import {Sidebar} from './sidebar';

export function Page() {
  const [menu, setMenu] = useState(false);
  const [settings, setSettings] = useState(false);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const dialog = document.querySelector('dialog[open]');
      if (event.key === 'Escape' && !dialog) {
        if (menu) setMenu(false);
        else if (isRunning.value) stop();
      } else if ((event.ctrlKey || event.metaKey) && event.shiftKey && event.key.toLowerCase() === 'o') {
        event.preventDefault();
        newChat();
      } else if ((event.ctrlKey || event.metaKey) && event.key === ',') {
        event.preventDefault();
        setSettings(true);
      }
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [menu]);

  return (
    <div class="page">
      <Sidebar shown={menu} onClose={() => setMenu(false)} />
      {menu && <div class="scrim" onClick={() => setMenu(false)} />}
      <main class="main">
        <Header onMenu={() => setMenu(!menu)} menuShown={menu} onSettings={() => setSettings(true)} />
        <Messages />
        <Composer />
      </main>
      {removed.value && (
        <div class="toast" role="status">
          <span>Deleted “{removed.value.title}”.</span>
          <button type="button" onClick={() => void bringBack()}>Bring it back</button>
        </div>
      )}
      {settings && <SettingsDialog onClose={() => setSettings(false)} />}
      {askForKey.value && !settings && <KeyDialog />}
    </div>
  );
}
