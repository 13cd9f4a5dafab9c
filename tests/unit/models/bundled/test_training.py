"""Training of the bundled model: the streams, the modules' checkpoints, and a whole tiny run that is interrupted."""

import json

import numpy as np
import pytest
import torch

from seedml.errors import UserError
from seedml.models.bundled.latents import LatentStream, matched_noise
from seedml.models.bundled.optimisation import Schedule
from seedml.models.bundled.stream import SceneStream

STAGES = ("autoencoder", "parser", "denoiser", "distillation")
TINY = [
    "latents=32", "rounds=[4]", "checkpoint_every=2", "tracking.mode=disabled", "trainer.accelerator=cpu",
    *(f"{stage}.steps=3" for stage in STAGES), *(f"{stage}.batch_size=4" for stage in STAGES),
]  # fmt: skip


def test_scene_stream_resumed_and_split_is_the_same_stream():
    whole = [scenes.dice for scenes in SceneStream(7, 6, 0, 5)]
    tail = [scenes.dice for scenes in SceneStream(7, 6, 3, 5)]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], tail, strict=True))
    halves = [[scenes.dice for scenes in SceneStream(7, 3, 0, 5, rank, 2)] for rank in (0, 1)]
    for step, expected in enumerate(whole):
        joined = torch.empty_like(expected)
        joined[0::2], joined[1::2] = halves[0][step], halves[1][step]
        assert torch.equal(joined, expected)


