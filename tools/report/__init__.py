"""What one compilation did: facts, the summary that is printed, the JSON and the page of ``--report``.

    report = geoc.compile("bert.onnx", "out.onnx", report="report.html")
    print(report.summary())
"""

from .facts import (
    CHECKED,
    NOT_CHECKED,
    WRONG,
    Accuracy,
    Device,
    Fired,
    GraphSize,
    Refusal,
    Repair,
    Score,
    Speed,
    Stays,
    group_refusals,
    megabytes,
)
from .report import SCHEMA, Report

__all__ = [
    "CHECKED", "NOT_CHECKED", "SCHEMA", "WRONG", "Accuracy", "Device", "Fired", "GraphSize", "Refusal", "Repair",
    "Report", "Score", "Speed", "Stays", "group_refusals", "megabytes",
]  # fmt: skip
