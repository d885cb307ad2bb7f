// What a model writes, as HTML that is safe to show: Markdown without HTML of its own, then only known tags and attributes.
// Nothing in it loads anything: images become links. Nothing is inline: the page's security policy forbids styles and scripts.
import createDOMPurify from 'dompurify';
import MarkdownIt from 'markdown-it';
import {highlighted} from './highlight';

type Token = ReturnType<MarkdownIt['parse']>[number];

const markdown: MarkdownIt = new MarkdownIt({html: false, linkify: true});
markdown.linkify.set({fuzzyLink: false, fuzzyEmail: false});
markdown.validateLink = (url) => /^(https?:|mailto:)/i.test(url.trim());

const escape = markdown.utils.escapeHtml;
const rules = markdown.renderer.rules;

function code(text: string, language: string): string {
  return `<div class="code"><div class="code-head"><span>${escape(language)}</span><button type="button" data-copy="">Copy</button></div>` +
    `<pre tabindex="0"><code>${highlighted(text, language) ?? escape(text)}</code></pre></div>\n`;
}

rules.fence = (tokens, at) => code(tokens[at].content, tokens[at].info.trim().split(/\s+/)[0]);
rules.code_block = (tokens, at) => code(tokens[at].content, '');
rules.image = (tokens, at) => {
  const source = tokens[at].attrGet('src') ?? '';
  return `<a href="${escape(source)}" target="_blank" rel="noopener noreferrer nofollow">${escape(tokens[at].content || 'image')}</a>`;
};
rules.link_open = (tokens, at, options, _env, self) => {
  tokens[at].attrSet('target', '_blank');
  tokens[at].attrSet('rel', 'noopener noreferrer nofollow');
  return self.renderToken(tokens, at, options);
};
rules.table_open = () => '<div class="table" tabindex="0"><table>\n';
rules.table_close = () => '</table></div>\n';
rules.th_open = rules.td_open = (tokens, at) => {
  const align = /text-align:(\w+)/.exec(tokens[at].attrGet('style') ?? '')?.[1];
  return `<${tokens[at].tag}${align ? ` class="align-${align}"` : ''}>`;
};

const kClean = {
  ALLOWED_TAGS: ['a', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'li', 'ol', 'p', 'pre', 's',
    'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['href', 'rel', 'target', 'class', 'start', 'tabindex', 'type', 'data-copy'],
  ALLOW_DATA_ATTR: false,
  ADD_URI_SAFE_ATTR: ['rel', 'target', 'start', 'tabindex', 'type', 'data-copy'],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
};

let purifier: ReturnType<typeof createDOMPurify> | undefined;
const clean = (html: string): string => (purifier ??= createDOMPurify(window)).sanitize(html, kClean);

// One piece of HTML for each paragraph, list, table...: while an answer grows, only its last pieces change.
export function blocks(source: string): string[] {
  const env = {};
  const tokens = markdown.parse(source, env);
  const out: string[] = [];
  let from = 0;
  let depth = 0;
  tokens.forEach((token: Token, at: number) => {
    depth += token.nesting;
    if (depth === 0) {
      out.push(markdown.renderer.render(tokens.slice(from, at + 1), markdown.options, env));
      from = at + 1;
    }
  });
  return out;
}

export {clean};
