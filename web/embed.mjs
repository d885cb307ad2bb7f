// embed.mjs DIST OUT.cc OUT.d: the built page as the table that server/web_assets.h declares, and the list of files that it
// was made of, so that the build knows when to make it again.
import {createHash} from 'node:crypto';
import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {extname, join, relative, resolve} from 'node:path';

const [dist, out, depfile] = process.argv.slice(2);
const kTypes = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
};

function files(folder) {
  return readdirSync(folder, {withFileTypes: true}).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : [path];
  }).sort();
}

const assets = files(dist).map((file) => {
  const bytes = readFileSync(file);
  const name = relative(dist, file).split('\\').join('/');
  const type = kTypes[extname(file)];
  if (!type) throw new Error(`embed.mjs knows no content type for ${name}`);
  return {
    path: name === 'index.html' ? '/' : `/${name}`,
    type,
    bytes,
    etag: createHash('sha256').update(bytes).digest('hex').slice(0, 16),
    immutable: /-[\w-]{8}\.(js|css)$/.test(name),
  };
}).sort((a, b) => (a.path < b.path ? -1 : 1));

const lines = ['// Made by web/embed.mjs: the web page.', '#include "server/web_assets.h"', '', 'namespace carat::server {', '',
  'namespace {', ''];
assets.forEach(({bytes}, number) => {
  lines.push(`constexpr unsigned char kBytes${number}[] = {`);
  for (let at = 0; at < bytes.length; at += 32) lines.push(`${[...bytes.subarray(at, at + 32)].join(',')},`);
  lines.push('};');
});
lines.push('', 'std::string_view text(const unsigned char* bytes, size_t size) {',
  '  return {reinterpret_cast<const char*>(bytes), size};', '}', '', 'const WebAsset kAssets[] = {');
assets.forEach((asset, number) => lines.push(
  `    {"${asset.path}", "${asset.type}", text(kBytes${number}, sizeof(kBytes${number})), "\\"${asset.etag}\\"", ${asset.immutable}},`));
lines.push('};', '', '}  // namespace', '', 'std::span<const WebAsset> web_assets() { return kAssets; }', '',
  'bool web_page_was_built() { return true; }', '', '}  // namespace carat::server', '');

const sources = [...files('src'), ...files('public')].map((file) => resolve(file).replaceAll(' ', '\\ '));
writeFileSync(depfile, `${out.replaceAll(' ', '\\ ')}: ${sources.join(' \\\n  ')}\n`);
writeFileSync(out, lines.join('\n'));
