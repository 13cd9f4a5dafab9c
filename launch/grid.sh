#!/usr/bin/env bash
# One study for every combination of some settings, then all of them beside the first: W&B's sweeps without W&B. Stopped
# by anything, it goes on when run again: a study that is done is not done again.
#
#   bash launch/grid.sh quickstart sampler.guidance_scale=1,3,7.5 sampler.steps=4,8
#   bash launch/grid.sh my_study.yaml sampler.scheduler=DDIMScheduler,EulerDiscreteScheduler seeds=0:64 -- prompts.limit=96
#   DRY_RUN=1 bash launch/grid.sh quickstart sampler.steps=2,4        # only says what it would run
#
# <config> key=value,value … [-- key=value …]: what stands before -- is varied, one study a combination; what stands after
# it is the same in all. A study is named after its values (quickstart-guidance_scale_3-steps_4), so that launch/sweep.yaml
# and this script make the same folders, and one goes on where the other stopped. docs/comparing.md has more.
set -euo pipefail
launch=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$launch/environment.sh"
. "$launch/processes.sh"
case "${1:-}" in -h | --help) usage "$launch/grid.sh" && exit ;; esac

config=${1:-}
[ -n "$config" ] && [[ "$config" != *=* ]] ||
    fail "launch/grid.sh is given no configuration; given: ${1:-nothing}; legal: a name in configs/ or a path;" \
        "remedy: bash launch/grid.sh quickstart sampler.steps=4,8"
shift
varied=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [[ "$1" == ?*=?* ]] || fail "what is varied is written key=value,value; given: $1; remedy: write $1=…"
    varied+=("$1")
    shift
done
if [ $# -gt 0 ]; then shift; fi
same=("$@")
for word in ${same[@]+"${same[@]}"}; do
    case $word in name=*) fail "a grid names its studies itself; given: $word; remedy: leave it out" ;; esac
done

points=("") # every combination, as words with a tab between them
for word in ${varied[@]+"${varied[@]}"}; do
    IFS=, read -ra values <<<"${word#*=}"
    longer=()
    for point in "${points[@]}"; do
        for value in "${values[@]}"; do
            longer+=("$point${point:+$'\t'}${word%%=*}=$value")
        done
    done
    points=("${longer[@]}")
done

stem=${config##*/}
stem=${stem%.y*ml}
name_of() { # <key=value>…: the study's name; the same whatever the order of the words, and for 3 and 3.0
    local name=$stem word key value
    while read -r word; do
        key=${word%%=*} value=${word#*=}
        [[ ! "$value" =~ ^-?[0-9]+\.0$ ]] || value=${value%.0}
        [ -z "$word" ] || name+="-${key##*.}_$value"
    done < <(printf '%s\n' "$@" | LC_ALL=C sort)
    tr -c 'A-Za-z0-9._\n-' '_' <<<"$name"
}

step() { # <word>…: run it, or say it
    echo "seedml $*"
    if [ -z "${DRY_RUN:-}" ]; then "$seedml" "$@"; fi
}

study() { # <config> <word>…: a whole study
    if [ -z "${WANDB_SWEEP_ID:-}" ]; then
        step study "$@"
        return
    fi
    # A sweep knows a point by one run, whose id it puts into the environment, but every step is a run of its own: the
    # last one, which tells the headline numbers, takes the sweep's.
    local part
    for part in generate measure summarize classify select apply; do
        (unset WANDB_RUN_ID WANDB_SWEEP_ID WANDB_SWEEP_PARAM_PATH && step "$part" "$@")
    done
    step report "$@"
}

install_for_all "${launch%/*}"
root=$(value_of runs.root ${same[@]+"${same[@]}"})
runs=()
for point in "${points[@]}"; do
    IFS=$'\t' read -ra words <<<"$point"
    name=$(name_of ${words[@]+"${words[@]}"})
    study "$config" "name=$name" ${words[@]+"${words[@]}"} ${same[@]+"${same[@]}"}
    runs+=("${root:-runs}/$name")
done
if [ ${#runs[@]} -gt 1 ]; then
    step compare "${runs[@]}" "name=compare-$stem-grid"
fi
