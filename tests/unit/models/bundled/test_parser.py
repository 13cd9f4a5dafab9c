"""The scene parser's interface, on random weights; its accuracy is measured by benchmarks/seedling_quality.py."""

import pytest
import torch

from seedml.errors import UserError
from seedml.models.bundled.parser import FEATURES, SceneParser, load_parser
from seedml.models.bundled.parser_training import category_loss, mask_loss, measures_of
from seedml.models.bundled.scenes import draw_with_masks, sample_scenes


@pytest.fixture
def parser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SceneParser().eval()


def test_reading_has_the_promised_shapes_and_ranges(parser):
    reading = parser.read(torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8))
    assert reading.features.shape == (3, FEATURES)
    assert (reading.object.shape, reading.colour.shape, reading.ground.shape) == ((3, 10), (3, 10), (3, 6))
    assert reading.location.shape == (3, 2)
    assert reading.mask.shape == (3, 128, 128)
    for name in ("grayscale", "border", "border_white", "lettering", "horizon", "time_of_day", "size", "depth", "mask"):
        value = getattr(reading, name)
        assert len(value) == 3
        assert value.min() >= 0
        assert value.max() <= 1
    assert all(value.dtype == torch.float32 for value in reading)


def test_rows_do_not_depend_on_their_companions(parser):
    images = torch.randint(0, 256, (5, 3, 128, 128), dtype=torch.uint8)
    together = parser.read(images)
    for row in range(5):
        alone = parser.read(images[row : row + 1])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[row : row + 1], b, rtol=1e-4, atol=1e-4)


def test_other_sizes_are_resized_and_other_types_refused(parser):
    image = torch.full((1, 3, 256, 192), 130, dtype=torch.uint8)
    small = torch.full((1, 3, 128, 128), 130, dtype=torch.uint8)
    torch.testing.assert_close(parser.read(image).features, parser.read(small).features, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="uint8"):
        parser.read(torch.rand(1, 3, 128, 128))


def test_saving_keeps_half_precision_weights(parser, tmp_path):
    parser.save(tmp_path)
    again = load_parser(folder=tmp_path)
    for name, value in parser.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(again.state_dict()[name].contiguous(), expected), name
    with pytest.raises(UserError, match="no scene parser"):
        load_parser(folder=tmp_path / "nowhere")


def test_folded_it_reads_the_same():
    images = torch.randint(0, 256, (3, 3, 128, 128), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    expected, folded = load_parser().read(images), load_parser().folded()
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for name, found in folded.read(images)._asdict().items():
        torch.testing.assert_close(found, getattr(expected, name), rtol=1e-4, atol=1e-4, msg=name)


def test_losses_are_least_at_the_truth():
    scenes = sample_scenes(4, range(64))
    flags = torch.stack([scenes.grayscale, scenes.border > 0, scenes.border == 1, scenes.lettering], 1)
    truth = torch.cat(
        [torch.eye(10)[scenes.object], torch.eye(10)[scenes.colour], torch.eye(6)[scenes.ground], flags], 1
    )
    right = (truth * 2 - 1) * 20
    assert category_loss(right, scenes) < 1e-3
    for column in (0, 12, 24, 27, 29):
        wrong = right.clone()
        wrong[:, column] *= -1
        assert category_loss(wrong, scenes) > 0.1
    masks = draw_with_masks(scenes)[1].float()
    assert mask_loss((masks * 2 - 1) * 20, masks) < 0.02
    assert mask_loss((1 - masks * 2) * 20, masks) > 1
    assert measures_of(scenes).shape == (64, 6)
