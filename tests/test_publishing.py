"""What happens when new weights go to the engine: they arrive, or training stops."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_policy import tiny_policy
from trainer_runs import go, lines, small_config

from reskill_agents.engine import GenerateRequest, Generation
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.engines.weight_folders import WeightFolders
from reskill_agents.errors import EngineMismatch
from reskill_agents.trainers import policy as policies
from reskill_agents.trainers.config import UpdateConfig
from reskill_agents.trainers.policy import Publisher
from reskill_agents.trainers.probe import check_engine_holds
from reskill_agents.trainers.update import PolicyUpdater


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def updater(policy: Path, tmp_path: Path) -> PolicyUpdater:
    made = PolicyUpdater(policy, UpdateConfig(), temperature=0.7, steps=1, work_dir=tmp_path)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return made


async def test_the_engine_holds_what_was_published(policy: Path, updater: PolicyUpdater) -> None:
    engine = TransformersEngine(policy)
    with pytest.raises(EngineMismatch, match=r"scores a fixed probe .* nats off the trainer, over 0.001"):
        await check_engine_holds(updater.model, engine, 0, tolerance=1e-3)
    await Publisher(engine, updater).publish(1)
    assert await check_engine_holds(updater.model, engine, 1, tolerance=1e-3) < 1e-5
    await engine.aclose()


async def test_weights_go_through_a_folder_to_engines_that_load_from_disk(
    policy: Path, updater: PolicyUpdater, tmp_path: Path
) -> None:
    engine = TransformersEngine(policy)
    publisher = Publisher(engine, updater, tmp_path / "serving")
    for version in range(4):
        await publisher.publish(version)
    assert sorted(folder.name for folder in (tmp_path / "serving").iterdir()) == ["version-2", "version-3"]
    await engine.aclose()


async def test_an_engine_that_says_another_version_stops_training(
    policy: Path, updater: PolicyUpdater, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(policy)
    await engine.publish(updater.weights(), 4)
    with pytest.raises(EngineMismatch, match="version 5 was published, but the engine samples with version 4"):
        await check_engine_holds(updater.model, engine, 5, tolerance=1e-3)
    await engine.aclose()


class StaleCache(TransformersEngine):
    """Scores with the new weights; samples from keys and values of the old ones, like a prefix cache that was kept."""

    def __init__(self, policy: Path) -> None:
        super().__init__(policy)
        self.old = TransformersEngine(policy)

    async def generate(self, request: GenerateRequest) -> Generation:
        stale = await self.old.generate(request)
        return Generation(stale.token_ids, stale.logprobs, self.version, stale.finish)


async def test_keys_and_values_of_old_weights_stop_training(policy: Path, updater: PolicyUpdater) -> None:
    engine = StaleCache(policy)
    with pytest.raises(EngineMismatch, match="samples a fixed probe"):
        await Publisher(engine, updater).publish(1)
    await engine.old.aclose()
    await engine.aclose()


def test_a_run_with_an_engine_that_is_deaf_to_new_weights_ends_with_a_clear_error(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TransformersEngine._publish

    def deaf(self: TransformersEngine, weights: object, version: int) -> None:
        if version < 2:
            real(self, weights, version)  # type: ignore[arg-type]
        self._version = version

    monkeypatch.setattr(TransformersEngine, "_publish", deaf)
    with pytest.raises(EngineMismatch, match="after version 2 was published"):
        go(small_config(method="grpo", update={"lr": 1e-2}), policy, tmp_path)
    assert len(lines(tmp_path, "metrics.jsonl")) == 1


def test_checking_changes_nothing_in_a_run(policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(small_config(steps=4), policy, tmp_path / "checked")
    checks = 0

    async def unchecked(*_: object, **__: object) -> None:
        nonlocal checks
        checks += 1

    monkeypatch.setattr(policies, "check_engine_holds", unchecked)
    go(small_config(steps=4), policy, tmp_path / "unchecked")
    assert checks >= 5
    for log in ("metrics.jsonl", "trials.jsonl", "episodes.jsonl"):
        assert lines(tmp_path / "checked", log) == lines(tmp_path / "unchecked", log)


def test_a_folder_of_weights_is_complete_or_not_there(tmp_path: Path) -> None:
    folders = WeightFolders(tmp_path)

    def broken(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folders.write(3, broken)
    assert not (tmp_path / "version-3").exists()
    assert folders.write(3, lambda folder: None) == tmp_path / "version-3"
