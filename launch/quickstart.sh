#!/usr/bin/env bash
# From nothing to a finished seed study: makes .venv, installs seedml, runs `seedml study quickstart`, which ends with
# the headline numbers and the path of the report. Run again, it installs and generates nothing again.
#
#   bash launch/quickstart.sh                     # 64 seeds × 160 prompts: about 10 minutes on 2 CPU cores
#   bash launch/quickstart.sh seeds=0:16 name=my_first_study
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/environment.sh

install_copy
exec .venv/bin/seedml study quickstart "$@"
