// A component that is drawn again only when one of its properties is another one.
import {Component, h, type FunctionComponent} from 'preact';

export function memo<P extends object>(view: FunctionComponent<P>) {
  return class extends Component<P> {
    shouldComponentUpdate(next: Readonly<P>): boolean {
      const keys = Object.keys({...this.props, ...next}) as (keyof P)[];
      return keys.some((key) => this.props[key] !== next[key]);
    }
    render() {
      return h(view, this.props as P);
    }
  };
}
