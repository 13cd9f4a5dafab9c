"""What the doctor finds: one thing a study needs, whether it is here, and what mends it. Looks at nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seedml.errors import UserError

OK, NOTE, MISSING = "ok", "note", "MISSING"
"""Here; not here, but the study can run; the study cannot run."""


@dataclass(frozen=True)
class Finding:
    """One thing that a study needs."""

    subject: str
    """In a word or two."""
    state: str
    """:data:`OK`, :data:`NOTE` or :data:`MISSING`."""
    detail: str
    remedy: str = ""
    """A command, or what to change."""

    def lines(self, width: int) -> list[str]:
        """For people: what it is, and below it what mends it."""
        first = f"{self.state:<8}{self.subject:<{width}}  {self.detail}"
        return [first, f"{'':<{8 + width}}  -> {self.remedy}"] if self.remedy else [first]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def text_of(findings: Sequence[Finding]) -> str:
    """The whole report, one or two lines a finding, and what it comes to."""
    width = max(len(finding.subject) for finding in findings)
    lines = [line for finding in findings for line in finding.lines(width)]
    missing = [finding.subject for finding in findings if finding.state == MISSING]
    verdict = f"the study cannot run yet: {', '.join(missing)}" if missing else "the study can run"
    return "\n".join([*lines, verdict])


def can_run(findings: Sequence[Finding]) -> bool:
    """Whether nothing that the study needs is missing."""
    return all(finding.state != MISSING for finding in findings)


def checked(subject: str, check: Callable[[], str], state: str = MISSING) -> Finding:
    """What a check says that raises :class:`UserError` where something is missing.

    Args:
        subject: of the finding.
        check: gives the detail where all is well.
        state: of the finding where it is not.

    """
    try:
        return Finding(subject, OK, check())
    except UserError as error:
        return of_error(subject, error, state)


def of_error(subject: str, error: UserError, state: str = MISSING, remedy: str = "") -> Finding:
    """A user error as a finding: its remedy in a line of its own."""
    what, _, told = str(error).partition("; remedy: ")
    return Finding(subject, state, what, remedy or told)
