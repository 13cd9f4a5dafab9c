"""The rules for pictures that are not of seedling's world, on hand-made pictures and scikit-image's photographs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from seedml.attributes import AttributeBatch, load_attributes
from seedml.attributes.lettering import TextReader, lettering_within
from seedml.errors import UserError

BLUE, WHITE, GREEN = (110, 160, 225), (236, 238, 240), (70, 110, 40)


def _photograph(name: str, side: int = 256) -> torch.Tensor:
    """3 × side × side uint8 of scikit-image's bundled pictures."""
    skimage = pytest.importorskip("skimage")
    with Image.open(Path(skimage.__file__).parent / "data" / name) as picture:
        return _tensor(picture.convert("RGB").resize((side, side)))


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _measured(name: str, images: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(load_attributes([name])[name].measure(AttributeBatch(images, ["a photo"] * len(images))))


def _landscape(sky: tuple[int, int, int], share: float, size: tuple[int, int] = (128, 128)) -> torch.Tensor:
    """A sky over textured ground."""
    height, width = size
    noise = np.random.default_rng(0).integers(-40, 40, (height, width, 1))
    ground = np.clip(np.array(GREEN) + noise, 0, 255)
    picture = np.where(np.arange(height)[:, None, None] < share * height, np.array(sky), ground)
    return torch.from_numpy(picture.astype(np.uint8)).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (300, 200)])
@pytest.mark.parametrize("share", [0.2, 0.55, 0.8])
def test_the_share_and_colour_of_a_plain_sky(share: float, size: tuple[int, int]) -> None:
    found = _measured("sky", torch.stack([_landscape(BLUE, share, size), _landscape(WHITE, share, size)]))
    assert found["sky"].tolist() == pytest.approx([share, share], abs=0.02)
    assert found["sky_prominent"].tolist() == [float(share > 0.5)] * 2
    assert found["sky_blue"].tolist() == pytest.approx([share, 0], abs=0.02)
    assert found["sky_white"].tolist() == pytest.approx([0, share], abs=0.02)


def test_clouds_and_what_stands_before_the_sky_do_not_end_it() -> None:
    picture = Image.fromarray(_landscape(BLUE, 0.6).permute(1, 2, 0).numpy())
    drawing = ImageDraw.Draw(picture)
    drawing.ellipse((20, 10, 70, 30), fill=WHITE)
    drawing.rectangle((90, 20, 100, 80), fill=(90, 30, 30))  # a tower: 0.031 of the picture
    found = _measured("sky", _tensor(picture)[None])
    assert found["sky"][0] == pytest.approx(0.6 - 0.035, abs=0.05)
    assert found["sky_white"][0] > 0.02


def test_where_the_lower_edge_looks_like_the_sky_nothing_is_told() -> None:
    ball = Image.new("RGB", (128, 128), WHITE)
    ImageDraw.Draw(ball).ellipse((40, 40, 90, 90), fill=(200, 30, 30))
    plain = Image.new("RGB", (128, 128), BLUE)
    assert torch.isnan(_measured("sky", torch.stack([_tensor(ball), _tensor(plain)]))["sky"]).all()


def test_skies_of_photographs() -> None:
    none = ["coffee.png", "chelsea.png", "brick.png", "grass.png", "gravel.png", "motorcycle_left.png", "moon.png"]
    assert _measured("sky", torch.stack([_photograph(name) for name in none]))["sky"].tolist() == [0] * len(none)
    rocket, camera = (_measured("sky", _photograph(name)[None]) for name in ("rocket.jpg", "camera.png"))
    assert rocket["sky_prominent"].tolist() == [1]
    assert rocket["sky_blue"][0] > 0.5
    assert 0.2 < camera["sky"][0] < 0.4
    assert camera["sky_white"][0] == pytest.approx(camera["sky"][0].item(), abs=0.02)


@pytest.mark.parametrize("background", [(128, 128, 128), WHITE, (10, 10, 30)])
def test_the_box_of_a_thing_on_a_plain_ground(background: tuple[int, int, int]) -> None:
    boxes = [(10, 30, 50, 60), (60, 5, 120, 110), (56, 60, 70, 72)]
    pictures = []
    for box in boxes:
        picture = Image.new("RGB", (128, 128), background)
        ImageDraw.Draw(picture).rectangle(box, fill=(210, 60, 40))
        pictures.append(_tensor(picture))
    noise = torch.from_numpy(np.random.default_rng(1).integers(-8, 9, (3, 3, 128, 128)))
    images = (torch.stack(pictures).long() + noise).clamp(0, 255).to(torch.uint8)
    where, how_big = _measured("location", images), _measured("size", images)
    left, top, right, bottom = (torch.tensor(boxes).float() / 128).unbind(1)
    torch.testing.assert_close(where["location_x"], (left + right) / 2, rtol=0, atol=0.02)
    torch.testing.assert_close(where["location_y"], (top + bottom) / 2, rtol=0, atol=0.02)
    torch.testing.assert_close(how_big["size"], ((right - left) * (bottom - top)).sqrt(), rtol=0, atol=0.035)