def test_latent_stream_sees_every_row_once_an_epoch_on_any_number_of_ranks():
    latents = torch.arange(24).float().reshape(24, 1, 1, 1)
    captions = torch.arange(24)[:, None].expand(-1, 3) % 2
    batches = list(LatentStream(latents, captions, 1, 8, 0, 6, 0, 1))
    one = [rows.flatten() for rows, _, _ in batches]
    for epoch in (one[:3], one[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(24))
    assert not torch.equal(torch.cat(one[:3]), torch.cat(one[3:]))
    two = [list(LatentStream(latents, captions, 1, 4, 0, 6, rank, 2)) for rank in (0, 1)]
    for step, whole in enumerate(batches):
        for part, expected in enumerate(whole[:2]):  # latents, and the noise that belongs to them
            halves = [*two[0][step][part].flatten().tolist(), *two[1][step][part].flatten().tolist()]
            assert sorted(halves) == sorted(expected.flatten().tolist())
    rest = LatentStream(latents, captions, 1, 8, 4, 6, 0, 1)
    assert len(rest) == 6, "Lightning counts from the beginning: a shorter epoch would start again with old batches"
    resumed = list(rest)
    for expected, again in zip(batches[4:], resumed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


def test_matched_noise_is_the_noise_drawn_and_follows_the_latents_within_each_colour_and_ground():
    latents = torch.randn(600, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    captions = torch.arange(600)[:, None] % torch.tensor([10, 2, 3])
    drawn = np.random.default_rng(3).standard_normal(latents.shape, dtype=np.float32)
    matched = matched_noise(latents, captions, np.random.default_rng(3)).numpy()
    flat, noise = latents.flatten(1).numpy(), matched.reshape(600, -1)
    group = (captions[:, 1] * 3 + captions[:, 2]).numpy()
    for key in range(6):
        rows = group == key
        np.testing.assert_array_equal(
            np.sort(matched[rows].reshape(100, -1), 0), np.sort(drawn[rows].reshape(100, -1), 0)
        )
        gain = flat[rows] @ noise[rows].T
        partner = np.arange(100)
        for a in range(100):  # no exchange of two rows shortens the way: the plan is optimal
            swapped = gain[a, partner] + gain[partner, a] - gain[a, a] - np.diag(gain)
            assert (swapped <= 1e-3).all()
    assert (flat * noise).sum(1).mean() > 5 > abs((flat * drawn.reshape(600, -1)).sum(1).mean())


def test_schedule_warms_up_and_decays():
    factors = np.array([Schedule(1000, 1e-3).factor(step) for step in range(1000)])
    assert factors[0] < 0.02
    assert factors[100] == pytest.approx(1, abs=0.01)
    assert factors[-1] == pytest.approx(0.02, abs=0.01)
    assert (np.diff(factors[101:]) < 0).all()
    with pytest.raises(ValueError, match="steps"):
        Schedule(0, 1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole training at a handful of steps, killed in the middle of its third stage and taken up again."""
    from seedml.models.bundled import denoiser, train

    root = tmp_path_factory.mktemp("runs")
    words = [*TINY, f"runs.root={root}"]
    original = denoiser.DenoiserTraining.training_step

    def stops(self, batch, batch_idx):
        if self.global_step == 2:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoiser.DenoiserTraining, "training_step", stops)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train.train(words)
    assert not (root / "seedling" / "weights").exists()
    parser_before = (root / "seedling" / "parser" / "model.safetensors").read_bytes()
    train.train(words)
    assert (root / "seedling" / "parser" / "model.safetensors").read_bytes() == parser_before
    return root / "seedling"


def test_interrupted_training_goes_on_where_it_stopped(trained):
    steps = {
        path.parent.name: torch.load(path, weights_only=True)["global_step"] for path in trained.rglob("last.ckpt")
    }
    assert set(steps) == {"autoencoder", "parser", "denoiser", "distillation-4"}
    assert all(step in (2, 3) for step in steps.values())


def test_checkpoints_of_every_module_load_without_pickle(trained):
    from seedml.models.bundled.autoencoder import AutoencoderTraining
    from seedml.models.bundled.denoiser import DenoiserTraining
    from seedml.models.bundled.distillation import Distillation
    from seedml.models.bundled.parser_training import ParserTraining

    modules = {
        "autoencoder": AutoencoderTraining, "parser": ParserTraining, "denoiser": DenoiserTraining,
        "distillation-4": Distillation,
    }  # fmt: skip
    for stage, cls in modules.items():
        path = trained / "checkpoints" / stage / "last.ckpt"
        module = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True)
        state = torch.load(path, weights_only=True)["state_dict"]
        for name, value in module.state_dict().items():
            assert torch.equal(value, state[name]), name


def test_the_first_teacher_is_guided_between_its_times_only(trained):
    from seedml.models.bundled.distillation import GUIDED, Distillation

    path = trained / "checkpoints" / "distillation-4" / "last.ckpt"
    module = Distillation.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    assert module.guidance == 4
    random = torch.Generator().manual_seed(0)
    noisy, words, nothing = (torch.randn(4, *shape, generator=random) for shape in ((4, 16, 16), (24, 128), (24, 128)))
    for name, weight in module.teacher.named_parameters():
        weight.data.mul_(20 if "attn2.to_v" in name else 1)  # hardly trained, it would hardly listen to words
    now = torch.tensor([999, GUIDED[1] - 1, GUIDED[0] + 1, GUIDED[0] - 1])
    with torch.no_grad():
        guided = module._ddim(noisy, words, nothing, now, now - 50)
        module.guidance = 1
        plain, empty = (module._ddim(noisy, w, nothing, now, now - 50) for w in (words, nothing))
    expected = plain.clone()
    expected[1:3] = empty[1:3] + 4 * (plain[1:3] - empty[1:3])  # a step is linear in v
    torch.testing.assert_close(guided, expected, rtol=1e-5, atol=1e-5)
    assert (plain - empty).abs().amax((1, 2, 3)).min() > 1e-3


def test_the_folder_runs_in_plain_diffusers(trained):
    from diffusers import StableDiffusionPipeline

    folder = trained / "weights" / "seedling"
    assert all(path.suffix in (".json", ".safetensors") for path in folder.rglob("*") if path.is_file())
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a red ball on sand", num_inference_steps=2, guidance_scale=1.0).images[0]
    assert image.size == (128, 128)
    provenance = json.loads((trained / "weights" / "training.json").read_text())
    assert provenance["stages"]["denoiser"]["steps"] == 3


def test_other_settings_in_the_same_folder_are_refused(trained):
    from seedml.models.bundled.train import train

    with pytest.raises(UserError, match="learning_rate"):
        train([*TINY, f"runs.root={trained.parent}", "denoiser.learning_rate=0.5"])


def test_unknown_training_keys_are_refused():
    from seedml.models.bundled.train import train

    with pytest.raises(UserError, match="stepz"):
        train(["denoiser.stepz=5"])
