# Sourced by the scripts that start several processes, after environment.sh: installs seedml once however many of them
# ask at the same time, and refuses once and in one line what every process would refuse for itself.
# The caller's current folder stays the current one, so that relative paths mean what they say.

install_for_all() { # <checkout>: sets $seedml and $python; processes that come at the same time wait for the first
    local checkout=$1
    (
        cd "$checkout"
        # Any file serves as the lock; opened to append, as network file systems want it, it stays as it is. Where this
        # does not work (a read-only checkout, no flock) seedml is installed already, or the first process is alone.
        if command -v flock >/dev/null && [ -w launch/environment.sh ]; then
            exec 9>>launch/environment.sh
            flock 9
        fi
        install_copy
    )
    python=$checkout/.venv/bin/python
    seedml=$checkout/.venv/bin/seedml
}

usage() { # <script>: its header
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1"
}

value_of() { # <key> <word>…: the value of the last key=value among the words, if there is one
    local key=$1 word value=
    shift
    for word in "$@"; do
        case $word in "$key="*) value=${word#*=} ;; esac
    done
    echo "$value"
}

read_command() { # [step] <config> [key=value …]: sets $step, $words (the rest), $devices (all or a number) and $nodes
    local answer
    # Any of this refused is refused by every process: asked here, the user reads it once.
    answer=$(PYTHONSAFEPATH=1 "$python" - "$@" <<'PYTHON'
import sys

from seedml.__main__ import STEPS
from seedml.config import config_names, load_config
from seedml.errors import UserError

words = sys.argv[1:]
step = words.pop(0) if words and words[0] in STEPS else "generate"
try:
    if not words or "=" in words[0]:
        raise UserError(f"{step} is given no configuration", given=words[0] if words else None,
                        legal=f"{', '.join(config_names())}, or a path", remedy=f"write {step} quickstart")
    trainer = load_config(words[0], ["trainer.devices=auto", *words[1:]]).trainer
except UserError as error:
    print(f"seedml: error: {error}", file=sys.stderr)
    sys.exit(2)
devices = trainer.devices
if isinstance(devices, str) and devices != "auto":
    devices = len([number for number in devices.split(",") if number])
print(step, "all" if devices in ("auto", -1) else devices, trainer.num_nodes)
PYTHON
    ) || exit
    read -r step devices nodes <<<"$answer"
    if [ "$1" = "$step" ]; then shift; fi
    words=("$@")
}
