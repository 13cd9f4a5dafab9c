from __future__ import annotations

from pathlib import Path

from seedml.provenance import made_from, record_inputs


def test_results_are_made_from_just_the_inputs_that_were_recorded(tmp_path: Path) -> None:
    assert not made_from(tmp_path, "measure", {})
    record_inputs(tmp_path, "measure", {"a.tar": "1", "b.tar": "2"})
    assert made_from(tmp_path, "measure", {"b.tar": "2", "a.tar": "1"})
    assert not made_from(tmp_path, "measure", {"a.tar": "1", "b.tar": "3"})
    assert not made_from(tmp_path, "measure", {"a.tar": "1"})
    assert not made_from(tmp_path, "summarize", {"a.tar": "1", "b.tar": "2"})
