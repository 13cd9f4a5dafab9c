#!/usr/bin/env bash
# A step of a study through torchrun, on any number of machines: run it on each of them. When one process dies, torchrun
# ends the others of that run, which Lightning's own launcher does not. What is finished stays; run it again to go on.
#
#   bash launch/torchrun.sh generate my_study.yaml                    # all GPUs of this machine
#   bash launch/torchrun.sh --nproc-per-node=2 study quickstart
#   bash launch/torchrun.sh --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=node1:29400 \
#       generate /shared/my_study.yaml shards.root=/shared/shards     # the same on node1 and node2
#
# [--option=value …] of torchrun, then [step] <config> [key=value …] as for `seedml`. PET_NNODES, PET_NPROC_PER_NODE …
# serve as well. The step is generate where none is named. docs/clusters.md has more.
set -euo pipefail
launch=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$launch/environment.sh"
. "$launch/processes.sh"

options=()
while [[ "${1:-}" == -* ]]; do
    case $1 in
        -h | --help) usage "$launch/torchrun.sh" && exit ;;
        --*=*) name=${1%%=*} && options+=("${name//_/-}${1#"$name"}") ;;
        --standalone) options+=("$1") ;;
        *) fail "torchrun's options are written --name=value, before the step; given: $1; remedy: write $1=…" ;;
    esac
    shift
done

option() { # <name> <environment variable>: what torchrun is told, or nothing
    local given
    given=$(value_of "--$1" ${options[@]+"${options[@]}"})
    echo "${given:-${!2:-}}"
}

agree() { # <option's name> <its value> <key> <word>…: the same number said twice must be the same
    local given
    given=$(value_of "$3" "${@:4}")
    [ -z "$given" ] || [ -z "$2" ] || [ "$given" = "$2" ] ||
        fail "torchrun and the study are told two numbers of processes; given: --$1=$2 and $3=$given;" \
            "remedy: leave out $3"
}

install_for_all "${launch%/*}"
read_command "$@"
per_node=$(option nproc-per-node PET_NPROC_PER_NODE)
machines=$(option nnodes PET_NNODES)
agree nproc-per-node "$per_node" trainer.devices "${words[@]}"
agree nnodes "$machines" trainer.num_nodes "${words[@]}"
if [ "$devices" = all ] && [ -z "$per_node" ]; then # one process where there is no GPU
    devices=$("$python" -c 'import torch; print(max(1, torch.cuda.device_count()))')
fi
[ -n "$per_node" ] || options+=("--nproc-per-node=$devices")
[ -n "$machines" ] || options+=("--nnodes=$nodes")
if [ "${machines:-$nodes}" = 1 ] && [ -z "$(option rdzv-endpoint PET_RDZV_ENDPOINT)$(option master-port PET_MASTER_PORT)" ]; then
    options+=(--standalone) # a free port, so that two runs on one machine do not meet
fi
# Lightning wants to be told the numbers that torchrun has settled on, which only its processes know.
exec "$python" -m torch.distributed.run "${options[@]}" --no-python bash -c '
    exec "$@" "trainer.devices=$LOCAL_WORLD_SIZE" "trainer.num_nodes=$((WORLD_SIZE / LOCAL_WORLD_SIZE))"
' seedml "$seedml" "$step" "${words[0]}" trainer.strategy=ddp "${words[@]:1}"
