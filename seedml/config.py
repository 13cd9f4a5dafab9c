"""A study's configuration: the schema (dataclasses) and :func:`load_config`, schema <- YAML <- command line.

Every value is checked before anything is loaded or written. Knows no model, network or image; file formats of the
configuration are in ``config_text.py``, seeds as text in ``seed_list.py``.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from seedml.config_text import parse_yaml, read_yaml, split_override
from seedml.errors import UserError, unknown_name
from seedml.seed_list import check_distinct_noise, check_seed, format_seeds
from seedml.seed_list import parse_seeds as parse_seeds

SPLITS = ("train", "val", "test")
DEFAULT_SPLITS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
DTYPES = ("float32", "float16", "bfloat16")
DECODINGS = ("whole", "sliced", "tiled")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
DEFAULT_CONTROLS = ("shuffled_labels", "corruptions", "noise_regression", "open_set", "grad_cam")
"""Controls of the classifier that every study runs."""
CONTROLS = (*DEFAULT_CONTROLS, "learning_curve", "retrained")
"""All controls of the classifier, in the order in which they run."""
TARGET_IMAGES, TARGET_BYTES = 1000, 250_000_000
"""What a tar should hold at most: so many images, so many bytes."""
DEFAULT_ATTRIBUTES = (
    "grayscale", "border", "sky", "location", "size", "depth", "agreement", "lettering",
    "brightness", "saturation", "contrast", "sharpness", "symmetry",
)  # fmt: skip
"""Attributes that need no download, in the order of their columns."""
APPLICATIONS = ("high_fidelity", "diverse_sampling", "noise_swap", "inpainting")
"""Uses of chosen seeds that the step ``apply`` tries out."""
BUNDLED_PROMPTS = ("scenes", "objects")
"""Prompt sets that need no file."""
PUBLISHED_PROMPTS = ("coco", "parti", "drawbench")
"""Prompt sets that others published, each read from its file."""
BUNDLED = "bundled:"
"""Prefix of a model path that names a model inside the package."""

_FROM_MODEL = ("steps", "guidance_scale", "scheduler", "dtype")
"""Keys of the sampler that are the model's where null."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _need(condition: bool, key: str, given: object, legal: str, remedy: str | None = None) -> None:
    """Refuse a value; the line names the key, the value, what is legal and the remedy."""
    if not condition:
        raise UserError(f"{key} has no legal value", given=given, legal=legal,
                        remedy=remedy or f"set {key}=… to such a value")  # fmt: skip


def _need_whole(key: str, value: int | None, low: int, high: int = 1_000_000_000) -> None:
    _need(value is None or low <= value <= high, key, value, f"a whole number from {low} to {high}")


def _need_finite(key: str, value: float | None, low: float = 0.0, high: float = 1e6) -> None:
    legal = f"a number from {low:g} to {high:g}" if high < 1e6 else f"a number, {low:g} or more"
    _need(value is None or (math.isfinite(value) and low <= value <= high), key, value, legal)


def _need_one_of(key: str, value: str | None, known: Iterable[str]) -> None:
    if value is not None and value not in known:
        raise unknown_name(key if " " in key else f"value of {key}", value, known)


def _need_size(key: str, value: int | None) -> None:
    _need(value is None or (8 <= value <= 8192 and value % 8 == 0), key, value,
          "pixels, 8 to 8192, a multiple of 8, or null (the model's own)")  # fmt: skip


@dataclass
class ModelConfig:
    """A text-to-image model: any folder or hub id that diffusers' auto classes load."""

    name: str = ""
    """Short name for tables and reports; the last part of ``path`` where empty."""
    path: str = f"{BUNDLED}seedling"
    """A local folder, a hub id, or ``bundled:<name>`` for a model inside the package."""
    revision: str | None = None
    """Hub revision (branch, tag or commit); null = the newest."""
    variant: str | None = None
    """Weight file variant such as ``fp16``; null = none."""
    dtype: str = "float32"
    """Weights and arithmetic: float32, float16 or bfloat16."""
    height: int | None = None
    """Image height in pixels, a multiple of 8; null = the model's own."""
    width: int | None = None
    """Image width in pixels, a multiple of 8; null = the model's own."""
    steps: int = 50
    """Sampling steps, 1 or more."""
    guidance_scale: float = 7.5
    """Classifier-free guidance, 0 or more; up to 1 means none."""
    scheduler: str | None = None
    """A diffusers scheduler class such as DDIMScheduler; null = the one in the model's folder."""
    scheduler_options: dict[str, Any] = field(default_factory=dict)
    """Options for that scheduler that replace those in the model's folder, such as ``timestep_spacing: trailing``."""
    call_options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the diffusers pipeline's call, such as ``max_sequence_length: 256``."""
    safety_checker: bool = True
    """Keep the model's own safety checker, where it has one: it blackens images, which then count as failed; false
    leaves it out."""
    config: str | None = None
    """Where ``path`` is a single ``.safetensors`` file: folder or hub id of a pipeline of the same architecture, whose
    configuration, tokenizers and, where the file has none, text encoders are used."""
    vae: str | None = None
    """Folder or hub id of another autoencoder, ``owner/name@revision/subfolder``; null = the model's own."""
    lora: dict[str, float] = field(default_factory=dict)
    """LoRA -> its scale, usually 1: a ``.safetensors`` file or its folder, or ``owner/name@revision/file``."""

    def __post_init__(self) -> None:
        self.name = self.name or Path(self.path.rstrip("/").removeprefix(BUNDLED)).name.removesuffix(".safetensors")
        _need(bool(self.path.strip()), "model.path", self.path, "a folder, a hub id, or bundled:seedling")
        _need_one_of("model.dtype", self.dtype, DTYPES)
        _need_size("model.height", self.height)
        _need_size("model.width", self.width)
        _need_whole("model.steps", self.steps, 1, 10_000)
        _need_finite("model.guidance_scale", self.guidance_scale)
        _need_scheduler("model.scheduler", self.scheduler)
        for name, scale in self.lora.items():
            _need(math.isfinite(scale) and scale != 0, f"model.lora: scale of {name}", scale, "a number other than 0")


