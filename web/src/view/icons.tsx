// The page's few icons: lines of 24 by 24, in the colour of the text beside them.
const kPaths = {
  menu: 'M4 7h16M4 12h16M4 17h16',
  add: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 5M15.5 9.5h.01',
  copy: 'M9 9h11v11H9zM15 9V4H4v11h5',
  retry: 'M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6',
  edit: 'M4 20l1-4L16 5l3 3L8 19zM14 7l3 3',
  remove: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  save: 'M12 4v11M7 10l5 5 5-5M5 20h14',
  down: 'M12 5v14M6 13l6 6 6-6',
  light: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19',
  dark: 'M20 14a8 8 0 0 1-10-10 8 8 0 1 0 10 10z',
  auto: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 3v18M12 7.5h4M12 12h5M12 16.5h4',
  warn: 'M12 4l9 16H3zM12 10v4M12 17h.01',
  check: 'M5 12l5 5 9-10',
};

export type IconName = keyof typeof kPaths;

export function Icon({name}: {name: IconName}) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={kPaths[name]} />
    </svg>
  );
}

export function IconButton({name, label, onClick, ...rest}: {name: IconName; label: string; onClick?: () => void; class?: string; disabled?: boolean;
  type?: 'button' | 'submit'; [attribute: `aria-${string}`]: unknown}) {
  return (
    <button type="button" aria-label={label} title={label} onClick={onClick} {...rest} class={`icon-button ${rest.class ?? ''}`}>
      <Icon name={name} />
    </button>
  );
}

export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path class="mark-a" d="M9 5h14l6 8-13 15L3 13z" />
      <path class="mark-b" d="M9 5h14l-3 8h-8z" />
      <path class="mark-c" d="M12 13h8l-4 15z" />
    </svg>
  );
}
