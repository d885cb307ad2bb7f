// The conversation that is looked at. It follows the end of an answer until the reader scrolls up.
import {useEffect, useLayoutEffect, useRef, useState} from 'preact/hooks';
import {current, isRunning, loadModels, models, modelsState} from '../state/app';
import {Mark, IconButton} from './icons';
import {ProblemBox, Turn} from './message';

function Welcome() {
  const state = modelsState.value;
  if (state !== 'loading' && state !== 'ready') {
    return <div class="welcome"><Mark /><ProblemBox problem={state} onRetry={() => void loadModels()} /></div>;
  }
  if (state === 'ready' && models.value.length === 0) {
    return (
      <div class="welcome">
        <Mark />
        <h1>No model yet</h1>
        <p>Fetch one on the machine where Carat runs, then look again:</p>
        <pre tabIndex={0}>carat pull gemma3:270m-pt</pre>
        <button type="button" onClick={() => void loadModels()}>Look again</button>
      </div>
    );
  }
  return (
    <div class="welcome">
      <Mark />
      <h1>What would you like to know?</h1>
      <p>Conversations stay in this browser. Only the model on this server reads them.</p>
    </div>
  );
}

export function Messages() {
  const box = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [away, setAway] = useState(false);
  const conversation = current.value;
  const busy = isRunning.value;

  const toEnd = () => {
    following.current = true;
    box.current!.scrollTop = box.current!.scrollHeight;
    setAway(false);
  };
  useEffect(toEnd, [conversation.id, conversation.messages.length]);
  useLayoutEffect(() => {
    if (following.current) box.current!.scrollTop = box.current!.scrollHeight;
  });
  const onScroll = () => {
    const {scrollTop, scrollHeight, clientHeight} = box.current!;
    following.current = scrollHeight - scrollTop - clientHeight < 48;
    setAway(!following.current);
  };

  return (
    <div class="messages-frame">
      <div class="messages" ref={box} onScroll={onScroll} tabIndex={-1}>
        {conversation.messages.length === 0
          ? <Welcome />
          : <div class="column" role="log" aria-label="Conversation">
              {conversation.messages.map((message) => <Turn key={message.id} message={message} busy={busy} />)}
            </div>}
      </div>
      {away && conversation.messages.length > 0 && <IconButton name="down" label="To the end" class="to-end" onClick={toEnd} />}
    </div>
  );
}
