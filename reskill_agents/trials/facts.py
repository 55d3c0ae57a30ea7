"""Every trial as facts: frozen records that become the lines of ``trials.jsonl``.

``VersionTrial.facts()`` lists them in order: one ``opened``, one ``step`` per recorded step, one ``verdict`` at
the end. As JSON (``to_json_line``) each is an object with its fields, ``fact`` naming the kind; pairs become lists of
[incumbent, candidate], enums their values, infinities ``null``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from reskill_agents.trials.verdict import Posterior, Verdict


@dataclass(frozen=True, slots=True)
class TrialOpened:
    """A trial began. ``aa``: both arms carry the same library."""

    trial: str
    method: str
    incumbent: str
    candidate: str
    seed: int
    aa: bool
    fact: Literal["opened"] = "opened"


@dataclass(frozen=True, slots=True)
class TrialStep:
    """One recorded step (1-based) and the belief after it; counts, means and missing are (incumbent, candidate)."""

    trial: str
    step: int
    groups: int
    informative: int
    episodes: tuple[int, int]
    missing: tuple[int, int]
    means: tuple[float | None, float | None]
    score: float
    information: float
    posterior: Posterior
    fact: Literal["step"] = "step"


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """How the trial ended."""

    trial: str
    verdict: Verdict
    fact: Literal["verdict"] = "verdict"


TrialFact = TrialOpened | TrialStep | TrialVerdict


def to_json_line(fact: TrialFact) -> str:
    """One line of JSON without a line end; infinities become null."""
    return json.dumps(_finite(asdict(fact)), sort_keys=True, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float) and not -1e300 < value < 1e300:
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
