"""What must never be written down: values of secret-looking environment variables, and secrets in addresses.

Knows secrets by the names of their variables only; one that is typed into a configuration by hand is not recognized,
unless it is the account or a signature of an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_NAME = re.compile(
    r"(?:^|[^A-Z0-9])(?:(?:API|ACCESS)?KEYS?|[A-Z0-9]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL)S?)\d*"
    r"(?![A-Z0-9])"
)
"""Whole parts of a variable's name: TOKEN and PGPASSWORD, not TOKENIZER, KEYBOARD or MONKEY."""
_SHORTEST = 8
_ACCOUNT = re.compile(
    r"(?<=://)(?P<user>[^/?#\s:@]*)"
    r"""(?:(?P<colon>:)(?!\d+(?:[/?#"',;)\]}\s]|$))(?:(?!://)\S)*|[^/?#\s"']*)(?=@)"""
)
"""An address up to its last ``@``: passwords may hold ``@`` and ``/``. Digits alone after the colon are a port."""
_IN_QUERY = re.compile(
    r"([?&;#](?:[\w.-]*[-_.])?(?:sig|signature|(?:api|access)?key|(?:access|auth)?token|secret|password|credential)=)"
    r"[^&;#\s]+",
    re.IGNORECASE,
)
_LONGEST_USER = 20
"""Names of users from this length on are taken for tokens, as GitHub and the Hugging Face Hub accept them there."""
_STRUCK = "(secret)"


def without_secrets(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """``settings`` with every value of a secret-looking environment variable struck out."""
    secrets = secrets_in(environ)
    return {key: strike(value, secrets) for key, value in settings.items()}


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of secret-looking variables, the longest first, as one may be part of another.

    Where a secret is kept, a path that exists, is no secret.
    """
    found = {
        value
        for name, value in environ.items()
        if len(value) >= _SHORTEST and _NAME.search(name.upper()) and not _is_place(value)
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def strike(value: Any, secrets: Sequence[str]) -> Any:
    """``value``, a tree of plain types, with all secrets and all those in addresses struck out of its strings."""
    if isinstance(value, Mapping):
        return {key: strike(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strike(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _STRUCK)
        return _IN_QUERY.sub(rf"\1{_STRUCK}", _ACCOUNT.sub(_without_account, value))
    return value


def is_struck(value: Any) -> bool:
    """Whether something was struck out of ``value``, a tree of plain types."""
    if isinstance(value, Mapping):
        return any(is_struck(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(is_struck(item) for item in value)
    return isinstance(value, str) and _STRUCK in value


def _without_account(found: re.Match[str]) -> str:
    user = found["user"]
    return f"{user}:{_STRUCK}" if found["colon"] and len(user) < _LONGEST_USER else _STRUCK


def _is_place(value: str) -> bool:
    try:
        return Path(value).is_absolute() and Path(value).exists()
    except OSError:  # too long for a name, or not ours to look at
        return False