def _need_scheduler(key: str, name: str | None) -> None:
    _need(name is None or bool(re.fullmatch(r"[A-Za-z]\w*Scheduler", name)), key, name,
          "a diffusers scheduler class, such as DDIMScheduler, or null")  # fmt: skip


@dataclass
class PromptsConfig:
    """Which prompts, and how they are divided."""

    set: str | None = None
    """``scenes`` (the 600 captions of the bundled model; the default where no ``file`` is given), ``objects`` (800
    bundled prompts of one object), or what ``file`` holds: ``coco``, ``parti`` or ``drawbench``."""
    file: str | None = None
    """Prompts of your own, instead of ``set``: .txt (one a line), .csv, .tsv, .parquet or .jsonl (column ``prompt``).
    Or the file of a published ``set``: COCO's captions_….json, PartiPrompts.tsv, DrawBench's CSV."""
    column: str | None = None
    """Column (or key) that holds the prompts; null = ``prompt`` or the published set's own, in a CSV else the first."""
    captions_per_image: int | None = 1
    """COCO only: so many captions of each image, the lowest ids first; null = all."""
    duplicates: str | None = None
    """A prompt that is there twice: ``refuse`` or ``drop`` (all but the first); null = refuse in a file of your own,
    drop in a published set."""
    sample: int | None = None
    """Use only so many prompts, drawn at random by their own texts; a smaller sample is part of a larger one."""
    sample_seed: int = 0
    """Another number is another sample."""
    limit: int | None = None
    """Use only the first so many prompts (of the sample, where there is one); null = all."""
    splits: dict[str, Any] = field(default_factory=dict)
    """Prompts in train, val and test: counts (whole numbers) or shares (0 to 1, together at most 1).

    ``train`` and ``val`` select seeds and fit the classifier, ``test`` confirms. Default: 0.7, 0.1, 0.2.
    """

    def __post_init__(self) -> None:
        _need_one_of("prompts.set", self.set, (*BUNDLED_PROMPTS, *PUBLISHED_PROMPTS))
        if self.file:  # of one's own, unless it is that of a published set
            self.set = self.set if self.set in PUBLISHED_PROMPTS else None
        else:
            self.set = self.set or "scenes"
            _need(self.set in BUNDLED_PROMPTS, "prompts.set without prompts.file", self.set,
                  f"{', '.join(BUNDLED_PROMPTS)}; the others with prompts.file=<their file>",
                  "download the set and name its file in prompts.file (docs/prompts.md)")  # fmt: skip
        _need_one_of("prompts.duplicates", self.duplicates, ("refuse", "drop"))
        for key in ("limit", "sample", "captions_per_image"):
            _need_whole(f"prompts.{key}", getattr(self, key), 1)
        check_seed(self.sample_seed, "prompts.sample_seed")
        self.splits = dict(self.splits) or dict(DEFAULT_SPLITS)
        for name, value in self.splits.items():
            _need_one_of("split in prompts.splits", name, SPLITS)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            legal = "a count, or a share from 0 to 1"
            _need(is_number and 0 <= value < math.inf, f"prompts.splits.{name}", value, legal)
        self.splits = {name: self.splits[name] for name in SPLITS if self.splits.get(name)}
        self._check_kind()

    def _check_kind(self) -> None:
        kinds = {type(value) for value in self.splits.values()}
        legal = "whole numbers (counts) or shares such as 0.7, 0.1, 0.2 (together at most 1)"
        _need(len(kinds) == 1, "prompts.splits", self.splits, legal, "give all splits as counts or all as shares")
        if float in kinds:
            _need(sum(self.splits.values()) <= 1 + 1e-9, "prompts.splits", self.splits, legal, "lower the shares")


