"""The schema and how a configuration comes together: schema <- YAML <- command line."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

import pytest

from seedml.config import (
    ClassifierConfig,
    ModelConfig,
    PromptsConfig,
    SamplerConfig,
    ShardsConfig,
    StudyConfig,
    config_folders,
    config_names,
    load_config,
    resolved,
)
from seedml.errors import UserError

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are found from any current folder."""
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def sections(schema: type = StudyConfig) -> dict[str, type]:
    return {name: hint for name, hint in typing.get_type_hints(schema).items() if dataclasses.is_dataclass(hint)}


def test_every_shipped_configuration_loads() -> None:
    assert {"quickstart", "smoke"} <= set(config_names())
    for name in config_names():
        assert load_config(name).name == name
    for path in (CHECKOUT / "configs" / "models").glob("*.yaml"):
        assert load_config("smoke", [f"model={path.stem}"]).model.name == path.stem


def test_quickstart_is_as_large_as_promised() -> None:
    config = load_config("quickstart")
    assert len(config.seed_list) >= 64
    assert config.prompts.limit is not None
    assert config.prompts.limit >= 160


def test_every_field_has_a_docstring() -> None:
    source = (CHECKOUT / "seedml" / "config.py").read_text().splitlines()
    for schema in (StudyConfig, *sections().values()):
        start = next(i for i, line in enumerate(source) if line.startswith(f"class {schema.__name__}"))
        for field in dataclasses.fields(schema):
            if field.name in sections() and field.name != "model":
                continue  # a section's own class says what it is
            line = next(i for i in range(start, len(source)) if source[i].startswith(f"    {field.name}: "))
            block = "\n".join(source[line + 1 : line + 4])
            assert '    """' in block, f"{schema.__name__}.{field.name} has no docstring"


def test_yaml_overrides_schema_and_command_line_overrides_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "sampler: {steps: 3, batch_size: 5}\nstatistics: {confidence: 9e-1}")
    config = load_config(path, ["sampler.steps=4", "sampler.steps=6"])
    assert config.name == "mine"
    assert (config.sampler.steps, config.sampler.batch_size) == (6, 5)
    assert config.statistics.confidence == 0.9
    assert config.classifier == ClassifierConfig()


def test_resolved_is_plain_json_and_rebuilds_the_same_study(tmp_path: Path) -> None:
    config = load_config("smoke", ["seeds=[9,3,4]", "model.scheduler_options.eta=0.5"])
    plain = resolved(config)
    assert json.loads(json.dumps(plain)) == plain
    assert load_config(write(tmp_path, json.dumps(plain))) == config


def test_seeds_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    for text in ("seeds: 0:3", "seeds: [2, 0, 1]", "seeds: '0,1:3'", "seeds: [0:2, 2]", "seeds: '[0,1],2'"):
        config = load_config(write(tmp_path, text))
        assert config.seed_list == (0, 1, 2)
        assert resolved(config)["seeds"] == "0:3"
    for word in ("seeds=0:3", "seeds=[0,1,2]", "seeds=0:2,2"):
        assert load_config("smoke", [word]).seeds == "0:3"
    assert load_config(write(tmp_path, "seeds: 0:32")).seed_list == tuple(range(32))  # YAML 1.1 reads 32
    assert load_config(write(tmp_path, "seeds: 7")).seed_list == (7,)


def test_a_named_model_and_changes_to_it() -> None:
    config = load_config("smoke", ["model=sdxl_turbo", "model.steps=2", "sampler.steps=null"])
    assert config.model.path == "stabilityai/sdxl-turbo"
    assert (config.model.steps, config.sampler.steps, config.sampler.guidance_scale) == (2, 2, 0.0)
    assert config.sampler.dtype == "float16"


def test_another_model_replaces_the_first_one_whole() -> None:
    config = load_config("smoke", ["model.scheduler_options={a: 1}", "model=sd2"])
    assert config.model == load_config("smoke", ["model=sd2"]).model


def test_sections_that_are_passed_in_stay_as_they_were() -> None:
    given = {"model": ModelConfig(path="/a/large/net", steps=3, height=2048, width=2048), "sampler": SamplerConfig(),
             "shards": ShardsConfig()}  # fmt: skip
    before = {name: dataclasses.asdict(section) for name, section in given.items()}
    large = StudyConfig(**given)
    assert {name: dataclasses.asdict(section) for name, section in given.items()} == before
    assert (large.sampler.steps, large.shards.target_images) == (3, 39)
    other = dataclasses.replace(given["model"], steps=9, height=8, width=8)
    small = StudyConfig(model=other, sampler=given["sampler"], shards=given["shards"])
    assert (small.sampler.steps, small.shards.target_images) == (9, 1000)
    assert (large.sampler.steps, large.shards.target_images) == (3, 39)


