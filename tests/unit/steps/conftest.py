"""One small study of rendered scenes, measured, summarised and selected once for all tests of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rendered_study import plant_scenes, random_parser, study_config

from seedml.config import StudyConfig
from seedml.measurement import measure
from seedml.selection import select
from seedml.summarize import summarize
from seedml.tracking import NullTracker

FAILED = (3, 2)
"""The cell without an image."""


@pytest.fixture(scope="session")
def _parser() -> Iterator[None]:
    """A parser that learned nothing takes the place of the trained one: steps are tested, not weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedml.models.bundled.parser.load_parser", lambda *_args, **_kwargs: random_parser())
        yield


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """Shards of 8 seeds × 24 prompts; seeds decide 80 % of the pictures' layout; one image failed."""
    config = study_config(tmp_path_factory.mktemp("rendered"), "0:8", 24)
    plant_scenes(config, grip=0.8, failed=[FAILED])
    return config


@pytest.fixture(scope="session")
def finished(planted: StudyConfig, _parser: None) -> StudyConfig:
    """The same with the three steps done."""
    for step in (measure, summarize, select):
        step(planted, NullTracker())
    return planted


@pytest.fixture
def fresh(planted: StudyConfig, _parser: None, tmp_path: Path) -> StudyConfig:
    """The same shards with an empty run folder."""
    config = study_config(Path(planted.shards.root).parent, "0:8", 24)
    config.runs.root = str(tmp_path)
    return config
