"""Pictures with masks: rendered scenes, a folder, and what is refused in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedml.applications.holes import OUTPAINTING, REMOVAL, Canvas, hashes_of, of_folder, rendered
from seedml.errors import UserError
from seedml.models.bundled.parser import load_parser
from seedml.prompts import Prompt

CANVAS = Canvas(height=128, width=128, cell=8, frame=0.25)


def folder_of(path: Path, count: int = 4) -> Path:
    """Gray pictures of 40 × 30 pixels with two lines of text and a mask."""
    path.mkdir()
    for k in range(count):
        Image.new("RGB", (40, 30), (100, 100, 100)).save(path / f"p{k}.png")
        (path / f"p{k}.txt").write_text("a ball on grass\ngrass\n")
        mask = Image.new("L", (40, 30))
        mask.paste(255, (10, 10, 20, 20))
        mask.save(path / f"p{k}.mask.png")
    return path


def test_rendered_scenes_mask_the_object_and_the_frame() -> None:
    prompts = [Prompt(3, "a red ball on grass", "train"), Prompt(9, "a black house on snow", "train")]
    tasks = rendered(prompts, CANVAS, first=5)
    assert [(task.kind, task.number, task.prompt) for task in tasks] == [
        (REMOVAL, 5, "grass"), (OUTPAINTING, 5, "a red ball on grass"),
        (REMOVAL, 6, "snow"), (OUTPAINTING, 6, "a black house on snow"),
    ]  # fmt: skip
    reading = load_parser().read(torch.stack([task.picture for task in tasks]))
    assert (reading.lettering < 0.5).all()
    assert (reading.border < 0.5).all()
    for at, task in enumerate(tasks):
        assert task.picture.shape == (3, 128, 128)
        seen = reading.mask[at] > 0.5
        if task.kind == REMOVAL:  # nothing of the object is left outside of the mask
            assert (seen & ~task.mask).sum() <= 0.01 * seen.sum()
            assert task.mask.float().mean() < 0.4
        else:
            assert not task.mask[32:96, 32:96].any()
            assert task.mask.sum() == 128 * 128 - 64 * 64


def test_a_folders_pictures_are_brought_to_the_models_size(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own")
    (folder / "p2.mask.png").unlink()
    tasks = of_folder(folder, CANVAS)
    assert [(task.number, task.kind) for task in tasks] == [
        (0, REMOVAL), (0, OUTPAINTING), (1, REMOVAL), (1, OUTPAINTING), (2, OUTPAINTING), (3, REMOVAL),
        (3, OUTPAINTING),
    ]  # fmt: skip
    removal = tasks[0]
    assert removal.prompt == "grass"
    rows, columns = np.flatnonzero(removal.mask.any(1)), np.flatnonzero(removal.mask.any(0))
    assert (rows[0], rows[-1] + 1) == (40, 88)  # 10 … 20 of 30 is 42.7 … 85.3 of 128, enlarged to cells of 8
    assert (columns[0], columns[-1] + 1) == (32, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: Image.new("L", (40, 31), 255).save(f / "p1.mask.png"), r"another size.*given: '40 × 31'.*40 × 30"),
        (lambda f: Image.new("L", (40, 30)).save(f / "p1.mask.png"), "masks nothing"),
        (lambda f: Image.new("L", (40, 30), 255).save(f / "p1.mask.png"), "masks everything"),
        (lambda f: (f / "p1.txt").write_text("a ball\n"), "what is left without the object"),
        (lambda f: (f / "p1.txt").unlink(), "no caption"),
        (lambda f: (f / "p1.png").write_bytes(b"none"), "cannot be read as a picture"),
        (lambda f: (f / "p1.png").write_bytes((f / "p0.png").read_bytes()[:60]), "cannot be read as a picture"),
        (lambda f: (f / "p1.txt").write_bytes("ein größerer Ball\n".encode("latin-1")), "cannot be read as text"),
        (lambda f: (f / "p1.png").unlink(), "too few pictures"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, change: object, message: str) -> None:
    folder = folder_of(tmp_path / "own")
    change(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        of_folder(folder, CANVAS)


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".webp"])
def test_two_pictures_of_one_name_are_refused(tmp_path: Path, ending: str) -> None:
    folder = folder_of(tmp_path / "own")
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / f"p1{ending}")
    for read in (hashes_of, lambda own: of_folder(own, CANVAS)):  # the first is asked before a study's first image
        with pytest.raises(UserError, match=rf"p1\{ending}.*p1\.png|p1\.png.*p1\{ending}"):
            read(folder)


def test_a_picture_may_be_named_as_a_mask_is_but_for_its_ending(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own")
    Image.new("RGB", (40, 30)).save(folder / "p1.mask.jpg")  # a picture "p1.mask" beside the mask of "p1"
    (folder / "p1.mask.txt").write_text("a carnival")
    assert [task.prompt for task in of_folder(folder, CANVAS) if task.number == 1] == ["a carnival"]


def test_changed_pictures_texts_and_masks_are_noticed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "own")
    before = hashes_of(folder)
    assert sorted(before) == sorted(path.name for path in folder.iterdir())
    (folder / "p2.txt").write_text("a box on grass\ngrass\n")
    (folder / "p3.mask.png").unlink()
    after = hashes_of(folder)
    assert {name for name in before if before[name] != after.get(name)} == {"p2.txt", "p3.mask.png"}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        of_folder(tmp_path / "none", CANVAS)


@pytest.mark.parametrize("frame", [0.01, 0.49])
def test_a_frame_of_nothing_or_everything_is_refused(frame: float) -> None:
    with pytest.raises(UserError, match="inpaint_frame"):
        Canvas(height=32, width=32, cell=8, frame=frame).framed()
