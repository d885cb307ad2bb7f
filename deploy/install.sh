#!/bin/sh
# Installs Carat:  curl -fsSL BASE/install.sh | sh -s -- --base BASE --key release.pem
#   --base URL      where the packages lie; there is no release host yet, so it must be said
#   --key FILE      the public key (PEM) that SHA256SUMS.sig is checked with; --unsigned goes without
#   --download      fetch and check only; says where the package is
# Everything is inside main, called by the last line: a script that is cut off in the middle does nothing.
set -eu

say() { printf 'install: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

fetch() { # URL FILE
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --retry 3 --output "$2" "$1"
  elif command -v wget >/dev/null; then
    wget --quiet --tries=3 --output-document="$2" "$1"
  else
    die "neither curl nor wget is here"
  fi
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "as root, please: $*"
  fi
}

architecture() {
  case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) die "there is no package for $(uname -m): build it with ./dev build" ;;
  esac
}

# 6, 7: of a Jetson; nothing elsewhere.
jetpack() {
  case $(sed -n 's/^# R\([0-9]*\).*/\1/p' "${CARAT_ROOT:-}/etc/nv_tegra_release" 2>/dev/null) in
    35) echo 5 ;;
    36) echo 6 ;;
    38 | 39) echo 7 ;;
  esac
}

# The newest system libraries that the packages need are Ubuntu 22.04's.
has_apt() {
  [ -z "${CARAT_NO_APT:-}" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null
}

# The name in SHA256SUMS that fits: the package with CUDA on a Jetson, if there is one.
choose() { # SUMS ARCHITECTURE JETPACK
  if has_apt; then
    if [ -n "$3" ]; then
      name=$(sed -n "s/^[0-9a-f]\{64\}  \(carat-cuda_[0-9A-Za-z.+~-]*_$2\.deb\)\$/\1/p" "$1" | tail -n 1)
      [ -z "$name" ] || {
        echo "$name"
        return
      }
    fi
    sed -n "s/^[0-9a-f]\{64\}  \(carat_[0-9A-Za-z.+~-]*_$2\.deb\)\$/\1/p" "$1" | tail -n 1
  else
    sed -n "s/^[0-9a-f]\{64\}  \(carat-[0-9A-Za-z.+~-]*-linux-$2\.tar\.gz\)\$/\1/p" "$1" | tail -n 1
  fi
}

main() {
  base='' key='' signed=yes only_download=''
  while [ $# -gt 0 ]; do
    case $1 in
      --base) base=${2:?--base URL} && shift 2 ;;
      --key) key=${2:?--key FILE} && shift 2 ;;
      --unsigned) signed='' && shift ;;
      --download) only_download=yes && shift ;;
      *) die "unknown argument: $1" ;;
    esac
  done
  [ -n "$base" ] || die "say where the packages lie: --base https://..."
  [ -z "$signed" ] || [ -n "$key" ] || die "the list of packages is signed: give --key FILE, or --unsigned to trust the connection"
  arch=$(architecture)
  pack=$(jetpack)
  [ "$pack" != 5 ] || die "JetPack 5 has Ubuntu 20.04, which is too old: the packages need JetPack 6 (Ubuntu 22.04)"
  folder=$(mktemp -d)
  [ -n "$only_download" ] || trap 'rm -rf "$folder"' EXIT

  fetch "$base/SHA256SUMS" "$folder/SHA256SUMS" || die "cannot fetch $base/SHA256SUMS"
  if [ -n "$signed" ]; then
    command -v openssl >/dev/null || die "openssl is needed to check the signature"
    fetch "$base/SHA256SUMS.sig" "$folder/SHA256SUMS.sig" || die "cannot fetch $base/SHA256SUMS.sig"
    openssl dgst -sha256 -verify "$key" -signature "$folder/SHA256SUMS.sig" "$folder/SHA256SUMS" >/dev/null 2>&1 ||
      die "the signature of SHA256SUMS is not by this key: nothing was installed"
  fi
  name=$(choose "$folder/SHA256SUMS" "$arch" "$pack")
  [ -n "$name" ] || die "$base has no package for $arch"
  say "fetching $name"
  fetch "$base/$name" "$folder/$name" || die "cannot fetch $base/$name"
  wanted=$(sed -n "s/^\([0-9a-f]\{64\}\)  $name\$/\1/p" "$folder/SHA256SUMS" | tail -n 1)
  [ "$(sha256sum "$folder/$name" | cut -d ' ' -f 1)" = "$wanted" ] ||
    die "$name is not what SHA256SUMS says: nothing was installed"
  if [ -n "$only_download" ]; then
    echo "$folder/$name"
    return
  fi

  case $name in
    *.deb)
      chmod 755 "$folder"
      as_root apt-get install --yes --no-install-recommends "$folder/$name" >&2
      ;;
    *)
      prefix=${CARAT_PREFIX:-/usr/local}
      as_root mkdir -p "$prefix"
      as_root tar -xzf "$folder/$name" -C "$prefix" --strip-components=1 --no-same-owner
      say "unpacked into $prefix; $prefix/carat.service is the service"
      ;;
  esac
  say "installed. Next:  carat run gemma3:1b"
}

main "$@"
