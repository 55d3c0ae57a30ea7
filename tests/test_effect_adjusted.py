"""The baseline that knows the arms, and the other named advantages."""

from __future__ import annotations

import json
import random

import pytest

from reskill_agents.trainers.advantage_names import advantage_named
from reskill_agents.trainers.advantages import GroupRewards, leave_one_out, per_arm
from reskill_agents.trainers.config import AdvantageName
from reskill_agents.trainers.effect_adjusted import EffectAdjusted

ARMS = ("new", "new", "old", "old")


def test_without_knowledge_it_is_leave_one_out() -> None:
    group = GroupRewards((1.0, 0.0, None, 1.0), arms=ARMS)
    assert EffectAdjusted()([group]) == leave_one_out([group])


def test_the_baseline_moves_with_the_arms_effect() -> None:
    """Nine groups in which new beats old by 1: each arm is half of it from the middle, shrunk by 9 / (9 + 3)."""
    advantage = EffectAdjusted()
    advantage.learn([GroupRewards((1.0, 1.0, 0.0, 0.0), arms=ARMS)] * 9)
    assert advantage.effect("new") == pytest.approx(0.375)
    assert advantage.effect("old") == pytest.approx(-0.375)
    # b for the first: 0.375 + mean(1 - 0.375, 0 + 0.375, 0 + 0.375) = 0.8333
    assert advantage([GroupRewards((1.0, 1.0, 0.0, 0.0), arms=ARMS)])[0] == [
        pytest.approx(value) for value in (1 / 6, 1 / 6, -1 / 6, -1 / 6)
    ]


def test_it_learns_after_the_step_not_in_it() -> None:
    advantage = EffectAdjusted()
    group = GroupRewards((1.0, 1.0, 0.0, 0.0), arms=ARMS)
    assert advantage([group]) == leave_one_out([group])
    assert advantage.effect("new") == 0.0


def test_groups_of_one_arm_and_faults_teach_nothing() -> None:
    advantage = EffectAdjusted()
    advantage.learn([GroupRewards((1.0, 0.0), arms=("old", "old")), GroupRewards((1.0, None), arms=("old", "new"))])
    assert advantage.effects == {}


def test_its_state_survives_json() -> None:
    advantage, other = EffectAdjusted(), EffectAdjusted()
    advantage.learn([GroupRewards((1.0, 0.3), arms=("new", "old"))])
    other.restore(json.loads(json.dumps(advantage.to_state())))
    assert other.effects == advantage.effects


def test_it_is_unbiased_and_steadier_than_the_pooled_baseline_where_arms_differ() -> None:
    """Each episode tosses a fair coin (score +1 or -1) and heads are worth 0.1; the arms differ by 0.6."""
    rng = random.Random(0)
    base = {"new": 0.7, "old": 0.1}
    adjusted = EffectAdjusted({"new": (0.3 * 1000, 1000), "old": (-0.3 * 1000, 1000)})
    gradients: dict[str, list[float]] = {"adjusted": [], "pooled": []}
    for _ in range(20_000):
        scores = [rng.choice((1.0, -1.0)) for _ in ARMS]
        chances = [base[arm] + 0.1 * (score > 0) for arm, score in zip(ARMS, scores, strict=True)]
        group = GroupRewards(tuple(float(rng.random() < chance) for chance in chances), arms=ARMS)
        for name, rule in (("adjusted", adjusted), ("pooled", leave_one_out)):
            advantage = rule([group])[0][0]
            assert advantage is not None
            gradients[name].append(advantage * scores[0])
    means = {name: sum(values) / len(values) for name, values in gradients.items()}
    spread = {name: sum((v - means[name]) ** 2 for v in values) for name, values in gradients.items()}
    assert means == {"adjusted": pytest.approx(0.05, abs=0.01), "pooled": pytest.approx(0.05, abs=0.012)}
    assert spread["adjusted"] < 0.7 * spread["pooled"]


def test_per_arm_compares_inside_the_arm_only() -> None:
    group = GroupRewards((1.0, 0.0, 0.0, None, 0.0, 1.0), arms=("a", "a", "b", "b", "c", "c"))
    assert per_arm([group]) == [[1.0, -1.0, 0.0, None, -1.0, 1.0]]


def test_per_arm_of_groups_without_arms_is_leave_one_out() -> None:
    group = GroupRewards((1.0, 0.0, 0.5))
    assert per_arm([group]) == leave_one_out([group])


def test_groups_may_differ_in_size() -> None:
    groups = [GroupRewards((1.0, 0.0)), GroupRewards((1.0, 0.0, 0.0, 0.0, None)), GroupRewards((0.5,))]
    for name in AdvantageName:
        shapes = [len(values) for values in advantage_named(name)(groups)]
        assert shapes == [2, 5, 1], name
