"""All attributes on the smallest, narrowest and flattest pictures: an answer in its range, or that there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rendered_study import random_parser

from seedml.attributes import AttributeBatch, attribute_names, load_attributes, measure_attributes, share_columns

SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (7, 5), (1, 300), (33, 47), (127, 129)]
RANGES = {
    "grayscale_chroma": (0, 134), "grayscale_colourfulness": (0, 250), "border_width": (0, 0.36), "sky": (0, 1),
    "sky_white": (0, 1), "sky_blue": (0, 1), "location_x": (0, 1), "location_y": (0, 1), "size": (0, 1),
    "lettering_area": (0, 1), "brightness": (0, 100.01), "saturation": (0, 1), "contrast": (0, 0.5),
    "sharpness": (0, 8.001), "symmetry": (-1, 1),
}  # fmt: skip


def _pictures(size: tuple[int, int]) -> torch.Tensor:
    """Noise, one colour, black and white."""
    noise = torch.from_numpy(np.random.default_rng(8).integers(0, 256, (1, 3, *size))).to(torch.uint8)
    flat = [torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand_as(noise)
            for colour in ((10, 200, 30), (0, 0, 0), (255, 255, 255))]  # fmt: skip
    return torch.cat([noise, *flat])


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("of_seedling", [False, True], ids=["any", "seedling"])
def test_every_answer_is_in_its_range_or_missing(size: tuple[int, int], of_seedling: bool) -> None:
    images, attributes = _pictures(size), load_attributes(attribute_names())
    reading = random_parser().read(images) if of_seedling else None
    together = measure_attributes(attributes, AttributeBatch(images, ["a red ball on grass"] * 4, reading))
    for column, values in together.items():
        assert not torch.isinf(values).any(), column
        known = values[~values.isnan()]
        low, high = RANGES.get(column, (-torch.inf, torch.inf))
        assert ((known >= low) & (known <= high)).all(), (column, known)
        if column in share_columns(attributes):
            assert set(known.tolist()) <= {0.0, 1.0}, column
    for row in range(4):
        one = None if reading is None else type(reading)(*(part[row : row + 1] for part in reading))
        alone = measure_attributes(attributes, AttributeBatch(images[row : row + 1], ["a red ball on grass"], one))
        for column, values in together.items():
            torch.testing.assert_close(
                values[row], alone[column][0], rtol=1e-4, atol=1e-4, equal_nan=True,
                msg=lambda text, column=column: f"{column}: {text}",
            )  # fmt: skip