def test_things_in_photographs_and_textures_without() -> None:
    names = ["horse.png", "cell.png", "clock_motion.png", "camera.png"]
    truth = torch.tensor([[0.5, 0.52], [0.79, 0.57], [0.51, 0.52], [0.33, 0.6]])  # boxes drawn by hand
    found = _measured("location", torch.stack([_photograph(name) for name in names]))
    centres = torch.stack([found["location_x"], found["location_y"]], 1)
    torch.testing.assert_close(centres, truth, rtol=0, atol=0.08)
    textures = torch.stack([_photograph(name) for name in ("brick.png", "grass.png", "gravel.png", "text.png")])
    assert torch.isnan(_measured("location", textures)["location_x"]).all()
    assert torch.isnan(_measured("size", textures)["size"]).all()


def test_depth_needs_a_network_there() -> None:
    assert all(torch.isnan(values).all() for values in _measured("depth", _landscape(BLUE, 0.5)[None]).values())


@pytest.mark.parametrize("name", ["sky", "location", "size"])
def test_a_row_does_not_depend_on_its_companions(name: str) -> None:
    names = ["camera.png", "rocket.jpg", "coffee.png", "horse.png", "brick.png"]
    images = torch.stack([_photograph(one, 160) for one in names])
    together = _measured(name, images)
    for row in range(len(images)):
        for column, values in _measured(name, images[row : row + 1]).items():
            torch.testing.assert_close(together[column][row : row + 1], values, equal_nan=True)


@pytest.mark.parametrize("name", ["sky", "location", "size", "depth", "lettering"])
def test_the_smallest_pictures_get_through(name: str) -> None:
    for size in ((1, 1), (1, 9), (2, 2), (7, 3)):
        noise = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (2, 3, *size))).to(torch.uint8)
        for values in _measured(name, noise).values():
            assert values.shape == (2,)
            assert not torch.isinf(values).any()


def _lettered(picture: torch.Tensor, text: str, at: tuple[int, int], size: int) -> torch.Tensor:
    canvas = Image.fromarray(picture.permute(1, 2, 0).numpy())
    font = ImageFont.load_default(size)
    ImageDraw.Draw(canvas).text(at, text, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return _tensor(canvas)


needs_ocr = pytest.mark.skipif(importlib.util.find_spec("rapidocr") is None, reason="the extra ocr is not installed")


@needs_ocr
def test_letters_written_into_photographs_are_found_and_others_are_not() -> None:
    names = ["coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "camera.png", "grass.png", "moon.png"]
    plain = torch.stack([_photograph(name) for name in names])
    assert _measured("lettering", plain)["lettering"].tolist() == [0] * len(names)
    written = torch.stack([_lettered(picture, "SEED 42", (60, 150), 32) for picture in plain])
    found = _measured("lettering", written)
    assert found["lettering"].tolist() == [1] * len(names)
    assert ((found["lettering_area"] > 0.02) & (found["lettering_area"] < 0.15)).all()


@needs_ocr
def test_small_letters_at_128_pixels_are_found() -> None:
    written = _lettered(_photograph("coffee.png", 128), "HELLO", (20, 50), 18)
    assert _measured("lettering", written[None])["lettering"].tolist() == [1]
    assert torch.isnan(_measured("lettering", written[None, :, :100])["lettering"]).all()


@needs_ocr
def test_lettering_counts_inside_the_mask_only() -> None:
    picture = _lettered(_photograph("chelsea.png"), "SEED 42", (60, 150), 32)
    masks = torch.zeros(4, 256, 256, dtype=torch.bool)
    masks[0, 130:200], masks[1, :120], masks[2, 130:200, :110] = True, True, True  # around it, elsewhere, half; empty
    found = lettering_within(picture.expand(4, -1, -1, -1), masks)
    assert found["lettering"][:3].tolist() == [1, 0, 1]
    assert torch.isnan(found["lettering"][3])
    assert torch.isnan(found["lettering_area"][3])
    whole = lettering_within(picture[None])["lettering_area"][0] * 256 * 256
    assert found["lettering_area"][0] * 70 * 256 == pytest.approx(whole.item(), rel=0.02)
    assert 0 < found["lettering_area"][2] * 70 * 110 < 0.7 * whole


def test_without_the_extra_lettering_is_unknown_and_asking_for_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedml.attributes.lettering.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install 'seedml\[ocr\]'"):
        assert torch.isnan(_measured("lettering", _landscape(BLUE, 0.5)[None])["lettering"]).all()
    with pytest.raises(UserError, match=r"pip install 'seedml\[ocr\]'"):
        load_attributes(["lettering"], {"lettering": "rapidocr"})
    with pytest.raises(UserError, match="legal: rapidocr"):
        load_attributes(["lettering"], {"lettering": "tesseract"})
    with pytest.raises(UserError, match="not installed"):
        lettering_within(_landscape(BLUE, 0.5)[None])


def test_a_reader_is_not_made_before_it_is_used() -> None:
    assert "_engine" not in vars(TextReader())