def test_a_model_as_a_mapping(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {path: /a/folder, steps: 1, guidance_scale: 0}")
    model = load_config(path).model
    assert model == ModelConfig(name="folder", path="/a/folder", steps=1, guidance_scale=0.0)
    assert (model.height, model.width) == (None, None)
    assert load_config("smoke", ["model={path: /a/folder, steps: 1, guidance_scale: 0}"]).model == model


def test_a_path_on_top_of_a_named_model_gives_a_name_of_its_own() -> None:
    assert load_config("smoke", ["model.path=/my/net/"]).model.name == "net"
    assert load_config("smoke", ["model.name=x", "model.path=/my/net"]).model.name == "x"
    assert load_config("smoke", ["model.path=/my/net"]).model.height == 128


def test_the_sampler_takes_the_models_values_where_it_has_none() -> None:
    config = load_config("smoke", ["sampler.steps=null", "sampler.guidance_scale=0", "model.steps=9"])
    assert (config.sampler.steps, config.sampler.guidance_scale) == (9, 0.0)


def test_text_stays_text(tmp_path: Path) -> None:
    words = [
        "name=007",
        "model.revision=1e5",
        "tracking.entity=yes",
        "prompts.file=a: b #1.txt",
        "trainer.precision=32",
    ]
    config = load_config("smoke", words)
    assert config.name == "007"
    assert config.model.revision == "1e5"
    assert config.tracking.entity == "yes"
    assert config.prompts.file == "a: b #1.txt"
    assert config.trainer.precision == "32"


def test_null_is_none() -> None:
    for text in ("null", "", "~"):
        assert load_config("smoke", [f"model.scheduler={text}", f"sampler.scheduler={text}"]).sampler.scheduler is None
    assert load_config("smoke", ["prompts.limit=null"]).prompts.limit is None


def test_lists_and_mappings_on_the_command_line() -> None:
    config = load_config("smoke", [
        "measure.attributes=[sky,border]", "prompts.splits={train: 8, test: 4}", "prompts.splits.val=2",
        "model.scheduler_options.timestep_spacing=trailing", "noise.step_seed=3", "dry_run=true",
    ])  # fmt: skip
    assert config.measure.attributes == ["sky", "border"]
    assert config.prompts.splits == {"train": 8, "val": 2, "test": 4}
    assert config.model.scheduler_options == {"timestep_spacing": "trailing"}
    assert config.noise.step_seed == 3
    assert config.dry_run is True


def test_a_file_of_prompts_replaces_the_set() -> None:
    config = load_config("smoke", ["prompts.file=mine.txt"])
    assert (config.prompts.file, config.prompts.set) == ("mine.txt", None)
    assert PromptsConfig().set == "scenes"


def test_a_prompt_file_beside_the_configuration(tmp_path: Path) -> None:
    path = write(tmp_path / "deep", "prompts: {file: p.txt}")
    assert load_config(path).prompts.file == "p.txt"  # absent in both: reported as written, when it is read
    (tmp_path / "deep" / "p.txt").write_text("a")
    assert load_config(path).prompts.file == str(tmp_path / "deep" / "p.txt")
    (tmp_path / "p.txt").write_text("a")
    assert load_config(path).prompts.file == "p.txt"  # the current folder comes first


def test_folders_of_configurations(tmp_path: Path) -> None:
    assert CHECKOUT / "configs" in config_folders()
    write(tmp_path / "configs", "seeds: 0:2", "own.yaml")
    assert load_config("own").seed_list == (0, 1)
    assert "own" in config_names()


def test_an_empty_section_is_the_default(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "sampler:\nprompts:\n")).sampler.batch_size == 32


def test_paths() -> None:
    config = load_config("smoke", ["name=x", "shards.root=/data", "runs.root=out"])
    assert (config.shard_dir, config.run_dir) == (Path("/data/x"), Path("out/x"))


