"""Configuration as people write it, YAML files and ``key=value`` words, into plain Python values.

Reads scalars by the YAML 1.2 core rules: ``0:32``, ``yes``, ``on`` and ``1_000`` are text, ``012`` is twelve and
``1e-3`` is a number. (PyYAML's own rules, YAML 1.1, make 32, True, True, 1000, 10 and the text '1e-3' of them.)
Knows no key of ours.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seedml.errors import UserError

MAX_NODES = 10_000
"""A configuration with more entries than this holds data that belongs in a file of its own."""

_KEY = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2 core scalars; a key given twice is an error."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own protocol)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _core_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = node.value
    return int(text, 16) if text.startswith("0x") else int(text)


def _core_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):  # fmt: skip
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first)
_CoreLoader.add_constructor(_TAG + "int", _core_int)
_CoreLoader.add_constructor(_TAG + "float", _core_float)


def parse_yaml(text: str, source: str) -> Any:
    """The value that ``text`` writes; ``source`` names it in errors.

    Raises:
        UserError: no valid YAML, a key given twice, or over ``MAX_NODES`` entries.

    """
    try:
        value = yaml.load(text, Loader=_CoreLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 5,000 digits; brackets 1,000 deep
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise UserError(f"{source} is no valid YAML{place}: {reason}", legal="YAML, every key once",
                        remedy="mend that line; text with special characters goes in quotes") from error  # fmt: skip
    if sum(1 for _ in zip(_nodes(value), range(MAX_NODES + 1), strict=False)) > MAX_NODES:
        raise UserError(f"{source} has too many entries", legal=f"at most {MAX_NODES}",
                        remedy="keep prompts in a text, CSV or Parquet file and name it in prompts.file")  # fmt: skip
    return value


def _nodes(value: object) -> Iterator[object]:
    """``value`` and all it holds, aliases once for every use (so a list that holds itself never ends)."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: missing, unreadable, not UTF-8, no valid YAML, or no mapping of names.

    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error))
        raise UserError(f"the configuration {path} cannot be read: {reason}", legal="a YAML file in UTF-8",
                        remedy="check the path") from error  # fmt: skip
    value = parse_yaml(text, str(path))
    value = {} if value is None else value
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path} holds no configuration", legal="lines of `key: value`", remedy="mend the file")
    return value


def split_override(word: str) -> tuple[str, str]:
    """``'sampler.steps=4'`` into ``('sampler.steps', '4')``.

    Raises:
        UserError: no ``=``, an option with dashes, a list index, or no key.

    """
    key, equals, text = word.partition("=")
    example = "write key=value, such as sampler.steps=4"
    if word.startswith("-"):
        bare = key.lstrip("-") or "key"
        raise UserError("options are written key=value, without dashes", given=word, legal="key=value",
                        remedy=f"write {bare}={text or '<value>'}")  # fmt: skip
    if not equals:
        raise UserError(f"{word!r} has no value", given=word, legal="key=value", remedy=f"{example}; null says none")
    if "[" in key:
        name = key.partition("[")[0]
        raise UserError("one element of a list cannot be set", given=word, legal="key=value",
                        remedy=f"give the whole list: '{name}=[a,b]'")  # fmt: skip
    if not _KEY.fullmatch(key):
        raise UserError(f"{key!r} is no key", given=word, legal="key=value", remedy=example)
    return key, text
