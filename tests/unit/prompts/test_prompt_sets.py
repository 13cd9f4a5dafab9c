"""Published and bundled prompt sets, samples of them, and prompts that are there twice."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from seedml.config import PromptsConfig
from seedml.errors import UserError
from seedml.prompts import MissingFileError, load_prompts, placeholder_prompts, read_prompts
from seedml.prompts.objects import NOUNS, TEMPLATES, object_prompts

ALL = {"train": 1.0}
OBJECTS_SHA256 = "caefcfbcbf45eecac5efb77bacf4da862d5ab0600e0bdb9fb1220167b9e8525b"


def coco(path: Path, images: int = 6, captions: int = 5) -> Path:
    """A file as COCO writes them: ids that are neither dense nor in order; every image's third caption is the same."""
    rows: list[dict[str, Any]] = []
    for image in range(images):
        for k in range(captions):
            text = "A man riding a wave.\n" if k == 2 else f" Image {image} in words {k}. "
            rows.append({"image_id": 900 - image, "id": 37 + 11 * (image * captions + k), "caption": text})
    content = {"info": {}, "images": [{"id": 900 - i} for i in range(images)], "annotations": rows[::-1]}
    path.write_text(json.dumps(content))
    return path


def texts(config: PromptsConfig) -> dict[int, str]:
    return {prompt.prompt_id: prompt.text for prompt in load_prompts(config)}


def test_coco_takes_the_first_caption_of_each_image_under_its_own_id(tmp_path: Path) -> None:
    path = coco(tmp_path / "captions_val2014.json")
    found = texts(PromptsConfig(set="coco", file=str(path), splits=ALL))
    by_image: dict[int, dict[str, Any]] = {}
    for row in json.loads(path.read_text())["annotations"]:
        if row["image_id"] not in by_image or row["id"] < by_image[row["image_id"]]["id"]:
            by_image[row["image_id"]] = row
    assert found == {row["id"]: row["caption"].strip() for row in by_image.values()}
    assert list(found) == sorted(found)


def test_coco_repetitions_are_left_out_and_counted(tmp_path: Path) -> None:
    path = coco(tmp_path / "captions_val2014.json")
    config = PromptsConfig(set="coco", file=str(path), captions_per_image=None, splits=ALL)
    whole = read_prompts(config)
    assert (len(whole.texts), whole.repeated) == (6 * 4 + 1, 5)
    assert Counter(whole.texts.values())["A man riding a wave."] == 1
    assert read_prompts(replace(config, captions_per_image=3)).repeated == 5
    assert read_prompts(replace(config, captions_per_image=2)).repeated == 0
    with pytest.raises(UserError, match=r"twice, as prompts .*duplicates=drop"):
        load_prompts(replace(config, duplicates="refuse"))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("[]", "no captions as COCO writes them"),
        ('{"annotations": [{"id": 1, "image_id": 2, "bbox": []}]}', "not instances_"),
        ('{"annotations": [{"id": "1", "image_id": 2, "caption": "a"}]}', "no captions"),
        ('{"annotations": []}', "holds no prompt"),
        ("{", "no valid JSON"),
        ("\xff", "no valid JSON"),
    ],
)
def test_coco_files_that_are_refused(tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "captions.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as error:
        load_prompts(PromptsConfig(set="coco", file=str(path), splits=ALL))
    assert part in str(error.value)
    assert "remedy: " in str(error.value)


def test_a_published_file_that_is_missing_says_where_it_is(tmp_path: Path) -> None:
    for name, part in (
        ("coco", "annotations_trainval2014.zip"),
        ("parti", "PartiPrompts.tsv"),
        ("drawbench", "imagen"),
    ):
        path = tmp_path / {"coco": "none.json", "parti": "none.tsv", "drawbench": "none.csv"}[name]
        with pytest.raises(MissingFileError, match=part):
            load_prompts(PromptsConfig(set=name, file=str(path)))
    with pytest.raises(UserError, match=r"prompts\.set=null"):
        load_prompts(PromptsConfig(set="coco", file="mine.txt"))


def test_parti_prompts_keep_their_quotation_marks(tmp_path: Path) -> None:
    lines = ["Prompt\tCategory\tChallenge\tNote", 'A wall. The words "Fly an airplane" on it\tOutdoor\tComplex\t',
             '"Quoted" from the start\tArts\tBasic\tx', "bond\tAbstract\tBasic\t"]  # fmt: skip
    path = tmp_path / "PartiPrompts.tsv"
    path.write_text("\n".join(lines) + "\n")
    found = texts(PromptsConfig(set="parti", file=str(path), splits=ALL))
    expected = [line.split("\t")[0] for line in lines[1:]]
    assert found == dict(enumerate(expected))
    # as pandas reads it when it is told that quotation marks are text
    table = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE)
    assert list(found.values()) == table["Prompt"].tolist()


def test_drawbench_under_either_name_of_its_column(tmp_path: Path) -> None:
    path = tmp_path / "drawbench.csv"
    for header in ("Prompts", "prompts", "Prompt"):
        path.write_text(f'Category,{header}\nColors,A red car.\nColors,"A car, and a sheep."\nText,A red car.\n')
        config = PromptsConfig(set="drawbench", file=str(path), splits=ALL)
        assert texts(config) == {0: "A red car.", 1: "A car, and a sheep."}
        assert read_prompts(config).repeated == 1
    path.write_text("Category,Text\nColors,A red car.\n")
    with pytest.raises(UserError, match=r"no column 'Prompts' or 'Prompt'; given: 'Category, Text'"):
        load_prompts(PromptsConfig(set="drawbench", file=str(path)))


