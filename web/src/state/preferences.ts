// The small things that the browser remembers: the model, the settings for new chats, light or dark, the API key.
import {kNoSettings, kSamplingFields, type Settings} from './conversation';

export type Theme = 'auto' | 'light' | 'dark';

export interface Preferences {
  model: string;
  settings: Settings;
  theme: Theme;
  key: string;
}

export const kFirst: Preferences = {model: '', settings: kNoSettings, theme: 'auto', key: ''};
const kName = 'carat';

// Whatever is stored: what makes no sense is what it was at first.
export function preferencesFrom(stored: string | null): Preferences {
  let found: any;
  try {
    found = JSON.parse(stored ?? '{}') ?? {};
  } catch {
    found = {};
  }
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  const sampling: Settings['sampling'] = {};
  for (const field of kSamplingFields) {
    const value = found.settings?.sampling?.[field];
    if (typeof value === 'number' && Number.isFinite(value)) sampling[field] = value;
  }
  return {model: text(found.model), settings: {system: text(found.settings?.system), sampling}, key: text(found.key),
    theme: ['light', 'dark'].includes(found.theme) ? found.theme : 'auto'};
}

export function loadPreferences(): Preferences {
  try {
    return preferencesFrom(localStorage.getItem(kName));
  } catch {
    return kFirst; // a browser that keeps nothing
  }
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(kName, JSON.stringify(preferences));
  } catch {
    // not remembered, and nothing else is lost
  }
}
