"""Pruning: blocked masks, effects of all skills at once, the weakest, its confirming trial."""

from __future__ import annotations

import json
from random import Random

import pytest

from reskill_agents.errors import TrialError
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trials import Arm, PruningScreen, ScreenedRollout, VersionTrial, confirming_trial
from reskill_agents.trials.linear import Moments

NAMES = ("good", "idle", "bad", "rare")
WORTH = {"good": 0.2, "idle": 0.0, "bad": -0.15, "rare": 0.6}


def play(dropped: frozenset[str], rare: bool, rng: Random) -> ScreenedRollout:
    fired = frozenset(NAMES) - dropped - (frozenset() if rare else {"rare"})
    mean = 0.35 + sum(WORTH[name] for name in fired if name != "rare") - 0.3 * (rare and "rare" in dropped)
    return ScreenedRollout(dropped, fired, min(max(rng.gauss(mean, 0.15), 0.0), 1.0))


def screened(steps: int, seed: int = 0, rare_share: float = 0.05) -> PruningScreen:
    rng = Random(seed)
    screen = PruningScreen(NAMES, seed)
    for _ in range(steps):
        groups = []
        for _ in range(16):
            rare = rng.random() < rare_share
            groups.append([play(dropped, rare, rng) for dropped in screen.masks(8)])
        screen.record_step(groups)
    return screen


@pytest.mark.parametrize(("size", "counts"), [(8, {2}), (4, {1}), (6, {1, 2}), (2, {0, 1}), (1, {0, 1})])
def test_each_skill_is_dropped_in_a_quarter_of_every_group(size: int, counts: set[int]) -> None:
    screen = PruningScreen(NAMES, 1)
    seen = set()
    for _ in range(50):
        masks = screen.masks(size)
        assert len(masks) == size
        seen |= {sum(name in mask for mask in masks) for name in NAMES}
    assert seen == counts


def test_least_squares_by_hand() -> None:
    moments = Moments(1)
    moments.add_group([[0.0], [0.0], [1.0], [1.0]], [0.1, 0.3, 0.6, 0.8])
    slope, error = moments.solve()[0]
    assert slope == pytest.approx(0.5)
    # residuals +-0.1: 0.04 / (3 - 1) degrees, divided by sum of squares 1
    assert error == pytest.approx(0.02**0.5)


def test_group_levels_cancel() -> None:
    easy, both = Moments(1), Moments(1)
    for moments in (easy, both):
        moments.add_group([[0.0], [0.0], [1.0]], [0.1, 0.2, 0.3])
    both.add_group([[0.0], [0.0], [1.0]], [0.7, 0.8, 0.9])
    assert easy.solve()[0][0] == pytest.approx(both.solve()[0][0]) == pytest.approx(0.15)


def test_effects_cover_what_skills_are_worth() -> None:
    effects = screened(12).effects()
    assert effects["good"].low < 0.2 < effects["good"].high
    assert effects["bad"].low < -0.15 < effects["bad"].high
    assert effects["idle"].low < 0.0 < effects["idle"].high
    assert effects["good"].error < 0.02


def test_the_harmful_skill_is_weakest_and_a_rare_vital_one_never() -> None:
    screen = screened(12)
    assert screen.weakest() == "bad"
    rest = screen.for_library(("good", "idle", "rare"))
    assert rest.weakest() == "idle"
    last = rest.for_library(("good", "rare"))
    assert last.effects()["rare"].may_be_vital
    assert last.weakest() is None


def test_a_skill_that_fired_in_fewer_than_twenty_episodes_is_unknown() -> None:
    screen = screened(12, rare_share=0.001)
    assert screen.effects()["rare"].fired < 20
    assert not screen.effects()["rare"].known


def test_a_skill_that_a_trial_kept_rests() -> None:
    screen = screened(8)
    screen.kept("bad")
    assert screen.weakest() != "bad"


def test_new_skills_start_unknown_and_old_evidence_stays() -> None:
    screen = screened(8).for_library(("fresh", "good"))
    effects = screen.effects()
    assert not effects["fresh"].known
    assert effects["good"].effect == pytest.approx(0.2, abs=0.05)


def test_the_budget_is_fifteen_percent() -> None:
    screen = screened(1)
    assert not screen.within_budget(total_rollouts=800, next_rollouts=128)
    assert screen.within_budget(total_rollouts=1600, next_rollouts=128)


def test_missing_outcomes_are_left_out_and_wrong_ones_refused() -> None:
    screen = PruningScreen(NAMES)
    nothing: frozenset[str] = frozenset()
    screen.record_step([[ScreenedRollout(nothing, nothing, None), ScreenedRollout(nothing, nothing, 0.5)]])
    with pytest.raises(TrialError, match="outcome"):
        screen.record_step([[ScreenedRollout(nothing, nothing, 2.0)]])
    with pytest.raises(TrialError, match="stranger"):
        screen.record_step([[ScreenedRollout(frozenset({"stranger"}), nothing, 0.5)]])


def test_the_screen_continues_exactly_from_its_state() -> None:
    screen = screened(3)
    screen.kept("idle")
    twin = PruningScreen.from_state(json.loads(json.dumps(screen.to_state())))
    assert twin.to_state() == screen.to_state()
    assert twin.masks(8) == screen.masks(8)
    assert twin.effects() == screen.effects()


def removed(worth: float, seed: int) -> bool:
    library = SkillLibrary((Skill("one", "One.", "Do."), Skill("two", "Two.", "Do.")))
    rng = Random(seed)
    trial = confirming_trial(library, "two", seed=seed)
    while (verdict := trial.verdict()) is None:
        groups: list[list[tuple[Arm, float | None]]] = []
        for _ in range(16):
            level = rng.uniform(0.2, 0.8)
            group: list[tuple[Arm, float | None]] = []
            for arm in trial.assign(8):
                mean = level - worth * (arm is Arm.CANDIDATE)
                group.append((arm, min(max(rng.gauss(mean, 0.15), 0.0), 1.0)))
            groups.append(group)
        trial.record_step(groups)
    return verdict.accepted


def test_a_skill_worth_five_hundredths_is_rarely_removed_and_a_useless_one_mostly() -> None:
    assert sum(removed(0.05, seed) for seed in range(120)) <= 13  # P(more | 5 %) < 1 %
    assert sum(removed(0.0, seed) for seed in range(40)) >= 33


def test_nothing_is_removed_where_nothing_varies() -> None:
    trial = VersionTrial("with", "without", method="removal")
    while (verdict := trial.verdict()) is None:
        trial.record_step([[(arm, 0.0) for arm in trial.assign(8)] for _ in range(16)])
    assert not verdict.accepted
