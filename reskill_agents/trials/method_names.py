"""From a method's name to a method ready for one trial."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.errors import TrialError
from reskill_agents.trials.discounted_beta import DiscountedBetaMethod
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.method import TrialMethod
from reskill_agents.trials.paired import PairedMethod
from reskill_agents.trials.verdict import TrialMethodName


def method_for(name: str, history: TrialHistory) -> TrialMethod:
    """A fresh method with what the finished trials taught.

    Raises:
        TrialError: for an unknown name.
    """
    match _known(name):
        case TrialMethodName.PAIRED:
            return PairedMethod(forgetting=history.forgetting())
        case TrialMethodName.DISCOUNTED_BETA:
            return DiscountedBetaMethod(memory=history.memory())


def method_from_settings(name: str, settings: Mapping[str, object]) -> TrialMethod:
    """A fresh method with the settings of an earlier one (``TrialMethod.settings``)."""
    match _known(name):
        case TrialMethodName.PAIRED:
            return PairedMethod.from_settings(settings)
        case TrialMethodName.DISCOUNTED_BETA:
            return DiscountedBetaMethod.from_settings(settings)


def _known(name: str) -> TrialMethodName:
    try:
        return TrialMethodName(name)
    except ValueError:
        raise TrialError(f"unknown trial method {name!r}; one of: {', '.join(TrialMethodName)}") from None
