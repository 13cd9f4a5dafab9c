from __future__ import annotations

from typing import Any

from seedml.applications.artifact_rates import Verdict
from seedml.applications.inpainting_trial import worst_in_turn


def _rates(**values: float) -> dict[str, Any]:
    return {"seeds": [{"seed": int(name[1:]), "value": value} for name, value in values.items()]}


def test_the_sheet_begins_with_the_worst_of_each_artifact() -> None:
    figures = {
        "rates": {
            "removal": {"text": _rates(s1=0.0, s2=0.0, s3=0.0, s4=0.0)},
            "outpainting": {
                "text": _rates(s1=0.1, s2=0.7, s3=0.0, s4=0.9),
                "border": _rates(s1=1.0, s2=0.0, s3=0.8, s4=0.0),
            },
        }
    }
    verdict = Verdict(figures, use=(4,), avoid=(1, 3, 2, 5))
    assert worst_in_turn(verdict) == [2, 1, 3, 5]  # letters, frame, next frame, and who is in no list; 4 is not avoided
