// The page begins here.
import {render} from 'preact';
import {start} from './state/app';
import './style.css';
import {Page} from './view/page';

void start();
render(<Page />, document.getElementById('app')!);
