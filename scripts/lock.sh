#!/usr/bin/env bash
# Pin the newest versions that fit pyproject.toml, without any index address.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
"$uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
  --upgrade --no-annotate --no-header --no-emit-index-url --quiet -o requirements.lock
