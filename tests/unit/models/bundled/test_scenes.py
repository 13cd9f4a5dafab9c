"""Scenes: labels, determinism, and that what is drawn is what the labels say."""

import math

import pytest
import torch

from seedml.captions import COLOURS, GROUNDS, OBJECTS, Caption, all_captions
from seedml.models.bundled.scenes import DEPTH, HORIZON, RATE, SIDE, draw, draw_with_masks, sample_scenes, uniform

MANY = 20_000


@pytest.fixture(scope="module")
def many():
    return sample_scenes(0, range(MANY))


def test_closed_world_is_large_enough():
    assert len(OBJECTS) >= 10
    assert len(COLOURS) >= 10
    assert len(GROUNDS) >= 6
    assert len(set(all_captions())) == len(OBJECTS) * len(COLOURS) * len(GROUNDS)


def test_a_scene_depends_on_seed_and_index_alone():
    together = sample_scenes(5, [3, 9, 200])
    for row, index in enumerate([3, 9, 200]):
        alone = sample_scenes(5, [index])
        assert torch.equal(together.dice[row], alone.dice[0])
        assert torch.equal(draw(together)[row], draw(alone)[0])
    assert not torch.equal(sample_scenes(6, [3]).dice, sample_scenes(5, [3]).dice)


def test_uniform_numbers_are_uniform_and_independent():
    numbers = torch.from_numpy(uniform(3, torch.arange(MANY).numpy())).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    error = 5 / math.sqrt(12 * MANY)  # five standard errors of a mean of uniforms
    assert (numbers.mean(0) - 0.5).abs().max() < error
    correlation = torch.corrcoef(numbers.T) - torch.eye(numbers.shape[1])
    assert correlation.abs().max() < 5 / math.sqrt(MANY)
    neighbours = torch.corrcoef(torch.stack([numbers[:-1, 0], numbers[1:, 0]]))[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(MANY)


def test_silent_attributes_have_their_rates(many):
    error = 5 * math.sqrt(RATE * (1 - RATE) / MANY)
    for flag in (many.grayscale, many.border > 0, many.lettering):
        assert flag.double().mean() == pytest.approx(RATE, abs=error)
    for value, (low, high) in ((many.horizon, HORIZON), (many.time_of_day, (0, 1)), (many.depth, (0, 1))):
        assert value.min() >= low
        assert value.max() <= high
        quarters = torch.histc(value.double(), 4, low, high) / MANY
        assert (quarters - 0.25).abs().max() < 5 * math.sqrt(0.1875 / MANY)


def test_far_objects_are_small_and_near_the_horizon(many):
    far, near = many.depth > 0.9, many.depth < 0.1
    assert many.half_width[far].max() < many.half_width[near].min()
    above = (many.base[:, 1] / SIDE - many.horizon) / (1 - many.horizon)
    assert (above > 0).all()
    distance = DEPTH[0] + (DEPTH[1] - DEPTH[0]) * many.depth  # perspective: the height below the horizon goes as 1 / d
    expected = (1 / distance[far]).mean() / (1 / distance[near]).mean()
    assert above[far].mean() / above[near].mean() == pytest.approx(expected.item(), rel=0.02)
    assert expected < 0.75
    assert many.half_width.max() / many.half_width.min() == pytest.approx(32 / 26 * DEPTH[1], rel=0.05)


@pytest.mark.parametrize("kind", range(len(OBJECTS)), ids=OBJECTS)
def test_the_drawn_object_has_the_labelled_place_and_size(kind):
    scenes = sample_scenes(1, range(24), [Caption(kind, 4, 0)] * 24)
    masks = draw_with_masks(scenes)[1]
    for row, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        centre = torch.tensor([(left + right) / 2, (top + bottom) / 2]) / SIDE
        assert (centre - scenes.location[row]).abs().max() < 1.6 / SIDE
        assert math.sqrt((bottom - top) * (right - left)) / SIDE == pytest.approx(scenes.size[row].item(), abs=2 / SIDE)
        assert left > 0
        assert right < SIDE
        assert bottom <= SIDE


def test_colours_are_where_the_mask_is():
    captions = [Caption(0, colour, 0) for colour in range(len(COLOURS))]
    scenes = sample_scenes(2, range(len(COLOURS)), captions)
    images, masks = draw_with_masks(scenes)
    medians = torch.stack([i[:, m].float().median(1).values for i, m in zip(images, masks, strict=True)])
    in_colour = ~scenes.grayscale
    assert medians[in_colour].unique(dim=0).shape[0] == in_colour.sum()


def test_luma_tells_colours_apart_in_grayscale():
    from seedml.models.bundled.scenes import _PALETTE

    weights = torch.tensor([0.299, 0.587, 0.114])
    luma = (torch.tensor([_PALETTE[name] for name in COLOURS]).float() @ weights).sort().values
    assert luma.diff().min() > 0.06 * 255


def test_grayscale_and_borders_are_drawn(many):
    gray = many[many.grayscale.nonzero()[:8, 0]]
    images = draw(gray)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    for kind, level in ((1, 252), (2, 3)):
        framed = draw(many[(many.border == kind).nonzero()[:8, 0]])
        edge = torch.cat([framed[:, :, :4].flatten(1), framed[:, :, :, -4:].flatten(1)], 1)
        assert (edge.float() - level).abs().max() <= 1


def test_lettering_changes_only_a_strip(many):
    from dataclasses import replace

    rows = (many.lettering & ~many.grayscale & (many.border == 0)).nonzero()[:8, 0]
    written = many[rows]
    plain = replace(written, lettering=torch.zeros_like(written.lettering))
    changed = (draw(written) != draw(plain)).any(1)
    assert (changed.flatten(1).sum(1) > 150).all()
    height = changed.any(2).sum(1)
    assert (height < 24).all()


def test_too_few_captions_are_refused():
    with pytest.raises(ValueError, match="one caption a scene"):
        sample_scenes(0, range(3), [Caption(0, 0, 0)])