@dataclass
class SamplerConfig:
    """How images are sampled. A null takes the model's own value (``model.…``)."""

    steps: int | None = None
    """Sampling steps, 1 or more."""
    guidance_scale: float | None = None
    """Classifier-free guidance, 0 or more; up to 1 means none."""
    scheduler: str | None = None
    """A diffusers scheduler class such as DDIMScheduler."""
    batch_size: int = 32
    """Images in one forward pass. Its value changes pixels by rounding only (about 1 of 255 levels). 0 = the largest
    that fits into the accelerator, found before the first image and kept from then on; on a CPU 32."""
    dtype: str | None = None
    """Weights and arithmetic: float32, float16 or bfloat16. Noise is always drawn in float32."""
    decode: str | None = None
    """How latents become pixels: whole (all of a batch at a time), sliced (one by one) or tiled (one by one, in
    overlapping parts: other pixels at the seams); null = whole, or what ``batch_size: 0`` found to be needed."""
    compile: str | None = None
    """Compile the denoiser with torch.compile: default, reduce-overhead (CUDA graphs), max-autotune or
    max-autotune-no-cudagraphs; null = do not."""

    def __post_init__(self) -> None:
        _need_whole("sampler.steps", self.steps, 1, 10_000)
        _need_finite("sampler.guidance_scale", self.guidance_scale)
        _need_scheduler("sampler.scheduler", self.scheduler)
        _need_whole("sampler.batch_size", self.batch_size, 0, 65_536)
        _need_one_of("sampler.dtype", self.dtype, DTYPES)
        _need_one_of("sampler.decode", self.decode, DECODINGS)
        _need_one_of("sampler.compile", self.compile, COMPILE_MODES)


@dataclass
class NoiseConfig:
    """Where an image's noise comes from (DESIGN section 6)."""

    generator_device: str = "cpu"
    """``cpu`` (the same on every machine) or ``cuda`` (to replicate images whose noise was drawn on a GPU)."""
    initial_seed: int | None = None
    """Draw the initial noise of all images from this seed; null = each image from its own seed."""
    step_seed: int | None = None
    """Draw the noise added while sampling from this seed; null = each image from its own seed."""

    def __post_init__(self) -> None:
        _need_one_of("noise.generator_device", self.generator_device, ("cpu", "cuda"))
        for key in ("initial_seed", "step_seed"):
            if getattr(self, key) is not None:
                check_seed(getattr(self, key), f"noise.{key}")


@dataclass
class ShardsConfig:
    """Where and how images are kept."""

    root: str = "shards"
    """Folder that holds ``<name>/``."""
    url: str | None = None
    """A folder elsewhere that gets a copy of ``<name>/`` as it grows, and gives what is missing here: any URL that
    fsspec knows, such as ``s3://bucket/studies``; null = none."""
    format: str = "png"
    """png (lossless), webp or jpg."""
    tile_seeds: int | None = None
    """Seeds in one tile (one tile = one tar); null = chosen for ``target_images``."""
    tile_prompts: int | None = None
    """Prompts in one tile; null = chosen for ``target_images``."""
    target_images: int | None = None
    """About how many images one tar should hold; null = 1,000, or fewer where images are large: about 250 MB."""

    def __post_init__(self) -> None:
        _need(bool(self.root.strip()), "shards.root", self.root, "a folder")
        _need(self.url is None or "://" in self.url, "shards.url", self.url, "a URL such as s3://bucket/folder")
        _need_one_of("shards.format", self.format, ("png", "webp", "jpg"))
        _need_whole("shards.tile_seeds", self.tile_seeds, 1)
        _need_whole("shards.tile_prompts", self.tile_prompts, 1)
        _need_whole("shards.target_images", self.target_images, 1)


@dataclass
class RunsConfig:
    """Where results are kept."""

    root: str = "runs"
    """Folder that holds ``<name>/``."""

    def __post_init__(self) -> None:
        _need(bool(self.root.strip()), "runs.root", self.root, "a folder")


@dataclass
class MeasureConfig:
    """What is measured on every image."""

    features: str = "bundled"
    """The feature network, for FID."""
    attributes: list[str] = field(default_factory=lambda: list(DEFAULT_ATTRIBUTES))
    """The readable numbers, one file each in ``seedml/attributes/``."""
    vectors: list[str] = field(default_factory=lambda: ["style", "layout", "object_layout"])
    """Networks in ``seedml/features/`` by whose vectors seeds are clustered and mapped; only sums are kept."""
    networks: dict[str, str] = field(default_factory=dict)
    """Attribute or feature network -> hub id, folder or file of the network that measures it; docs/metric-networks.md.
    Nothing else is downloaded."""
    batch_size: int = 64
    """Images in one forward pass."""

    def __post_init__(self) -> None:
        _need_whole("measure.batch_size", self.batch_size, 1, 65_536)
        for key, names in (("attributes", self.attributes), ("vectors", self.vectors)):
            twice = sorted({name for name in names if names.count(name) > 1})
            _need(not twice, f"measure.{key}", twice, "every one once", "leave the repetitions out")


