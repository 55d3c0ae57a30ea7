"""Torn or foreign states fail with a reason and as our error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.trials import Arm, PruningScreen, TrialHistory, VersionTrial


def trial_state() -> dict[str, object]:
    trial = VersionTrial("old", "new")
    trial.record_step([[(Arm.CANDIDATE, 1.0), (Arm.INCUMBENT, 0.5)]])
    return trial.to_state()


READERS: list[tuple[Callable[[Mapping[str, object]], object], Callable[[], dict[str, object]]]] = [
    (VersionTrial.from_state, trial_state),
    (TrialHistory.from_state, lambda: TrialHistory().to_state()),
    (PruningScreen.from_state, lambda: PruningScreen(["one"]).to_state()),
]


@pytest.mark.parametrize(("read", "make"), READERS, ids=["trial", "history", "screen"])
def test_every_missing_or_wrong_field_is_our_error(
    read: Callable[[Mapping[str, object]], object], make: Callable[[], dict[str, object]]
) -> None:
    read(make())
    for name in make():
        torn = make()
        del torn[name]
        with pytest.raises(TrialError, match="not the state"):
            read(torn)
        if name in ("incumbent", "candidate", "trial_id"):
            continue  # any text will do
        with pytest.raises(TrialError):
            read({**make(), name: object()})


def test_unknown_methods_are_named_with_the_known_ones() -> None:
    with pytest.raises(TrialError, match="paired, discounted_beta, removal"):
        VersionTrial("old", "new", method="majority")


def test_an_undecided_trial_is_no_history() -> None:
    with pytest.raises(TrialError, match="no verdict"):
        VersionTrial("old", "new").finished()


@pytest.mark.parametrize("method", ["paired", "discounted_beta", "removal"])
def test_from_the_state_every_method_goes_on_as_before(method: str) -> None:
    trial = VersionTrial("old", "new", method=method)
    trial.record_step([[(arm, 0.25 * place) for place, arm in enumerate(trial.assign(4))]])
    twin = VersionTrial.from_state(trial.to_state())
    assert twin.posterior() == trial.posterior()
    assert [twin.assign(8) for _ in range(3)] == [trial.assign(8) for _ in range(3)]
