// Colours for the languages that people ask about; the others are shown plain.
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import cmake from 'highlight.js/lib/languages/cmake';
import cpp from 'highlight.js/lib/languages/cpp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import dockerfile from 'highlight.js/lib/languages/dockerfile';
import go from 'highlight.js/lib/languages/go';
import ini from 'highlight.js/lib/languages/ini';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import makefile from 'highlight.js/lib/languages/makefile';
import python from 'highlight.js/lib/languages/python';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';

const kLanguages = {bash, cmake, cpp, css, diff, dockerfile, go, ini, java, javascript, json, makefile, python, rust, sql, xml, yaml};
for (const [name, language] of Object.entries(kLanguages)) hljs.registerLanguage(name, language);
hljs.registerAliases(['c', 'h', 'cu', 'csharp', 'cs'], {languageName: 'cpp'}); // near enough for colours
hljs.registerAliases(['ts', 'tsx', 'typescript'], {languageName: 'javascript'});
hljs.registerAliases(['kotlin', 'kt', 'swift'], {languageName: 'java'});

const kLongest = 30_000; // characters: colouring them again while an answer grows must not be felt

// HTML, escaped; nothing when the language is not known.
export function highlighted(text: string, language: string): string | undefined {
  if (!language || text.length > kLongest || !hljs.getLanguage(language)) return undefined;
  return hljs.highlight(text, {language, ignoreIllegals: true}).value;
}
