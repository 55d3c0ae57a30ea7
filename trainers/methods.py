"""What each method does differently; everything else is the same code with the same rollouts."""

from __future__ import annotations

from dataclasses import dataclass

from reskill_agents.graphs.creator_state import TriggerGate
from reskill_agents.methods import Method
from reskill_agents.trainers.advantages import Advantage, group_normalised_whitened, leave_one_out
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.progress import TrialPurpose
from reskill_agents.trials import TrialHistory, TrialMethodName
from reskill_agents.trials.boundary import Triangle
from reskill_agents.trials.method import TrialMethod
from reskill_agents.trials.method_names import method_for
from reskill_agents.trials.removal import WORTH, RemovalMethod


@dataclass(frozen=True, slots=True)
class MethodTraits:
    """A method as settings of the loop.

    Args:
        creates: skills are written at all.
        tried: proposals go on trial; else they are adopted untested.
        rule: of the trials.
        once: the first proposal is the last.
        validation_rounds: the creator reads rounds on held-out train tasks (not trained on) instead of the reservoir.
        prunes: skills are removed on evidence.
        remembers: successful episodes of similar tasks are shown (:mod:`~reskill_agents.trainers.episode_memory`).
        advantage: of the update.
        gate: what the creator asks of triggers.
    """

    creates: bool
    tried: bool
    rule: TrialMethodName
    once: bool = False
    validation_rounds: bool = False
    prunes: bool = False
    remembers: bool = False
    advantage: Advantage = leave_one_out
    gate: TriggerGate = TriggerGate.PRECISE


def traits_of(config: RunConfig) -> MethodTraits:
    """The traits of the run's method."""
    rule = config.trial.rule
    match config.method:
        case Method.RESKILL:
            prunes = config.pruning.enabled and config.tried
            return MethodTraits(creates=True, tried=config.tried, rule=rule, prunes=prunes)
        case Method.RESKILL_PAPER:
            return MethodTraits(
                creates=True,
                tried=config.tried,
                rule=TrialMethodName.DISCOUNTED_BETA,
                advantage=group_normalised_whitened,
                gate=TriggerGate.PAPER,
            )
        case Method.GRPO:
            return MethodTraits(creates=False, tried=False, rule=rule)
        case Method.STATIC:
            return MethodTraits(creates=True, tried=False, rule=rule, once=True)
        case Method.DECOUPLED:
            return MethodTraits(creates=True, tried=False, rule=rule, validation_rounds=True)
        case Method.MEMORY:
            return MethodTraits(creates=False, tried=False, rule=rule, remembers=True)


def trial_method(config: RunConfig, purpose: TrialPurpose, history: TrialHistory) -> TrialMethod:
    """How a trial of that purpose weighs its evidence, with what the finished trials taught."""
    if purpose is TrialPurpose.PRUNING:
        return RemovalMethod(Triangle(effect=WORTH, max_steps=config.trial.max_steps))
    boundary = Triangle(effect=config.trial.effect, max_steps=config.trial.max_steps)
    known = history if config.trial.discount else TrialHistory()
    return method_for(traits_of(config).rule, known, boundary=boundary)
