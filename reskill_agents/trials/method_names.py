"""From a method's name to a method ready for one trial."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.errors import TrialError
from reskill_agents.trials.anytime import AnytimeMethod
from reskill_agents.trials.boundary import Triangle
from reskill_agents.trials.discounted_beta import DiscountedBetaMethod
from reskill_agents.trials.history import TrialHistory
from reskill_agents.trials.method import TrialMethod
from reskill_agents.trials.paired import PairedMethod
from reskill_agents.trials.removal import RemovalMethod
from reskill_agents.trials.verdict import Guarantee, TrialMethodName


def method_for(
    name: str, history: TrialHistory, guarantee: Guarantee = Guarantee.STEPS, *, boundary: Triangle | None = None
) -> TrialMethod:
    """A fresh method with what the finished trials taught.

    Args:
        name: a ``TrialMethodName``.
        history: the finished trials of the run.
        guarantee: what the error rate of ``paired`` covers.
        boundary: of ``paired``; default: effect 0.31, at most 12 steps.

    Raises:
        TrialError: for an unknown name, or a guarantee the method does not give.
    """
    known = _known(name)
    if guarantee is Guarantee.ANYTIME and known is not TrialMethodName.PAIRED:
        raise TrialError(f"guarantee 'anytime' goes with method 'paired', not {name!r}")
    match known:
        case TrialMethodName.PAIRED:
            kind = AnytimeMethod if guarantee is Guarantee.ANYTIME else PairedMethod
            return kind(boundary or Triangle(), history.forgetting(), history.turns_after())
        case TrialMethodName.DISCOUNTED_BETA:
            return DiscountedBetaMethod(memory=history.memory())
        case TrialMethodName.REMOVAL:
            return RemovalMethod()


def method_from_settings(name: str, settings: Mapping[str, object]) -> TrialMethod:
    """A fresh method with the settings of an earlier one (``TrialMethod.settings``)."""
    match _known(name):
        case TrialMethodName.PAIRED:
            kind = AnytimeMethod if settings.get("guarantee") == Guarantee.ANYTIME else PairedMethod
            return kind.from_settings(settings)
        case TrialMethodName.DISCOUNTED_BETA:
            return DiscountedBetaMethod.from_settings(settings)
        case TrialMethodName.REMOVAL:
            return RemovalMethod.from_settings(settings)


def _known(name: str) -> TrialMethodName:
    try:
        return TrialMethodName(name)
    except ValueError:
        raise TrialError(f"unknown trial method {name!r}; one of: {', '.join(TrialMethodName)}") from None
