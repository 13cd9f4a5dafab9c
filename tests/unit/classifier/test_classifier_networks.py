"""Networks by name and size, a convolution that skips padding, and courses of the learning rate."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from seedml.classifier.module import SeedClassifier
from seedml.classifier.networks import build_network, check_network
from seedml.classifier.schedules import RISE, make_schedule
from seedml.errors import UserError
from seedml.noise import generator


@pytest.mark.parametrize(
    ("architecture", "size"),
    [("resnet18", 16), ("mobilenet_v3_small", 32), ("shufflenet_v2_x0_5", 33), ("vit_b_32", 64), ("squeezenet1_1", 40)],
)
def test_families_of_networks_take_small_images(architecture, size):
    check_network(architecture, size)
    with torch.device("meta"):
        images = torch.empty(2, 3, size, size, dtype=torch.uint8)
        assert SeedClassifier(architecture, [3, 5, 8], image_size=size).eval()(images).shape == (2, 3)


def test_auxiliary_outputs_are_left_out_in_training_too():
    network = build_network("googlenet", 4, 64).train()
    assert isinstance(network(torch.zeros(2, 3, 64, 64)), torch.Tensor)


@pytest.mark.parametrize(
    ("architecture", "size", "words"),
    [
        ("resnet19", 32, "unknown value of classifier.architecture.*did you mean 'resnet18'"),
        ("alexnet", 32, "alexnet takes no images of 32 px.*classifier.image_size"),
        ("vit_b_16", 33, "vit_b_16 takes no images of 33 px"),
        ("raft_small", 128, "unknown value"),  # of torchvision, but no classification network
    ],
)
def test_networks_that_cannot_be_are_refused(architecture, size, words):
    with pytest.raises(UserError, match=words):
        check_network(architecture, size)


@pytest.mark.parametrize("size", [16, 40])
def test_skipping_padding_changes_neither_output_nor_gradient(size):
    ours = build_network("resnet18", 5, size).double().train()
    plain = torchvision.models.resnet18(num_classes=5).double().train()
    plain.load_state_dict(ours.state_dict())  # the same names and shapes: checkpoints are plain torchvision's
    assert {type(m).__name__ for m in plain.modules() if isinstance(m, nn.Conv2d)} == {"Conv2d"}
    images = torch.randn(4, 3, size, size, generator=generator(0), dtype=torch.float64)
    for network in (ours, plain):
        network(images).square().sum().backward()
    torch.testing.assert_close(ours(images), plain(images))
    for (name, left), right in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (5, 3), "padding": (2, 1)},
        {"kernel_size": 3, "padding": 1, "groups": 2}, {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": "same"}, {"kernel_size": 2},
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 2), (3, 1)])
def test_convolutions_of_tiny_maps(options, shape):
    from seedml.classifier.networks import _WithoutPadding

    plain = nn.Conv2d(4, 6, **options)
    ours = _WithoutPadding(4, 6, **options)
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(3, 4, *shape, generator=generator(1))
    try:
        expected = plain(images)
    except RuntimeError:  # the map is smaller than the kernel
        with pytest.raises(RuntimeError):
            ours(images)
    else:
        torch.testing.assert_close(ours(images), expected)


def course(name: str, steps: int) -> list[float]:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    schedule = make_schedule(name, optimizer, 0.1, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_courses_of_the_learning_rate():
    one_cycle, cosine, constant = (course(name, 200) for name in ("one_cycle", "cosine", "constant"))
    assert max(one_cycle) == pytest.approx(0.1)
    assert one_cycle.index(max(one_cycle)) == pytest.approx(50, abs=1)
    rise = int(RISE * 200)
    assert constant[:rise] == pytest.approx([0.1 * (step + 1) / rise for step in range(rise)])
    assert constant[rise:] == [0.1] * (200 - rise)
    assert cosine[0] < cosine[rise] == pytest.approx(0.1)
    assert cosine[rise:] == sorted(cosine[rise:], reverse=True)
    assert cosine[rise + (200 - rise) // 2] == pytest.approx(0.05, rel=0.01)
    assert one_cycle[-1] < 1e-4
    assert cosine[-1] < 1e-4