@dataclass
class ReferenceConfig:
    """The images that per-seed FID compares with."""

    set: str = "scenes"
    """``scenes``: rendered scenes of the study's own captions."""
    images_per_prompt: int = 64
    """Rendered scenes of each prompt."""
    path: str | None = None
    """What to compare with instead, needed for prompts of your own: a folder of images or of WebDataset shards, a .tar,
    or features or mean and covariance (.npz, .safetensors)."""
    annotations: str | None = None
    """COCO's annotations (JSON), which say which images of the folder ``path`` are meant; null = all."""
    limit: int | None = None
    """Only so many of the images, drawn at random but always the same ones; null = all."""

    def __post_init__(self) -> None:
        _need_one_of("reference.set", self.set, ("scenes",))
        _need_whole("reference.images_per_prompt", self.images_per_prompt, 1)
        _need_whole("reference.limit", self.limit, 2)
        _need(self.annotations is None or self.path is not None, "reference.annotations", self.annotations,
              "a file, together with reference.path", "set reference.path=<the folder of its images>")  # fmt: skip


@dataclass
class StatisticsConfig:
    """Intervals and tests."""

    blocks: int = 16
    """Blocks of prompts in the jackknife of FID."""
    permutations: int = 200
    """Permutations of seed labels within each prompt; the smallest p-value is 1 / (permutations + 1)."""
    bootstrap: int = 1000
    """Resamples of prompts."""
    confidence: float = 0.95
    """Coverage of the intervals, between 0 and 1."""
    seed: int = 0
    """Seed of the resampling."""
    resampling: str = "auto"
    """Every fold's distance by itself (exact) or from one decomposition a seed (linear); auto: exact up to d = 256."""
    distances: list[str] = field(default_factory=lambda: ["fid"])
    """``fid``, and what is wanted beside it: ``fid_infinity``, ``kid``, ``cmmd``; each costs a pass over features."""

    clustering: str = "kmeans"
    """How seeds are clustered by style and layout: kmeans or agglomerative (Ward)."""

    def __post_init__(self) -> None:
        _need_one_of("statistics.clustering", self.clustering, ("kmeans", "agglomerative"))
        _need_one_of("statistics.resampling", self.resampling, ("auto", "exact", "linear"))
        for name in self.distances:
            _need_one_of("statistics.distances", name, ("fid", "fid_infinity", "kid", "cmmd"))
        _need("fid" in self.distances, "statistics.distances", self.distances, "fid, and others beside it")
        _need_whole("statistics.blocks", self.blocks, 2)
        _need_whole("statistics.permutations", self.permutations, 1)
        _need_whole("statistics.bootstrap", self.bootstrap, 1)
        _need(0 < self.confidence < 1, "statistics.confidence", self.confidence, "a share between 0 and 1")
        check_seed(self.seed, "statistics.seed")


