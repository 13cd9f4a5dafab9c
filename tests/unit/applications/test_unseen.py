from __future__ import annotations

from pathlib import Path

import pytest

from seedml.applications.unseen import UNUSED, unseen_prompts
from seedml.config import PromptsConfig
from seedml.errors import UserError
from seedml.prompts import load_prompts


def test_test_prompts_come_first_and_none_of_the_others_was_used() -> None:
    config = PromptsConfig(limit=20, splits={"train": 12, "val": 2, "test": 6})
    used = {prompt.prompt_id: prompt for prompt in load_prompts(config)}
    found = unseen_prompts(config, used, 10)
    assert [prompt.prompt_id for prompt in found] == sorted(prompt.prompt_id for prompt in found)
    assert {prompt.prompt_id for prompt in found if prompt.split == "test"} == {
        prompt.prompt_id for prompt in used.values() if prompt.split == "test"
    }
    fresh = [prompt for prompt in found if prompt.split == UNUSED]
    assert len(fresh) == 4
    assert not {prompt.text for prompt in fresh} & {prompt.text for prompt in used.values()}
    assert not {prompt.prompt_id for prompt in fresh} & used.keys()
    few = unseen_prompts(config, used, 4)
    assert {prompt.split for prompt in few} == {"test"}


def test_a_longer_list_holds_the_shorter_one() -> None:
    config = PromptsConfig(limit=20)
    used = {prompt.prompt_id: prompt for prompt in load_prompts(config)}
    assert set(unseen_prompts(config, used, 6)) <= set(unseen_prompts(config, used, 40))


def test_the_order_of_a_file_does_not_decide(tmp_path: Path) -> None:
    lines = [f"a thing of kind {kind}" for kind in range(40)]
    found = []
    for order in (lines, lines[:10] + lines[:9:-1]):
        path = tmp_path / "prompts.txt"
        path.write_text("\n".join(order))
        config = PromptsConfig(file=str(path), limit=10)
        used = {prompt.prompt_id: prompt for prompt in load_prompts(config)}
        found.append({prompt.text for prompt in unseen_prompts(config, used, 8)})
    assert found[0] == found[1]


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\nthree")
    config = PromptsConfig(file=str(path), splits={"train": 2, "test": 1})
    used = {prompt.prompt_id: prompt for prompt in load_prompts(config)}
    with pytest.raises(UserError, match="two or more"):
        unseen_prompts(config, used, 5)
