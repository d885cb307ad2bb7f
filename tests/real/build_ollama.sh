#!/usr/bin/env bash
# build_ollama.sh FOLDER: the real Ollama (its CPU build, without its runners' GPU parts) from its Go module into FOLDER/ollama:
# what Carat's store and server are compared with. Once; about ten minutes on two cores, and it needs Go 1.24 or later.
# The module lacks two headers of llama.cpp, which the PyPI source package llama-cpp-python has. Exit code 77: no Go, no network.
set -euo pipefail
version=0.17.4 headers=0.3.36
folder=$1
[[ ! -x $folder/ollama ]] || exit 0
command -v go >/dev/null || { echo "no Go here: the real Ollama is not built" >&2; exit 77; }
mkdir -p "$folder/source"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --dest "$folder/source" \
  "llama-cpp-python==$headers" >&2 || exit 77
tar -xzf "$folder/source/llama_cpp_python-$headers.tar.gz" -C "$folder/source"
export GOBIN=$folder/bin CGO_CPPFLAGS=-I$folder/source/llama_cpp_python-$headers/vendor/llama.cpp/vendor
nice -n 10 go install "github.com/ollama/ollama@v$version" >&2 || exit 77
mv "$folder/bin/ollama" "$folder/ollama"
rm -rf "$folder/source" "$folder/bin"
