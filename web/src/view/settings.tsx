// The system prompt and the sampling of this conversation; new ones begin with the same. An empty field is the model's default.
import {useState} from 'preact/hooks';
import {askForKey, current, preferences, setKey, setSettings} from '../state/app';
import {kSamplingFields, type SamplingField, type Settings} from '../state/conversation';
import {Dialog} from './dialog';

interface Field {
  label: string;
  hint: string;
  min: number;
  max: number;
  step: number;
}

const kFields: Record<SamplingField, Field> = {
  temperature: {label: 'Temperature', hint: '0 always takes the likeliest token', min: 0, max: 2, step: 0.05},
  top_k: {label: 'Top k', hint: 'only the k likeliest tokens; 0 is all', min: 0, max: 1000, step: 1},
  top_p: {label: 'Top p', hint: 'the likeliest that make up this share', min: 0, max: 1, step: 0.01},
  min_p: {label: 'Min p', hint: 'at least this share of the likeliest', min: 0, max: 1, step: 0.01},
  repeat_penalty: {label: 'Repeat penalty', hint: '1 is none', min: 0.5, max: 2, step: 0.05},
  num_predict: {label: 'Longest answer', hint: 'in tokens', min: 1, max: 131072, step: 1},
  num_ctx: {label: 'Context', hint: 'in tokens', min: 64, max: 131072, step: 1},
  seed: {label: 'Seed', hint: 'the same seed gives the same answer', min: 0, max: 4294967295, step: 1},
};

export function SettingsDialog({onClose}: {onClose: () => void}) {
  const [settings, setDraft] = useState<Settings>(current.value.settings);
  const set = (field: SamplingField, text: string) => {
    const sampling = {...settings.sampling};
    if (text === '') delete sampling[field];
    else if (Number.isFinite(Number(text))) sampling[field] = Number(text);
    setDraft({...settings, sampling});
  };
  const save = () => {
    setSettings(settings);
    onClose();
  };
  return (
    <Dialog title="Settings" onClose={onClose} onSubmit={save}>
      <label class="wide">
        <span>System prompt</span>
        <textarea rows={4} value={settings.system} placeholder="What the model is to know and to heed in every answer"
          onInput={(event) => setDraft({...settings, system: event.currentTarget.value})} />
      </label>
      <div class="fields">
        {kSamplingFields.map((field) => {
          const {label, hint, min, max, step} = kFields[field];
          return (
            <label key={field}>
              <span>{label}</span>
              <input type="number" name={field} inputMode="decimal" min={min} max={max} step={step} placeholder="default"
                value={settings.sampling[field] ?? ''} onInput={(event) => set(field, event.currentTarget.value)} />
              <small>{hint}</small>
            </label>
          );
        })}
      </div>
      <div class="dialog-row">
        <span>API key: {preferences.value.key ? 'kept in this browser' : 'none'}</span>
        {preferences.value.key && <button type="button" onClick={() => setKey('')}>Forget it</button>}
        <button type="button" onClick={() => { onClose(); askForKey.value = kChangeKey; }}>{preferences.value.key ? 'Change' : 'Enter one'}</button>
      </div>
      <p class="keys"><kbd>Enter</kbd> sends · <kbd>Shift Enter</kbd> new line · <kbd>Esc</kbd> stops · <kbd>↑</kbd> edits the last message ·{' '}
        <kbd>Ctrl Shift O</kbd> new chat · <kbd>Ctrl ,</kbd> settings</p>
      <div class="dialog-actions">
        <button type="button" onClick={() => setDraft({system: '', sampling: {}})}>All defaults</button>
        <span class="space" />
        <button type="button" onClick={onClose}>Cancel</button>
        <button type="submit" class="primary">Save</button>
      </div>
    </Dialog>
  );
}

const kChangeKey = {kind: 'key' as const, title: 'A server that was started with --api-key asks for one.', next: 'It is kept in this browser and sent to this server only.'};

export function KeyDialog() {
  const problem = askForKey.value!;
  const [key, setText] = useState(preferences.value.key);
  const close = () => (askForKey.value = null);
  return (
    <Dialog title="API key" onClose={close} onSubmit={() => setKey(key.trim())}>
      <p>{problem.title} {problem.next}</p>
      <label class="wide">
        <span>Key</span>
        <input type="password" autocomplete="off" value={key} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <div class="dialog-actions">
        <span class="space" />
        <button type="button" onClick={close}>Cancel</button>
        <button type="submit" class="primary">Use it</button>
      </div>
    </Dialog>
  );
}
