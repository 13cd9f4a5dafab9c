from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.applications.noise_swap import (
    Followed,
    Swap,
    curve,
    decided_by,
    plan_swaps,
    swap_config,
    swapped_pictures,
)
from seedml.config import NoiseConfig, SamplerConfig, StatisticsConfig, StudyConfig
from seedml.errors import UserError
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import initial_noise

PROMPTS = ["a red ball on grass", "a blue box on sand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> TextToImage:
    config = tiny_study(folder, folder, sampler=SamplerConfig(steps=3, guidance_scale=1.0,
                        scheduler="EulerAncestralDiscreteScheduler"))  # fmt: skip
    return load_text_to_image(config)


def test_no_seed_is_in_two_pairs_and_prompts_are_taken_in_turn() -> None:
    swaps = plan_swaps(range(11), 30, 32, 3, np.random.default_rng(0))
    assert len(swaps) == 15
    seeds = [seed for swap in swaps[::3] for seed in (swap.first, swap.second)]
    assert len(set(seeds)) == 10
    assert len({swap.row for swap in swaps}) == 15
    assert max(swap.row for swap in plan_swaps(range(11), 4, 32, 3, np.random.default_rng(0))) < 4


def test_the_ends_of_the_curve_are_the_two_seeds_own_pictures(model: TextToImage) -> None:
    swaps = [Swap(3, 7, 0, 0), Swap(5, 1, 1, 1)]
    embeddings = model.embed(PROMPTS)
    found = dict(swapped_pictures(model, embeddings, swaps, "cpu"))
    assert list(found) == [-1, 0, 1, 2, 3]
    for place, seeds in ((-1, [7, 1]), (3, [3, 5])):
        noise, generators = initial_noise(seeds, model.latent_shape)
        own = model.images(embeddings[[0, 1]], noise, generators)
        assert torch.equal(found[place], own)
    assert not torch.equal(found[0], found[-1])
    assert not torch.equal(found[0], found[3])


def test_from_the_swap_on_noise_is_what_the_second_seeds_own_picture_gets(model: TextToImage) -> None:
    """The states are copied at the right step: remade here by hand with generators that draw step by step."""
    swaps, embeddings = [Swap(3, 7, 0, 0)], model.embed(PROMPTS)
    found = dict(swapped_pictures(model, embeddings, swaps, "cpu"))
    first, own = initial_noise([3], model.latent_shape)
    _, other = initial_noise([7], model.latent_shape)

    def swap(step: int) -> None:
        torch.randn((1, *model.latent_shape), generator=other[0])  # what the scheduler drew at this step
        if step == 0:
            own[0].set_state(other[0].get_state())

    made = model.sample(embeddings[[0]], first, own, swap).images
    assert torch.equal(made, found[1])


def test_a_sampler_without_noise_is_refused(folder: Path) -> None:
    config = tiny_study(folder, folder, sampler=SamplerConfig(steps=2, guidance_scale=1.0, scheduler="DDIMScheduler"))
    model = load_text_to_image(config)
    with pytest.raises(UserError, match="adds noise"):
        list(swapped_pictures(model, model.embed(PROMPTS), [Swap(1, 2, 0, 0)], "cpu"))


def test_ddim_adds_noise_with_eta(folder: Path) -> None:
    config = tiny_study(folder, folder, sampler=SamplerConfig(steps=2, guidance_scale=1.0, scheduler="DDIMScheduler"))
    model = load_text_to_image(config)
    found = dict(swapped_pictures(model, model.embed(PROMPTS), [Swap(1, 2, 0, 0)], "cpu", eta=1.0))
    assert not torch.equal(found[0], found[2])


def test_the_study_keeps_its_model_and_changes_its_sampler() -> None:
    config = StudyConfig()
    config.model.scheduler_options = {"timestep_spacing": "trailing"}
    found = swap_config(config)
    assert found.sampler.scheduler == config.apply.swap_scheduler
    assert (found.sampler.steps, found.model.scheduler_options) == (config.sampler.steps, {})
    config.noise = NoiseConfig(step_seed=4)
    with pytest.raises(UserError, match="step_seed"):
        swap_config(config)


def _swaps(n: int) -> list[Swap]:
    return [Swap(2 * k, 2 * k + 1, 0, k) for k in range(n)]


def test_what_follows_one_seed_up_to_a_step_is_decided_there() -> None:
    swaps, generator = _swaps(12), np.random.default_rng(0)
    ends = generator.normal(size=(2, 12, 5))
    weight = np.array([0, 0.1, 0.8, 1])  # the first seed's part at the places −1, 0, 1, 2
    features = weight[:, None, None] * ends[1] + (1 - weight)[:, None, None] * ends[0]
    first, second = (np.array([swap[at] for swap in swaps]) for at in (0, 1))
    named = np.stack([second, second, first, first])
    found = curve(Followed([-1, 0, 1, 2], features.astype(np.float32), named), swaps, StatisticsConfig(), 24)
    assert [place["closeness"]["value"] for place in found] == pytest.approx(weight, abs=1e-5)
    assert [place["nearer_first"]["value"] for place in found] == [0, 0, 1, 1]
    assert [place["named_first"]["value"] for place in found] == [0, 0, 1, 1]
    assert found[0]["named_other"]["value"] == 0
    assert found[0]["named_first"]["chance"] == pytest.approx(1 / 24)
    assert 0 < found[0]["nearer_first"]["high"] < 0.5 < found[2]["nearer_first"]["low"] < 1
    assert found[0]["nearer_first"]["n"] == 12
    assert decided_by(found) == 1


def test_where_all_noise_takes_part_no_step_decides() -> None:
    """At the end the picture is the first seed's own, which says nothing."""
    ends = np.random.default_rng(0).normal(size=(2, 12, 5))
    weight = np.array([0, 0.1, 0.3, 1])
    features = weight[:, None, None] * ends[1] + (1 - weight)[:, None, None] * ends[0]
    found = curve(Followed([-1, 0, 1, 2], features.astype(np.float32), None), _swaps(12), StatisticsConfig(), None)
    assert found[-1]["nearer_first"]["low"] > 0.5
    assert decided_by(found) is None


def test_pairs_whose_ends_are_the_same_do_not_tell() -> None:
    features = np.ones((3, 2, 4), np.float32)
    found = curve(Followed([-1, 0, 1], features, None), _swaps(2), StatisticsConfig(), None)
    assert all(place.keys() == {"place"} for place in found)
    assert decided_by(found) is None
