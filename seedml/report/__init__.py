"""The study as one self-contained page."""

from seedml.report.page import write_report

__all__ = ["write_report"]
