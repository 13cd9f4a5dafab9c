"""Typed values of a JSON object; what is missing or of another type is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedml.errors import UserError

_ONLY_SELECT_WRITES = "give the book as `seedml select` wrote it, or run `seedml select` again"


class Fields:
    """The fields of one JSON object.

    Args:
        raw: the object.
        where: what it is, for errors: ``card 3``.

    Raises:
        UserError: it is no object; and from all methods: no such field, or one of another type.

    """

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise UserError(f"{where} is no JSON object", given=_brief(raw), remedy=_ONLY_SELECT_WRITES)
        self._raw, self._where = raw, where

    def __contains__(self, name: str) -> bool:
        return self._raw.get(name) is not None

    def text(self, name: str) -> str:
        """Text."""
        value = self._raw.get(name)
        return value if isinstance(value, str) else self._refuse(name, "text")

    def text_or_none(self, name: str) -> str | None:
        """Text; ``None`` where null or missing."""
        return self.text(name) if name in self else None

    def whole(self, name: str) -> int:
        """A whole number."""
        value = self._raw.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else self._refuse(name, "a whole number")

    def whole_or_none(self, name: str) -> int | None:
        """A whole number; ``None`` where null or missing."""
        return self.whole(name) if name in self else None

    def number(self, name: str) -> float:
        """A number."""
        value = self._raw.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number else self._refuse(name, "a number")  # type: ignore[arg-type]

    def number_or_none(self, name: str) -> float | None:
        """A number; ``None`` where null or missing."""
        return self.number(name) if name in self else None

    def truth_or_none(self, name: str) -> bool | None:
        """True or false; ``None`` where null or missing."""
        value = self._raw.get(name)
        return value if value is None or isinstance(value, bool) else self._refuse(name, "true or false")

    def wholes(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(Fields({name: item}, self._where).whole(name) for item in self._list(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(Fields({name: item}, self._where).text(name) for item in self._list(name))

    def objects(self, name: str) -> Mapping[str, Any]:
        """An object with any fields; empty where null or missing."""
        value = self._raw.get(name, {})
        return dict(value or {}) if isinstance(value or {}, Mapping) else self._refuse(name, "an object")

    def entries(self, name: str) -> list[Any]:
        """A list of anything."""
        return [*self._list(name)]

    def _list(self, name: str) -> list[Any]:
        value = self._raw.get(name)
        return value if isinstance(value, list) else self._refuse(name, "a list")

    def _refuse(self, name: str, legal: str) -> Any:
        raise UserError(f"{self._where}: {name} is missing or of another type", given=_brief(self._raw.get(name)),
                        legal=legal, remedy=_ONLY_SELECT_WRITES)  # fmt: skip


def _brief(value: object) -> str | None:
    text = repr(value)
    return None if value is None else text if len(text) <= 60 else f"{text[:57]}..."