@dataclass
class ClassifierConfig:
    """Which seed made this image? A torchvision network over all seeds of the study."""

    architecture: str = "resnet18"
    """A torchvision classification model."""
    image_size: int = 32
    """Side in pixels that images are reduced to."""
    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 128
    """Images in one step, of all processes together."""
    learning_rate: float = 1e-3
    """Highest learning rate of the schedule."""
    schedule: str = "one_cycle"
    """Course of the learning rate: one_cycle, cosine (after a short rise) or constant (after the same rise)."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes, 0 to 1."""
    patience: int | None = 4
    """Epochs without a better validation accuracy after which training has converged; null = all ``epochs``."""
    top_k: int = 5
    """Also count the images whose seed is among the first so many that are named."""
    controls: list[str] = field(default_factory=lambda: list(DEFAULT_CONTROLS))
    """What the accuracy is put to the test by; ``[all]`` = all of them, also after the classifier was trained.

    ``shuffled_labels`` (trained on nothing), ``corruptions`` (tested on degraded and filtered pictures),
    ``noise_regression`` (how much of the initial noise a picture gives back), ``open_set`` (does it notice pictures of
    seeds that it never saw), ``grad_cam`` (where it looks), ``learning_curve`` (fewer prompts, fewer seeds) and
    ``retrained`` (trained on low frequencies alone, on high ones, without colour).
    """
    unseen_seeds: int = 16
    """Seeds outside the study whose pictures are made for ``open_set``, with the study's own model."""
    false_refusals: float = 0.01
    """Share of pictures of known seeds that may be called of none of them; above 0, below 1."""
    transfer: list[str] = field(default_factory=list)
    """Folders of other data sets with the same seeds (``[shards/other]``): tested on their pictures as well."""
    control_epochs: int | None = None
    """Passes over shuffled labels; null = as many as the classifier itself took."""
    seed: int = 0
    """Seed of initial weights and order of images."""
    num_workers: int | None = None
    """Processes that read images, for each one that trains; 0 = it reads itself; null = its cores, at most 16, where it
    trains on an accelerator, and 0 on a CPU."""
    cache: str = "auto"
    """Keep decoded and reduced images on the disk of ``runs.root`` until training is over: ``always``, ``never``, or
    ``auto`` = if they are at most 16 GB and a tenth of what is free."""

    def __post_init__(self) -> None:
        _need_whole("classifier.image_size", self.image_size, 16, 4096)
        for key in ("epochs", "batch_size", "control_epochs", "patience", "top_k"):
            _need_whole(f"classifier.{key}", getattr(self, key), 1)
        _need_one_of("classifier.schedule", self.schedule, ("one_cycle", "cosine", "constant"))
        _need(0 < self.learning_rate < 100, "classifier.learning_rate", self.learning_rate, "a number above 0")
        _need_finite("classifier.weight_decay", self.weight_decay)
        _need(0 <= self.label_smoothing < 1, "classifier.label_smoothing", self.label_smoothing, "0 or more, below 1")
        check_seed(self.seed, "classifier.seed")
        _need_whole("classifier.num_workers", self.num_workers, 0, 1024)
        _need_one_of("classifier.cache", self.cache, ("auto", "always", "never"))
        for name in self.controls:
            _need_one_of("classifier.controls", name, ("all", *CONTROLS))
        _need_whole("classifier.unseen_seeds", self.unseen_seeds, 2, 10_000)
        _need(0 < self.false_refusals < 1, "classifier.false_refusals", self.false_refusals, "above 0, below 1")
        self.controls = [name for name in CONTROLS if {"all", name} & set(self.controls)]
        self.transfer = sorted({str(folder) for folder in self.transfer})


@dataclass
class SelectionConfig:
    """How many seeds are chosen. A study with few seeds gives fewer."""

    golden: int = 5
    """Best seeds, at most."""
    inferior: int = 5
    """Worst seeds, at most."""
    diverse: int = 8
    """Seeds that differ most from each other, at most."""

    def __post_init__(self) -> None:
        for key in ("golden", "inferior", "diverse"):
            _need_whole(f"selection.{key}", getattr(self, key), 1)


@dataclass
class ApplyConfig:
    """What the chosen seeds are good for (step ``apply``), on prompts that had no part in choosing them."""

    run: list[str] = field(default_factory=lambda: ["high_fidelity", "diverse_sampling", "noise_swap"])
    """The applications that are tried out, in this order; each also runs alone."""
    prompts: int = 48
    """Held-out prompts: those of the test split first, whose images are there; then prompts the study left unused."""
    random_seeds: int = 64
    """Seeds of the study, drawn at random, that stand for any seed; all where there are no more."""
    best_of: int = 4
    """Pictures of one prompt of which an oracle takes the best: what a perfect choice for each prompt would give."""
    diverse: int = 8
    """Seeds in a diverse set."""
    diverse_space: str = "features+position"
    """Of the sets below, the one that the headline is of: one of ``diverse_spaces``, …"""
    diverse_method: str = "max_sum"
    """… farthest_points, k_medoids or max_sum (largest mean distance), …"""
    diverse_among: str = "not_inferior"
    """… among the seeds that are golden, not_inferior, or all."""
    diverse_spaces: list[str] = field(default_factory=lambda: ["features+position", "style", "layout"])
    """In what seeds are to be far apart: ``features``, object ``position`` or ``size``, a network of
    ``seedml/features/``, or several joined by ``+``."""
    choosing_prompts: int = 32
    """Prompts of the selection splits whose images are read again to tell seeds apart by such a network."""
    distances: dict[str, str] = field(default_factory=dict)
    """Further distances between pictures: a name of your own -> hub id or folder of a CLIP, CSD or DINOv2 network."""
    swap_scheduler: str = "DDIMScheduler"
    """The scheduler of the noise swap, which has to add noise while sampling: DDIMScheduler with ``swap_eta``, or an
    ancestral one such as EulerAncestralDiscreteScheduler."""
    swap_eta: float = 0.5
    """Of the noise that DDIM could add at a step, the share that is fresh, 0 (none) to 1 (as DDPM does)."""
    swap_steps: int | None = None
    """Its sampling steps; null = the study's."""
    swap_pairs: int = 32
    """Pairs of seeds whose noise is swapped; no seed is in two."""
    swap_prompts: int = 3
    """Held-out prompts of each pair, other ones for each as far as there are enough."""
    inpaint_model: str | None = None
    """Model that fills masks, such as an inpainting checkpoint: a name in ``configs/models/`` (which brings its own
    revision, variant, size, steps and guidance), a folder or a hub id; null = the study's own."""
    inpaint_revision: str | None = None
    """Its hub revision; null = the name's own, or the newest."""
    inpaint_variant: str | None = None
    """Its weight file variant, such as fp16; null = the name's own, or none."""
    inpaint_steps: int | None = None
    """Its sampling steps; null = the study's, or 50 with ``inpaint_model``."""
    inpaint_guidance: float | None = None
    """Its guidance; null = the study's, or 7.5 with ``inpaint_model``."""
    inpaint_folder: str | None = None
    """Pictures to be filled (docs/inpainting.md); null = rendered scenes of the study's captions."""
    inpaint_frame: float = 0.25
    """Width of the frame that outpainting fills, as a share of the picture's side."""
    inpaint_seeds: int = 64
    """Seeds of the study, drawn at random; all where there are no more."""
    inpaint_pictures: int = 24
    """Pictures by which seeds to use and to avoid are told."""
    inpaint_held_out: int = 12
    """Further pictures that say what leaving out those seeds is worth."""

    def __post_init__(self) -> None:
        _need(bool(self.run), "apply.run", self.run, ", ".join(APPLICATIONS))
        for name in self.run:
            _need_one_of("application in apply.run", name, APPLICATIONS)
        for key, low in (("prompts", 2), ("random_seeds", 2), ("best_of", 2), ("diverse", 2), ("choosing_prompts", 2),
                         ("swap_steps", 1), ("swap_pairs", 2), ("swap_prompts", 1), ("inpaint_steps", 1),
                         ("inpaint_seeds", 2), ("inpaint_pictures", 2), ("inpaint_held_out", 2)):  # fmt: skip
            _need_whole(f"apply.{key}", getattr(self, key), low)
        _need_one_of("apply.diverse_space", self.diverse_space, self.diverse_spaces)
        _need_one_of("apply.diverse_method", self.diverse_method, ("farthest_points", "k_medoids", "max_sum"))
        _need_one_of("apply.diverse_among", self.diverse_among, ("golden", "not_inferior", "all"))
        _need_scheduler("apply.swap_scheduler", self.swap_scheduler)
        _need_finite("apply.swap_eta", self.swap_eta, 0.0, 1.0)
        _need_finite("apply.inpaint_guidance", self.inpaint_guidance)
        _need_finite("apply.inpaint_frame", self.inpaint_frame, 0.01, 0.49)


