"""Version trials: does the new library beat the old one? Usable without any trainer."""

from __future__ import annotations

from reskill_agents.trials.arm import Arm
from reskill_agents.trials.facts import TrialFact, to_json_line
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.verdict import PerArm, Posterior, Rule, TrialMethodName, Verdict, VerdictOutcome
from reskill_agents.trials.version_trial import VersionTrial

__all__ = [
    "Arm",
    "PerArm",
    "Posterior",
    "Rule",
    "TrialFact",
    "TrialHistory",
    "TrialMethodName",
    "Verdict",
    "VerdictOutcome",
    "VersionTrial",
    "to_json_line",
]
