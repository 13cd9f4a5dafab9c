# Sourced by the other scripts: finds Python, makes .venv, installs seedml when it is not installed yet.
# Knows nothing of what is run afterwards. $PYTHON names the interpreter to make .venv with.

fail() {
    echo "seedml: error: $*" >&2
    exit 2
}

is_new_enough() { # <interpreter>: 3.11 or newer, and it runs
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version_of() { # <interpreter>
    "$1" -c 'import platform; print("Python", platform.python_version())' 2>/dev/null || echo "no Python that runs"
}

find_python() { # prints an interpreter that is new enough
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" ||
            fail "Python is too old; given: PYTHON=$PYTHON ($(version_of "$PYTHON")); legal: 3.11 or newer; remedy: name a newer one"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python is too old; given: python3 ($(version_of python3)); legal: 3.11 or newer;" \
        "remedy: install one, or name one with PYTHON=/path/to/python3.12 bash launch/…"
}

make_venv() { # .venv with a Python that is new enough
    local python
    if [ -n "${PYTHON:-}" ] || [ ! -e .venv ]; then
        python=$(find_python) || exit
    fi
    if [ ! -e .venv ]; then
        echo "seedml: making .venv with $(version_of "$python")"
        if ! "$python" -m venv .venv; then
            rm -rf .venv
            fail "$python cannot make .venv; remedy: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
        fi
    fi
    is_new_enough .venv/bin/python ||
        fail "the Python in .venv does not run or is too old; given: $(version_of .venv/bin/python);" \
            "legal: 3.11 or newer; remedy: delete the folder .venv and run this again"
}

digest_of() { # <path>…: one hash of all files in them
    .venv/bin/python - "$@" <<'PYTHON'
import hashlib, pathlib, sys

digest = hashlib.sha256()
for root in map(pathlib.Path, sys.argv[1:]):
    for path in sorted(p for p in [root, *root.rglob("*")] if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
print(digest.hexdigest())
PYTHON
}

pip_install() { # <argument>…
    echo "seedml: installing into .venv (several minutes the first time: torch alone is gigabytes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" ||
        fail "pip install failed; remedy: see its messages above, mend the cause, and run this again"
}

install_copy() { # the package as users get it; a checkout installed for development serves as well
    local editable copy
    make_venv
    editable=$(digest_of pyproject.toml)
    [ "$(cat .venv/seedml-editable 2>/dev/null)" = "$editable" ] && return
    copy=$(digest_of pyproject.toml README.md LICENSE configs seedml)
    [ "$(cat .venv/seedml-copy 2>/dev/null)" = "$copy" ] && return
    pip_install .
    rm -f .venv/seedml-editable
    echo "$copy" >.venv/seedml-copy
}

install_editable() { # the checkout itself, with what tests need
    local editable
    make_venv
    editable=$(digest_of pyproject.toml)
    [ "$(cat .venv/seedml-editable 2>/dev/null)" = "$editable" ] && return
    pip_install --editable '.[test]'
    rm -f .venv/seedml-copy
    echo "$editable" >.venv/seedml-editable
}

# glibc gives large blocks back to the kernel after every operation; keeping them makes small networks on a CPU
# several times faster.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4294967296}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-8589934592}"