@dataclass
class TrainerConfig:
    """Handed to Lightning's Trainer."""

    accelerator: str = "auto"
    """auto, cpu, gpu, cuda, mps, tpu."""
    devices: int | str = 1
    """How many devices, ``auto``, or a list in quotes such as ``'0,2'``; -1 = all."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Lightning's strategy, such as auto or ddp."""
    precision: str = "auto"
    """Arithmetic of training (sampling has ``sampler.dtype``); auto = bfloat16 where the hardware computes in it."""
    threads: int | None = None
    """CPU threads of torch; null = torch's own choice."""

    def __post_init__(self) -> None:
        _need_one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps", "tpu"))
        self.devices = int(self.devices) if re.fullmatch(r"-?\d+", str(self.devices)) else self.devices
        is_count = isinstance(self.devices, int) and (self.devices == -1 or self.devices > 0)
        is_list = bool(re.fullmatch(r"(\d+,)+\d*", str(self.devices)))
        legal = "a count from 1, auto, -1 (all), or numbers in quotes such as '0,2'"
        _need(is_count or is_list or self.devices == "auto", "trainer.devices", self.devices, legal)
        _need_whole("trainer.num_nodes", self.num_nodes, 1)
        _need_one_of("trainer.precision", self.precision, (
            "auto", "32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "64"))  # fmt: skip
        _need_whole("trainer.threads", self.threads, 1, 4096)


@dataclass
class TrackingConfig:
    """Weights & Biases."""

    mode: str = "auto"
    """auto (online where there is an API key, else offline), online, offline or disabled."""
    project: str = "seedml"
    """Project."""
    entity: str | None = None
    """User or team; null = the account's default."""
    group: str | None = None
    """Group of the study's runs; null = the study's name."""

    def __post_init__(self) -> None:
        _need_one_of("tracking.mode", self.mode, ("auto", "online", "offline", "disabled"))


@dataclass
class PlanConfig:
    """What ``seedml plan`` knows of other machines."""

    warmups: str | None = None
    """JSON file of measured warm-ups: what ``plan`` measures on an accelerator is put into it, and what was measured of
    the same model and sampler elsewhere gives the GPU hours; null = neither is done."""


@dataclass
class StudyConfig:
    """One study: seeds × prompts of one model, and what is asked of the images."""

    name: str = "study"
    """Name of the study's folders: letters, digits, ``.``, ``_``, ``-``. The file's name where not given."""
    seeds: Any = "0:64"
    """``0:64`` (0 to 63), ``[3, 7, 469]``, or both joined by commas in quotes; 0 to 2^63-1, every seed once."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """A name in ``configs/models/``, or a mapping."""
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    shards: ShardsConfig = field(default_factory=ShardsConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    apply: ApplyConfig = field(default_factory=ApplyConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    dry_run: bool = False
    """Print the plan and touch nothing."""
    retry_failed: bool = False
    """Make the images again that failed."""
    repair: bool = False
    """Make damaged and missing shards again."""
    image: str | None = None
    """``classify`` only: the file of one picture; say which seed made it, and train nothing."""

    def __post_init__(self) -> None:
        _need(bool(_SAFE_NAME.fullmatch(self.name)), "name", self.name,
              "up to 100 letters, digits, '.', '_', '-', a letter or digit first", "choose another name=…")  # fmt: skip
        seeds = parse_seeds(self.seeds)
        if self.noise.generator_device == "cpu":
            check_distinct_noise(seeds)
        self.seeds = format_seeds(seeds)
        # copies: the sections given may be another study's, too
        self.shards = replace(self.shards, target_images=self.shards.target_images or _target_images(self.model))
        left_open = [key for key in _FROM_MODEL if getattr(self.sampler, key) is None]
        self.sampler = replace(self.sampler, **{key: getattr(self.model, key) for key in left_open})

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return parse_seeds(self.seeds)

    @property
    def shard_dir(self) -> Path:
        """Where the study's images are: ``<shards.root>/<name>``."""
        return Path(self.shards.root) / self.name

    @property
    def run_dir(self) -> Path:
        """Where the study's results are: ``<runs.root>/<name>``."""
        return Path(self.runs.root) / self.name


def _target_images(model: ModelConfig) -> int:
    """Images in a tar, from what the configuration alone says of their size: tiles must not depend on a machine."""
    if not (model.height and model.width):
        return TARGET_IMAGES
    return max(
        1, min(TARGET_IMAGES, int(TARGET_BYTES / (1.5 * model.height * model.width)))
    )  # a png, 1.5 bytes a pixel


def resolved(config: StudyConfig) -> dict[str, Any]:
    """The whole configuration as plain Python values that JSON, W&B and a Lightning checkpoint can hold."""
    return asdict(config)


def config_folders() -> list[Path]:
    """Where configurations are looked up by name: ./configs, the checkout's, the installed package's."""
    package = Path(__file__).resolve().parent
    checkout = [package.parent / "configs"] if (package.parent / "pyproject.toml").is_file() else []
    return [folder for folder in (Path("configs"), *checkout, package / "configs") if folder.is_dir()]


def _find(kind: str, name_or_path: str, sub_folder: str) -> Path:
    """The file of a configuration given by name (in ``configs/<sub_folder>``) or by path."""
    given = Path(name_or_path).expanduser()
    if given.suffix in (".yaml", ".yml") or given.name != name_or_path:
        if not given.is_file():
            remedy = "set a folder or hub id by model.path=…" if kind == "model" else "check the path"
            raise UserError(f"there is no {kind} {name_or_path}", given=name_or_path,
                            legal=f"{', '.join(_names(sub_folder))}, or the path of a YAML file",
                            remedy=remedy)  # fmt: skip
        return given
    found = [folder / sub_folder / f"{name_or_path}.yaml" for folder in config_folders()]
    existing = next((path for path in found if path.is_file()), None)
    if existing is None:
        raise unknown_name(kind, name_or_path, _names(sub_folder))
    return existing


def config_names() -> list[str]:
    """The studies that can be given by name."""
    return _names("")


def _names(sub_folder: str) -> list[str]:
    return sorted({path.stem for folder in config_folders() for path in (folder / sub_folder).glob("*.yaml")})


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """The study's configuration: schema <- YAML file <- command line.

    Args:
        name_or_path: a name in ``configs/``, or the path of a YAML file.
        overrides: words ``key=value``, the later one counts; ``model=sd2`` takes another model whole.

    Raises:
        UserError: an unknown name or key (with the nearest match), a bad type, a value out of range, no valid YAML.

    """
    path = _find("configuration", name_or_path, "")
    raw = {"name": path.stem, **read_yaml(path)}
    raw["model"] = _model(raw.get("model"))
    _check_keys(raw, StudyConfig, "")
    _find_beside(raw, path.parent)
    return config_from(raw, overrides)


def config_from(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> StudyConfig:
    """A configuration from plain values, for what is described elsewhere than in a YAML file: values <- command line.

    Args:
        values: as a YAML file would give them; ``model`` is a mapping.
        overrides: as for :func:`load_config`.

    Raises:
        UserError: as :func:`load_config`.

    """
    raw = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for word in overrides:
        key, text = split_override(word)
        value = _parse(key, text, _type_of(key))
        _set(raw, key, _model(value) if key == "model" else value)
        if key == "model.path" and not any(word.startswith("model.name=") for word in overrides):
            raw["model"]["name"] = ""  # another folder is another model: it is named after its path
        _check_keys(raw, StudyConfig, "")
    return _build(raw)


def named_model(name: str) -> ModelConfig | None:
    """The model of that name in ``configs/models/``; ``None`` where there is none: it may be a folder or a hub id.

    Raises:
        UserError: the file has an unknown key, or a value out of range.

    """
    return config_from({"model": _model(name)}).model if name in _names("models") else None


def _model(value: object) -> dict[str, Any]:
    """The mapping behind ``model``: a name in ``configs/models/``, a path of a YAML file, or a mapping."""
    if value is None or isinstance(value, str):
        path = _find("model", value or "seedling", "models")
        value = {"name": path.stem, **read_yaml(path)}
    if not isinstance(value, dict) or not value.get("path"):
        raise UserError("model.path is missing", given=value, legal="a folder, a hub id, or bundled:seedling",
                        remedy="name a model of configs/models/, or give model.path")  # fmt: skip
    return dict(value)


def _find_beside(raw: Mapping[str, Any], folder: Path) -> None:
    """Let ``prompts.file`` in a YAML file be relative to that file, where the current folder has no such file."""
    prompts = raw.get("prompts")
    given = prompts.get("file") if isinstance(prompts, dict) else None
    if isinstance(given, str) and not Path(given).exists() and (folder / given).is_file():
        prompts["file"] = str(folder / given)  # type: ignore[index]


def _parse(key: str, text: str, hint: Any) -> Any:
    """The value of ``key=text``. Text stays as it is where the schema wants text; the rest is read as YAML."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if str in kinds or key in ("seeds", "model"):
        if types.NoneType in kinds and text in ("", "null", "~"):
            return None
        if not (key == "model" and text.startswith("{")):
            return text
    return parse_yaml(text, f"the value of {key}")


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if raw.get(section) is None:
            raw[section] = {}
        raw = raw[section]
    raw[last] = value


def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _type_of(key: str) -> Any:
    """The type of a dotted key in the schema; ``Any`` inside a free mapping."""
    schema: Any = StudyConfig
    done = ""
    for part in key.split("."):
        if typing.get_origin(schema) is dict:
            return Any
        if not is_dataclass(schema):
            raise UserError(f"{done.rstrip('.')} has no keys of its own", given=key, legal=f"{done.rstrip('.')}=…",
                            remedy=f"set {done.rstrip('.')} itself")  # fmt: skip
        known = _hints(typing.cast("type", schema))
        if part not in known:
            raise unknown_name("key", f"{done}{part}", [f"{done}{name}" for name in known])
        schema = known[part]
        done += f"{part}."
    return schema


def _check_keys(raw: Mapping[str, Any], schema: type, prefix: str) -> None:
    """Refuse keys that the schema lacks, and values where it has a section."""
    hints = _hints(schema)
    for key, value in raw.items():
        if key not in hints:
            raise unknown_name("key", f"{prefix}{key}", [f"{prefix}{name}" for name in hints])
        if is_dataclass(hints[key]) and value is not None:
            if not isinstance(value, Mapping):
                legal = ", ".join(f"{prefix}{key}.{name}" for name in _hints(hints[key]))
                raise UserError(f"{prefix}{key} is a section", given=value, legal=legal,
                                remedy=f"set one of its keys, such as {legal.split(',')[0]}=…")  # fmt: skip
            _check_keys(value, hints[key], f"{prefix}{key}.")


def _build(raw: Mapping[str, Any]) -> StudyConfig:
    """Types by OmegaConf, then the checks of the dataclasses."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given = {key: value for key, value in raw.items() if not (value is None and key != "seeds")}
    base = OmegaConf.structured(StudyConfig)
    base.model.name, base.prompts.splits = "", {}  # else what is given would be added to what __post_init__ filled in
    try:
        merged = OmegaConf.merge(base, given)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise _explain(error, raw) from error
    assert isinstance(config, StudyConfig)
    return config


def _explain(error: Exception, raw: Mapping[str, Any]) -> UserError:
    """An OmegaConf error in one line: key, value given, legal values, remedy."""
    key = str(getattr(error, "full_key", None) or "configuration")
    reason = str(error).splitlines()[0]
    value: Any = raw
    for part in re.split(r"[.\[\]]+", key.rstrip("]")):
        value = value.get(part) if isinstance(value, Mapping) else value
    if value is raw:
        return UserError(f"the configuration cannot be read: {reason}", remedy="check the values of that kind")
    name = key.partition("[")[0]
    return UserError(
        f"{name}: {reason}", given=value, legal=_legal(_type_of(name)), remedy=f"set {name}=… to such a value"
    )


def _legal(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "null"}
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    origin = {list: "a list such as [a,b]", dict: "a mapping such as {a: 1}"}
    return " or ".join(words.get(kind) or origin.get(typing.get_origin(kind), "a value") for kind in kinds)
