#!/usr/bin/env bash
# All checks: lint, format, types, layers, tests. With arguments, only pytest with these arguments.
#
#   bash launch/test.sh                           # everything but tests marked slow
#   SLOW=1 bash launch/test.sh                    # everything
#   bash launch/test.sh tests/unit -k noise       # some tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/environment.sh

install_editable
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # threads that wait for a busy core slow small tensors 20 times
export HF_HUB_OFFLINE=1                        # tests need no network
export WANDB_MODE=offline
bin=.venv/bin

if [ $# -eq 0 ]; then
    $bin/ruff check .
    $bin/ruff format --check --quiet .
    $bin/mypy
    $bin/lint-imports
fi
if [ -n "${SLOW:-}" ]; then
    exec $bin/python -m pytest "$@"
fi
exec $bin/python -m pytest -m "not slow" "$@"
