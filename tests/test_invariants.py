"""The invariants of ARCHITECTURE.md on whole runs (8 has a file of its own: ``test_resume``; 9 is ``test_packs``)."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_checks import check_trained_tokens, logprob_gaps
from trainer_runs import PreparedAuthor, Watcher, go, lines, small_config

from reskill_agents.environment import Environment, Observation, Split, StepResult, Task
from reskill_agents.episodes import Episode
from reskill_agents.errors import EngineMismatch, EnvironmentFault
from reskill_agents.graphs.creator_state import CreationWork, Recommendation
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers import stage, trainer
from reskill_agents.trainers.loop import run
from reskill_agents.trainers.policy import Publisher
from reskill_agents.trainers.rewards import EpisodeFunction, episode_function
from reskill_agents.trainers.skill_json import library_from_json


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def with_skills(name: EpisodeFunction) -> EpisodeFunction:
    """A trial outcome that is high whenever a skill fired: whatever is proposed first helps."""

    def outcome(episode: Episode) -> float | None:
        known = name(episode)
        return None if known is None else 0.1 * known + 0.8 * bool(episode.fired)

    return outcome


@pytest.fixture
def skills_help(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stage, trainer):
        monkeypatch.setattr(module, "episode_function", lambda name: with_skills(episode_function(name)))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_1_sampled_and_rescored_log_probs_agree(policy: Path, tmp_path: Path, temperature: float) -> None:
    """For the start weights, and again after an update was published."""
    config = small_config(rollout={"groups": 4, "group_size": 4, "max_tokens": 2, "temperature": temperature})
    assert max(asyncio.run(logprob_gaps(config, policy, tmp_path))) < 1e-4


def test_1_training_stops_when_the_engine_holds_other_weights(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: Publisher, version: int) -> None: ...

    monkeypatch.setattr(Publisher, "publish", forget)
    with pytest.raises(EngineMismatch, match="does not hold the trainer's weights"):
        go(small_config(method="grpo", update={"lr": 1e-2}), policy, tmp_path)


def test_2_every_sampled_token_is_trained_once_and_nothing_else(policy: Path, tmp_path: Path) -> None:
    go(small_config(method="static", steps=5, episode_log="tokens"), policy, tmp_path)
    check_trained_tokens(policy, tmp_path)


def test_3_arm_and_digest_are_in_every_episode_and_both_arms_in_every_group(policy: Path, tmp_path: Path) -> None:
    go(small_config(), policy, tmp_path)
    trials = {
        line["step"]: {"incumbent": line["incumbent"], "candidate": line["candidate"]["digest"]}  # type: ignore[index]
        for line in lines(tmp_path, "trials.jsonl")
        if line["event"] == "trial"
    }
    assert trials
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry in lines(tmp_path, "episodes.jsonl"):
        if entry["arm"]:
            group = str(entry["episode_id"]).rsplit("-", 1)[0]
            groups[group].append((str(entry["arm"]), str(entry["library_digest"])))
            opened = max(step for step in trials if int(str(step)) <= int(str(entry["step"])))
            assert entry["library_digest"] == trials[opened][str(entry["arm"])]
    assert groups
    for members in groups.values():
        arms = [arm for arm, _ in members]
        assert arms.count("candidate") >= 2
        assert arms.count("incumbent") >= 2


@dataclass
class Faulty:
    """An environment that breaks on some episodes."""

    inner: Environment
    broken: bool = False

    def reset(self, task: Task, *, seed: int) -> Observation:
        self.broken = task.task_id.endswith("3")
        return self.inner.reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        if self.broken:
            raise EnvironmentFault("the shop is closed")
        return self.inner.step(action)


class FaultyWorld(ToyWorld):
    def make(self) -> Faulty:  # type: ignore[override]
        return Faulty(super().make())


def test_4_a_fault_is_no_failure_and_in_no_baseline(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    go(small_config(method="grpo", steps=8), policy, tmp_path, listener=watcher, world=FaultyWorld())
    faults = sum(arm.faults for metrics in watcher.steps for arm in metrics.arms.values())
    assert faults
    entries = lines(tmp_path, "episodes.jsonl")
    broken = [entry for entry in entries if str(entry["task_id"]).endswith("3")]
    assert len(broken) == faults
    assert all(entry["reward"] is None and entry["stop"] == "fault" for entry in broken)
    assert all(entry["reward"] is not None for entry in entries if entry not in broken)
    for metrics in watcher.steps:
        assert metrics.rows <= sum(arm.episodes - arm.faults for arm in metrics.arms.values())


class CuriousAuthor(PreparedAuthor):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: set[tuple[Split, str]] = set()

    async def recommend(self, work: CreationWork, *_: object) -> tuple[Recommendation, ...]:
        self.shown |= {(episode.task.split, episode.task.task_id) for episode in work.episodes}
        return await super().recommend(work)


def test_5_evaluation_tasks_reach_neither_creator_nor_trial_and_evaluation_has_one_arm(
    policy: Path, tmp_path: Path
) -> None:
    author, watcher, world = CuriousAuthor(), Watcher(), ToyWorld()
    config = small_config(evaluation={"tasks": 2, "valid_tasks": 2, "every": 2})
    result = asyncio.run(run(config, world, policy_path=policy, run_dir=tmp_path, listener=watcher, author=author))
    assert {split for split, _ in author.shown} == {Split.TRAIN}
    assert {entry["split"] for entry in lines(tmp_path, "episodes.jsonl")} == {"train"}
    in_force = {metrics.library for metrics in watcher.steps} | {result.library.digest, SkillLibrary().digest}
    assert {evaluation.digest for evaluation in watcher.evaluations if evaluation.library != "placebo"} <= in_force


@pytest.mark.usefixtures("skills_help")
def test_7_a_library_comes_into_force_by_a_verdict_only(policy: Path, tmp_path: Path) -> None:
    config = small_config(
        steps=8, rollout={"groups": 4, "group_size": 8, "max_tokens": 1}, trial={"max_steps": 8, "effect": 1.0}
    )
    result = go(config, policy, tmp_path)
    events = lines(tmp_path, "trials.jsonl")
    accepted = {e["trial"] for e in events if e["event"] == "verdict" and e["verdict"]["outcome"] == "accepted"}  # type: ignore[index]
    candidates = [e["candidate"] for e in events if e["event"] == "trial" and e["trial"] in accepted]
    in_force = [library_from_json(e["library"]) for e in events if e["event"] == "library"]
    assert accepted
    assert in_force == [SkillLibrary(), *(library_from_json(candidate) for candidate in candidates)]
    assert result.library == in_force[-1]
    metrics = lines(tmp_path, "metrics.jsonl")
    assert {line["library"] for line in metrics} <= {library.digest for library in in_force}
    lineage = next(iter(result.lineage.values()))
    assert lineage.evidence["trial"] in accepted
    saved = json.loads((tmp_path / "evaluation.json").read_text())["results"]
    assert {r["digest"] for r in saved if r["library"] == "skills"} == {result.library.digest}
