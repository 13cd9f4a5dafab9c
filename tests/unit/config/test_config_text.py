"""YAML and command line into plain values, without YAML 1.1's surprises."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedml.config_text import MAX_NODES, parse_yaml, read_yaml, split_override
from seedml.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0:32", "0:32"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("012", 12),
        ("0x10", 16),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("-.inf", float("-inf")),
        ("null", None),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ("[0:4, 10]", ["0:4", 10]),
        ("{train: 0.7, test: 3}", {"train": 0.7, "test": 3}),
        ("DDIMScheduler", "DDIMScheduler"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(text, "test")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["[a", "a: 1\na: 2", "a: {b: 1, b: 2}", "a: b: c", "\tx: 1", "!!python/object:os.x {}"]
)
def test_broken_yaml_names_file_and_line(text: str) -> None:
    with pytest.raises(UserError, match=r"study\.yaml is no valid YAML at line \d+, column \d+.*remedy") as error:
        parse_yaml(text, "study.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 5000])
def test_absurd_values_are_users_mistakes_too(text: str) -> None:
    with pytest.raises(UserError, match="no valid YAML"):
        parse_yaml(text, "the value of sampler.steps")


def test_duplicate_key_is_named() -> None:
    with pytest.raises(UserError, match="'seeds' is given twice"):
        parse_yaml("seeds: 1\nname: x\nseeds: 2", "study.yaml")


def test_a_merge_key_may_repeat_what_it_merges() -> None:
    assert parse_yaml("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}", "t")["use"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "text",
    [
        "prompts: [" + ",".join(["a"] * MAX_NODES) + "]",
        "&a [*a]",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]",
    ],
)
def test_data_in_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"too many entries.*prompts\.file"):
        parse_yaml(text, "study.yaml")


def test_largest_configuration_is_accepted() -> None:
    assert len(parse_yaml("[" + ",".join(["a"] * (MAX_NODES - 1)) + "]", "t")) == MAX_NODES - 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a\n- b", b"just text", b"1: a"])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"study\.yaml.*remedy"):
        read_yaml(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_yaml(path)


def test_empty_file_is_an_empty_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize(
    ("word", "pair"),
    [
        ("sampler.steps=4", ("sampler.steps", "4")),
        ("name=a=b", ("name", "a=b")),
        ("model.revision=", ("model.revision", "")),
        ("seeds=[3,7]", ("seeds", "[3,7]")),
    ],
)
def test_overrides(word: str, pair: tuple[str, str]) -> None:
    assert split_override(word) == pair


@pytest.mark.parametrize(
    ("word", "part_of_message"),
    [
        ("sampler.steps", "has no value"),
        ("--sampler.steps=3", "write sampler.steps=3"),
        ("--sampler.steps", "write sampler.steps=<value>"),
        ("-n", "without dashes"),
        ("measure.attributes[0]=sky", "measure.attributes=[a,b]"),
        ("=3", "no key"),
        ("a..b=3", "no key"),
        ("a b=3", "no key"),
        ("", "no value"),
    ],
)
def test_words_that_are_no_overrides(word: str, part_of_message: str) -> None:
    with pytest.raises(UserError) as error:
        split_override(word)
    assert part_of_message in str(error.value)
    assert "remedy: " in str(error.value)
