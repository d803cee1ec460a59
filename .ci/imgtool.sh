#!/bin/sh
# Puts the ecosystem's imgtool into .venv, for fixtures/fixture-images/tests/imgtool.rs.
set -eu
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check imgtool==2.5.0
.venv/bin/imgtool version
