"""Advantages by name."""

from __future__ import annotations

from reskill_agents.trainers.advantages import (
    Advantage,
    group_normalised,
    group_normalised_whitened,
    leave_one_out,
    per_arm,
)
from reskill_agents.trainers.config import AdvantageName
from reskill_agents.trainers.effect_adjusted import EffectAdjusted


def advantage_named(name: AdvantageName) -> Advantage:
    """The advantage of that name; a fresh one where it learns."""
    match name:
        case AdvantageName.LEAVE_ONE_OUT:
            return leave_one_out
        case AdvantageName.EFFECT_ADJUSTED:
            return EffectAdjusted()
        case AdvantageName.PER_ARM:
            return per_arm
        case AdvantageName.GROUP_NORMALISED:
            return group_normalised
        case AdvantageName.WHITENED:
            return group_normalised_whitened
