"""What must never be written down: values of secret-looking environment variables, and passwords in addresses.

Knows secrets by the names of their variables only; one that is typed into a configuration by hand is not recognized,
unless it is a password in an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
_SHORTEST = 8
_PASSWORD_IN_ADDRESS = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
_STRUCK = "(secret)"


def without_secrets(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """``settings`` with every value of a secret-looking environment variable struck out."""
    secrets = secrets_in(environ)
    return {key: strike(value, secrets) for key, value in settings.items()}


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of secret-looking variables, the longest first, as one may be part of another."""
    found = {
        value
        for name, value in environ.items()
        if len(value) >= _SHORTEST and any(word in name.upper() for word in _WORDS)
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def strike(value: Any, secrets: Sequence[str]) -> Any:
    """``value``, a tree of plain types, with all secrets and all passwords in addresses struck out of its strings."""
    if isinstance(value, Mapping):
        return {key: strike(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strike(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _STRUCK)
        return _PASSWORD_IN_ADDRESS.sub(rf"\1{_STRUCK}", value)
    return value
