// What markdown-it asks of the package "entities", by the browser's own table (which is 40 KB in that package): "&eacute;" is "é".
// A textarea's content is text to the parser whatever it holds; nothing in it becomes an element.
let area: HTMLTextAreaElement | undefined;

export function decodeHTML(text: string): string {
  area ??= document.createElement('textarea');
  area.innerHTML = text.replaceAll('<', '&lt;');
  return area.value;
}

export const decodeHTMLStrict = decodeHTML; // asked only for what ends with a semicolon
