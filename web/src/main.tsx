// The page begins here.
import {render} from 'preact';
import './style.css';

render(<main>Carat</main>, document.getElementById('app')!);
