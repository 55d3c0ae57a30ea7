"""The methods that can be compared, one enum everywhere."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """How skills and weights are learned.

    ``reskill``: created, tried inside the groups, adopted on paired evidence, pruned.
    ``reskill-paper``: the paper's rule, whitening and trigger gate.
    ``grpo``: no skills at all.
    ``static``: the skills of the first creation round, never changed, untested.
    ``decoupled``: new skills from validation failures, adopted untested.
    ``memory``: no skills; successful past episodes of similar tasks are shown, by learned utility.
    """

    RESKILL = "reskill"
    RESKILL_PAPER = "reskill-paper"
    GRPO = "grpo"
    STATIC = "static"
    DECOUPLED = "decoupled"
    MEMORY = "memory"
