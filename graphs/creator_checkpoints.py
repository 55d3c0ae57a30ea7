"""Which types a checkpoint of the creator may bring back: those its state is made of, and nothing else."""

from __future__ import annotations

import inspect
from types import ModuleType

from reskill_agents import (
    directives,
    episodes,
    induction,
    induction_advice,
    induction_templates,
    library,
    skill,
    trigger,
)
from reskill_agents.assertions import assertion, checks
from reskill_agents.graphs import creator_state

_MODULES: tuple[ModuleType, ...] = (
    assertion,
    checks,
    creator_state,
    directives,
    episodes,
    induction,
    induction_advice,
    induction_templates,
    library,
    skill,
    trigger,
)


def state_types() -> tuple[tuple[str, str], ...]:
    """Module and name of every class of the modules that :class:`CreatorState` is built from."""
    return tuple(
        (module.__name__, name)
        for module in _MODULES
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
    )
