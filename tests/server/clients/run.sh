#!/usr/bin/env bash
# run.sh python|hub|node|schemas FOLDER: installs the official clients into FOLDER, once for each content of their lists, and runs the
# tests that use them. Exit code 77: they cannot be had here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kind=$1 folder=$2
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
case $kind in
  python | hub)
    if ! cmp -s "$here/requirements.txt" "$folder/installed"; then
      rm -rf "$folder/venv"
      python3 -m venv "$folder/venv" || exit 77
      "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" || exit 77
      cp "$here/requirements.txt" "$folder/installed"
    fi
    flock -u 9
    test=$here/python_test.py
    [[ $kind == python ]] || test=$here/../../e2e/hub_client_test.py
    exec "$folder/venv/bin/python" "$test"
    ;;
  schemas)
    if ! cmp -s "$here/schemas_requirements.txt" "$folder/installed"; then
      rm -rf "$folder/venv" "$folder"/jsonschema-*
      python3 -m venv "$folder/venv" || exit 77
      "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/schemas_requirements.txt" || exit 77
      # The source distribution holds JSON-Schema-Test-Suite.
      (cd "$folder" && "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
        "$(grep ^jsonschema "$here/schemas_requirements.txt")") || exit 77
      cp "$here/schemas_requirements.txt" "$folder/installed"
    fi
    flock -u 9
    exec "$folder/venv/bin/python" "$here/schemas_test.py" "$folder"
    ;;
  node)
    command -v npm >/dev/null || exit 77
    if ! cmp -s "$here/package.json" "$folder/installed"; then
      cp "$here/package.json" "$folder/"
      (cd "$folder" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error) || exit 77
      cp "$here/package.json" "$folder/installed"
    fi
    flock -u 9
    exec python3 "$here/node_test.py" "$folder"
    ;;
esac
