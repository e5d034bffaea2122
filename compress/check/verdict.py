"""How an export ended: the words, and the rule about accuracy."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, EXPORT_FAILED, PARITY_FAILED, ACCURACY_FAILED, NOT_RUN = VERDICTS = (
    "passed",
    "export_failed",
    "parity_failed",
    "accuracy_failed",
    "not_run",
)


@dataclass(frozen=True)
class Verdict:
    """Of one format; only what `passed` is put in place."""

    status: str
    reasons: tuple[str, ...] = ()


def judge_loss(label: str, lost_mm: float, max_drop_mm: float) -> Verdict:
    """From the MPJPE lost against the fp32 file; nan fails."""
    if not lost_mm <= max_drop_mm:
        lost = f"{label} loses {lost_mm:.3f} mm MPJPE, more than --max-drop-mm {max_drop_mm}"
        return Verdict(ACCURACY_FAILED, (lost,))
    return Verdict(PASSED)
