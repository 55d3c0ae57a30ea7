"""Version trials: does the new library beat the old one? Usable without any trainer."""

from __future__ import annotations

from reskill_agents.trials.arm import Arm
from reskill_agents.trials.challengers import Challenger, ChallengerQueue
from reskill_agents.trials.facts import TrialFact, to_json_line
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.pruning import PruningScreen, ScreenedRollout, SkillEffect, confirming_trial
from reskill_agents.trials.units import UnitAssignment, UnitOutcome
from reskill_agents.trials.verdict import Guarantee, PerArm, Posterior, Rule, TrialMethodName, Verdict, VerdictOutcome
from reskill_agents.trials.version_trial import VersionTrial

__all__ = [
    "Arm",
    "Challenger",
    "ChallengerQueue",
    "Guarantee",
    "PerArm",
    "Posterior",
    "PruningScreen",
    "Rule",
    "ScreenedRollout",
    "SkillEffect",
    "TrialFact",
    "TrialHistory",
    "TrialMethodName",
    "UnitAssignment",
    "UnitOutcome",
    "Verdict",
    "VerdictOutcome",
    "VersionTrial",
    "confirming_trial",
    "to_json_line",
]
