"""Every trial method that ships keeps the contract of ``TrialMethod``."""

from __future__ import annotations

import pytest
from contracts.trial_method import check_trial_method

from reskill_agents.trials.anytime import AnytimeMethod
from reskill_agents.trials.discounted_beta import DiscountedBetaMethod
from reskill_agents.trials.method import TrialMethod
from reskill_agents.trials.paired import PairedMethod
from reskill_agents.trials.removal import RemovalMethod


@pytest.mark.parametrize(
    "kind", [PairedMethod, AnytimeMethod, DiscountedBetaMethod, RemovalMethod], ids=lambda kind: kind.__name__
)
def test_contract(kind: type[TrialMethod]) -> None:
    check_trial_method(kind, ends=kind is not AnytimeMethod)