def test_default_factories_are_not_shared() -> None:
    StudyConfig().measure.attributes.append("x")
    assert "x" not in StudyConfig().measure.attributes


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sampler.stepz=3"], ["sampler.stepz", "did you mean 'sampler.steps'"]),
        (["sampel.steps=3"], ["'sampel'", "did you mean 'sampler'"]),
        (["sampler=5"], ["sampler is a section", "sampler.batch_size"]),
        (["name.x=5"], ["name has no keys"]),
        (["sampler.steps=x"], ["sampler.steps", "given: 'x'", "whole number"]),
        (["sampler.steps=3.5"], ["sampler.steps", "3.5"]),
        (["sampler.steps=0"], ["sampler.steps", "given: 0", "from 1"]),
        (["sampler.batch_size=null"], ["sampler.batch_size", "whole number"]),
        (["sampler.guidance_scale=nan"], ["sampler.guidance_scale", "nan"]),
        (["sampler.guidance_scale=-1"], ["sampler.guidance_scale", "-1"]),
        (["sampler.guidance_scale=.inf"], ["sampler.guidance_scale", "inf"]),
        (["sampler.dtype=float23"], ["sampler.dtype", "did you mean 'float32'"]),
        (["sampler.scheduler=ddim"], ["sampler.scheduler", "DDIMScheduler"]),
        (["seeds=-1"], ["seeds", "-1", "9223372036854775807"]),
        (["seeds=9223372036854775808"], ["seeds", "9223372036854775808"]),
        (["seeds=0:4,3"], ["seeds", "seed 3 twice"]),
        (["seeds=null"], ["seeds"]),
        (["seeds=[0,4294967296]"], ["seeds", "4294967296", "32 bits"]),
        (["noise.initial_seed=-3"], ["noise.initial_seed", "-3"]),
        (["noise.generator_device=gpu"], ["noise.generator_device", "cpu, cuda"]),
        (["model=sdxl_turob"], ["model", "did you mean 'sdxl_turbo'"]),
        (["model=/no/such/folder"], ["/no/such/folder", "model.path="]),
        (["model={steps: 3}"], ["model.path is missing"]),
        (["model.height=100"], ["model.height", "100", "multiple of 8"]),
        (["model.path="], ["model.path"]),
        (["prompts.set=coco"], ["prompts.set", "scenes"]),
        (["prompts.limit=0"], ["prompts.limit", "0"]),
        (["prompts.splits={trian: 3}"], ["prompts.splits", "trian", "did you mean 'train'"]),
        (["prompts.splits={train: 3, test: 0.5}"], ["prompts.splits", "all as shares"]),
        (["prompts.splits={train: 0.9, test: 0.2}"], ["prompts.splits", "lower the shares"]),
        (["prompts.splits={train: -1}"], ["prompts.splits.train", "-1"]),
        (["prompts.splits={train: many}"], ["prompts.splits.train", "many"]),
        (["prompts.splits={train: true}"], ["prompts.splits.train", "True"]),
        (["prompts.splits={train: 0}"], ["prompts.splits"]),
        (["prompts.splits=7"], ["prompts.splits", "7", "mapping"]),
        (["measure.attributes=sky"], ["measure.attributes", "[a,b]"]),
        (["measure.attributes=[sky,sky]"], ["measure.attributes", "sky", "once"]),
        (["shards.format=bmp"], ["shards.format", "jpg, png, webp"]),
        (["shards.tile_seeds=0"], ["shards.tile_seeds"]),
        (["shards.root="], ["shards.root"]),
        (["name=../up"], ["name", "../up"]),
        (["name="], ["name"]),
        (["name=a/b"], ["name", "a/b"]),
        (["trainer.accelerator=gpuu"], ["trainer.accelerator", "did you mean 'gpu'"]),
        (["trainer.devices=0"], ["trainer.devices", "0"]),
        (["trainer.precision=8"], ["trainer.precision", "8"]),
        (["tracking.mode=onlin"], ["tracking.mode", "did you mean 'online'"]),
        (["statistics.confidence=1"], ["statistics.confidence"]),
        (["statistics.blocks=1"], ["statistics.blocks", "from 2"]),
        (["dry_run=perhaps"], ["dry_run", "perhaps", "true or false"]),
        (["name=${nothing}"], ["name", "nothing"]),
        (["name=${"], ["name"]),
        (["prompts.splits={train: [}"], ["prompts.splits", "YAML"]),
    ],
)
def test_mistakes_name_key_value_and_remedy(words: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        load_config("smoke", words)
    message = str(error.value)
    assert "\n" not in message
    assert "remedy: " in message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("sampler: {stepz: 3}", "did you mean 'sampler.steps'"),
        ("sampel: {steps: 3}", "did you mean 'sampler'"),
        ("sampler: [1]", "sampler is a section"),
        ("seeds: {a: 1}", "seeds"),
        ("seeds: [1, [2]]", "seeds"),
        ("model: [1]", "model.path is missing"),
        ("measure: {attributes: [sky, null]}", "measure.attributes"),
        ("seeds: 0:4\nseeds: 0:8", "twice"),
        ("prompts: [" + "a," * 10_000 + "]", "prompts.file"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path, text))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [("quikstart", "did you mean 'quickstart'"), ("zzz", "quickstart, smoke"), ("./none.yaml", "check the path"),
     ("none.yaml", "check the path"), ("a/b", "quickstart, smoke")],
)  # fmt: skip
def test_unknown_configuration(name: str, part: str) -> None:
    with pytest.raises(UserError, match="configuration") as error:
        load_config(name)
    assert part in str(error.value)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(("side", "images"), [(None, 1000), (128, 1000), (512, 635), (1024, 158), (8192, 2)])
def test_a_tar_holds_a_thousand_images_or_250_megabytes(side: int | None, images: int) -> None:
    size = {"height": side, "width": side}
    config = StudyConfig(model=ModelConfig(path="/some/model", **size))
    assert config.shards.target_images == images
    assert images == 1000 or images * 1.5 * side**2 <= 250e6 < (images + 1) * 1.5 * side**2
    explicit = StudyConfig(model=ModelConfig(path="/some/model", **size), shards=ShardsConfig(target_images=7))
    assert explicit.shards.target_images == 7
