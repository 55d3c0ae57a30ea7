"""The config: strict, and its errors say what is right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from reskill_agents.errors import ConfigError
from reskill_agents.methods import Method
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.methods import traits_of


def test_every_setting_says_what_it_means() -> None:
    def undocumented(model: type[object], path: str) -> list[str]:
        fields = model.model_fields  # type: ignore[attr-defined]
        found = [
            path + name for name, field in fields.items() if not field.description and field.default_factory is None
        ]
        for name, field in fields.items():
            if field.default_factory is not None:
                found += undocumented(field.default_factory, f"{path}{name}.")
        return found

    assert undocumented(RunConfig, "") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, "stepz: there is no such setting"),
        ({"steps": 0}, "steps = 0: Input should be greater than 0"),
        ({"method": "magic"}, "method = 'magic': Input should be 'reskill', 'reskill-paper', 'grpo'"),
        ({"update": {"lr": -1}}, r"update\.lr = -1"),
        (
            {"rollout": {"group_size": 3}},
            "group_size is 3, but a trial needs 2 members of each arm; set it to 4 or more",
        ),
        ({"engine": "vllm"}, "engine vllm needs engine_url, e.g. http"),
        ({"trial": {"rule": "coin"}}, "trial.rule = 'coin': Input should be <TrialMethodName.PAIRED: 'paired'> or"),
    ],
)
def test_a_wrong_value_names_field_value_and_remedy(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.build(**settings)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"steps.*update\.lr"):
        RunConfig.build(steps=-1, update={"lr": 0})


def test_a_method_without_trials_may_have_small_groups() -> None:
    config = RunConfig.build(method="grpo", rollout={"group_size": 2})
    assert config.rollout.group_size == 2


def test_a_config_survives_its_file(tmp_path: Path) -> None:
    config = RunConfig.build(method="static", update={"lr": 1e-5}, seed=7)
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json(), "utf-8")
    assert RunConfig.load(path) == config


def test_a_missing_or_torn_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=r"config\.json"):
        RunConfig.load(path)
    path.write_text('{"method": "grp', "utf-8")
    with pytest.raises(ConfigError, match=r"config\.json"):
        RunConfig.load(path)


def test_methods_differ_where_they_say_and_share_the_rollouts() -> None:
    traits = {method: traits_of(RunConfig.build(method=method)) for method in Method}
    assert [m for m in Method if traits[m].creates] == [
        Method.RESKILL, Method.RESKILL_PAPER, Method.STATIC, Method.DECOUPLED,
    ]  # fmt: skip
    assert [m for m in Method if traits[m].tried] == [Method.RESKILL, Method.RESKILL_PAPER]
    assert [m for m in Method if traits[m].prunes] == [Method.RESKILL]
    assert len({RunConfig.build(method=method).rollout for method in Method}) == 1


@pytest.mark.parametrize(
    ("device", "reproducible", "asked"), [("cuda", True, [True]), ("cuda", False, [False]), ("cpu", True, [])]
)
def test_a_reproducible_run_on_a_gpu_asks_for_deterministic_kernels(
    device: str, reproducible: bool, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, **_: calls.append(on))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    settle_arithmetic(RunConfig.build(device=device, reproducible=reproducible))
    assert calls == asked
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
