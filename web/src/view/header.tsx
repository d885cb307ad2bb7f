// The model, the settings, light or dark.
import {chooseModel, current, isRunning, models, modelsState, preferences, setTheme} from '../state/app';
import type {Theme} from '../state/preferences';
import {IconButton} from './icons';

const kNextTheme: Record<Theme, Theme> = {auto: 'light', light: 'dark', dark: 'auto'};
const kThemeName: Record<Theme, string> = {auto: 'as the system', light: 'light', dark: 'dark'};

function ModelPicker() {
  const {model} = current.value;
  const all = models.value;
  const missing = model !== '' && !all.some(({name}) => name === model);
  const details = all.find(({name}) => name === model)?.details;
  if (all.length === 0 && !missing) return <span class="picker quiet">{modelsState.value === 'loading' ? 'Looking for models…' : 'No model'}</span>;
  return (
    <label class="picker">
      <select aria-label="Model" value={model} disabled={isRunning.value} onChange={(event) => chooseModel(event.currentTarget.value)}>
        {missing && <option value={model}>{model} (not here)</option>}
        {all.map(({name}) => <option key={name} value={name}>{name}</option>)}
      </select>
      {details && <span class="details">{details}</span>}
    </label>
  );
}

export function Header({onMenu, menuShown, onSettings}: {onMenu: () => void; menuShown: boolean; onSettings: () => void}) {
  const {theme} = preferences.value;
  const {system, sampling} = current.value.settings;
  const changedSettings = system.trim() !== '' || Object.keys(sampling).length > 0;
  return (
    <header class="header">
      <IconButton name="menu" label="Conversations" class="only-narrow" onClick={onMenu} aria-expanded={menuShown} aria-controls="conversations" />
      <ModelPicker />
      <span class="space" />
      <IconButton name={theme} label={`Colours: ${kThemeName[theme]}`} onClick={() => setTheme(kNextTheme[theme])} />
      <IconButton name="settings" label={changedSettings ? 'Settings (changed)' : 'Settings'} class={changedSettings ? 'marked' : ''} onClick={onSettings} />
    </header>
  );
}
