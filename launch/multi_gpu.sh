#!/usr/bin/env bash
# A step of a study on all GPUs of one machine, one process each, started by Lightning's own launcher. The processes share
# the work through the study's folder. Stopped by anything, it goes on when run again, also with another number of GPUs.
#
#   bash launch/multi_gpu.sh generate my_study.yaml                   # all GPUs
#   bash launch/multi_gpu.sh study quickstart trainer.devices=2       # two of them
#   bash launch/multi_gpu.sh generate smoke trainer.devices=2 trainer.accelerator=cpu trainer.threads=1
#
# [step] <config> [key=value …] as for `seedml`; the step is generate where none is named. docs/clusters.md has more.
set -euo pipefail
launch=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$launch/environment.sh"
. "$launch/processes.sh"
case "${1:-}" in -h | --help) usage "$launch/multi_gpu.sh" && exit ;; esac

install_for_all "${launch%/*}"
read_command "$@"
[ "$nodes" = 1 ] ||
    fail "launch/multi_gpu.sh runs on one machine; given: trainer.num_nodes=$nodes; legal: 1;" \
        "remedy: use launch/torchrun.sh or launch/slurm.sbatch"
exec "$seedml" "$step" "${words[0]}" trainer.devices=auto trainer.strategy=ddp "${words[@]:1}"
