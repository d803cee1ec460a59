#!/bin/sh
# Puts the JUnit schema of the pytest source distribution, and a validator, into .venv, for
# reports/hil-report/tests/junit.rs. The schema is fetched, never committed: it is not ours.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check lxml==6.1.3
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
.venv/bin/pip download --quiet --disable-pip-version-check --no-binary :all: --no-deps --dest "$download" pytest==9.2.0
tar -xzf "$download"/pytest-*.tar.gz -C "$download" --strip-components=1
cp "$download/testing/example_scripts/junit-10.xsd" .venv/junit-10.xsd