def test_objects_are_bundled_and_never_change() -> None:
    found = object_prompts()
    assert len(found) == len(set(found)) == len(NOUNS) * len(TEMPLATES) == 800
    assert len(set(NOUNS)) == 80
    prompts = load_prompts(PromptsConfig(set="objects"))
    assert [prompt.text for prompt in prompts] == found
    assert {"a photo of an airplane", "a pair of scissors", "a picture of a TV", "an orange"} <= set(found)
    assert not [text for text in found if " a a" in text or " a o" in text]
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    assert digest == OBJECTS_SHA256, "prompt_ids of studies that are there already would mean other prompts"


def test_a_prefix_of_the_objects_is_a_fair_sample() -> None:
    first = object_prompts()[:200]
    by_template = Counter(next(t for t in sorted(TEMPLATES, key=len, reverse=True) if _fits(t, text)) for text in first)
    assert len(by_template) == 10
    assert max(by_template.values()) < 40


def _fits(template: str, text: str) -> bool:
    before, after = template.split("{object}")
    return text.startswith(before) and text.endswith(after)


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a cat", "id": 1}\n\n"a dog"\n{"id": 3, "prompt": null}\n{"prompt": "ça\\u2028va"}')
    assert texts(PromptsConfig(file=str(path), splits=ALL)) == {0: "a cat", 2: "a dog", 4: "ça\u2028va"}
    path.write_text('{"text": "a cat"}\n')
    assert texts(PromptsConfig(file=str(path), column="text", splits=ALL)) == {0: "a cat"}
    for content, part in (('{"prompt": 1}', "holds no text"), ("{", "no valid JSON"), ('{"text": "a"}', "no column")):
        path.write_text('{"prompt": "a cat"}\n' + content)
        with pytest.raises(UserError, match=part):
            load_prompts(PromptsConfig(file=str(path)))


def test_a_column_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,prompt,caption\n1,a cat,a dog\n2,an owl,a fox\n")
    assert texts(PromptsConfig(file=str(path), column="caption", splits=ALL)) == {0: "a dog", 1: "a fox"}
    table = tmp_path / "p.parquet"
    pd.read_csv(path).to_parquet(table)
    assert texts(PromptsConfig(file=str(table), column="Caption", splits=ALL)) == {0: "a dog", 1: "a fox"}
    with pytest.raises(UserError, match="no column 'txt'"):
        load_prompts(PromptsConfig(file=str(path), column="txt"))


def test_repetitions_in_a_file_of_ones_own_can_be_dropped(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a cat\na dog\n a cat\na fox\n")
    config = PromptsConfig(file=str(path), duplicates="drop", splits=ALL)
    assert texts(config) == {0: "a cat", 1: "a dog", 3: "a fox"}
    assert read_prompts(config).repeated == 1


def test_samples_are_nested_and_follow_the_text_not_the_order(tmp_path: Path) -> None:
    lines = [f"prompt number {i}" for i in range(100)]
    path = tmp_path / "p.txt"
    path.write_text("\n".join(lines))
    config = PromptsConfig(file=str(path), splits={"train": 0.5, "test": 0.5})
    drawn = {n: set(texts(replace(config, sample=n)).values()) for n in (10, 40, 100)}
    assert [len(drawn[n]) for n in (10, 40, 100)] == [10, 40, 100]
    assert drawn[10] < drawn[40] < drawn[100]
    assert drawn[10] != set(lines[:10])
    assert drawn[40] != set(texts(replace(config, sample=40, sample_seed=1)).values())
    before = {prompt.text: prompt.split for prompt in load_prompts(replace(config, sample=40))}
    path.write_text("\n".join(reversed(lines)))
    assert {prompt.text: prompt.split for prompt in load_prompts(replace(config, sample=40))} == before
    ids = [prompt.prompt_id for prompt in load_prompts(replace(config, sample=40))]
    assert ids == sorted(ids)
    assert set(texts(replace(config, sample=40, limit=7)).values()) < drawn[40]


def test_a_sample_is_independent_of_the_splits() -> None:
    """Both are drawn by hashes of the text: one must not decide the other."""
    drawn = load_prompts(PromptsConfig(sample=300))
    whole = {prompt.text: prompt.split for prompt in load_prompts(PromptsConfig())}
    counts = Counter(whole[prompt.text] for prompt in drawn)
    assert 180 < counts["train"] < 240
    assert 35 < counts["test"] < 85


def test_more_than_there_are() -> None:
    with pytest.raises(UserError, match=r"prompts\.sample is larger.*given: 601; legal: at most 600"):
        load_prompts(PromptsConfig(sample=601))


def test_placeholders_stand_for_counted_splits_only() -> None:
    found = placeholder_prompts(PromptsConfig(file="none.txt", splits={"train": 3, "test": 2}))
    assert found is not None
    assert Counter(prompt.split for prompt in found) == {"train": 3, "test": 2}
    assert [prompt.prompt_id for prompt in found] == list(range(5))
    assert placeholder_prompts(PromptsConfig(file="none.txt")) is None
