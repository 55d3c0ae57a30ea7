"""Whole runs on the toy world: every method, everything in the run folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import PreparedAuthor, Watcher, go, lines, skill, small_config
from transformers import AutoModelForCausalLM

from reskill_agents.episode_logs import episode_from_json
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import import_pack
from reskill_agents.trainers.loop import run
from reskill_agents.trainers.progress import Phase


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def test_a_reskill_run_creates_tries_and_reports(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = go(small_config(), policy, tmp_path, listener=watcher)
    assert result.steps == 6
    assert [metrics.step for metrics in watcher.steps] == list(range(6))
    assert watcher.phases[0] is Phase.LOADING
    assert watcher.phases[-1] is Phase.FINISHED
    assert [event.proposal is not None for event in watcher.proposals][:1] == [True]
    assert watcher.verdicts
    under_trial = [metrics for metrics in watcher.steps if metrics.trial is not None]
    assert under_trial
    assert all(set(metrics.arms) == {"active", "candidate"} for metrics in under_trial)
    assert all(metrics.logprob_gap < 1e-4 for metrics in watcher.steps)
    assert lines(tmp_path, "metrics.jsonl")[2]["trial"]["purpose"] == "creation"  # type: ignore[index]
    events = [line["event"] for line in lines(tmp_path, "trials.jsonl")]
    assert events[:3] == ["library", "creation", "trial"]
    assert {"posterior", "verdict"} <= set(events)
    played = [("before", "none", "seen_test"), ("before", "none", "unseen_test")]
    played += [("after", "none", split) for split in ("valid", "seen_test", "unseen_test")]
    if result.library.skills:
        played += [("after", "skills", split) for split in ("valid", "seen_test", "unseen_test")]
    assert [(r.policy, r.library, r.split) for r in result.evaluations[: len(played)]] == played


def test_untested_methods_adopt_and_are_evaluated_with_skills_and_placebo(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = go(small_config(method="static", steps=5), policy, tmp_path, listener=watcher)
    assert [skill.name for skill in result.library] == ["prepared-0"]
    assert [event.adopted for event in watcher.proposals] == [True]
    assert not watcher.verdicts
    assert result.lineage["prepared-0"].evidence["untested"] is True
    kinds = {(r.policy, r.library) for r in result.evaluations}
    assert kinds == {
        ("before", "none"),
        ("after", "none"),
        ("after", "skills"),
        ("after", "placebo"),
        ("before", "skills"),
    }
    by_library = {r.library: r.digest for r in result.evaluations if r.policy == "after"}
    assert len(set(by_library.values())) == 3
    assert watcher.steps[-1].skills == ("prepared-0",)
    assert watcher.steps[-1].tokens.skill > 0
    assert import_pack(tmp_path / "libraries" / "v001") == result.library


def test_decoupled_reads_validation_rounds_on_held_out_tasks_and_trains_nothing_in_them(
    policy: Path, tmp_path: Path
) -> None:
    watcher = Watcher()
    config = small_config(method="decoupled", creator={"decoupled_every": 2, "join_after": 1, "holdout_tasks": 8})
    result = go(config, policy, tmp_path, listener=watcher)
    rounds = [metrics for metrics in watcher.steps if "validation" in metrics.arms]
    assert [metrics.step for metrics in rounds] == [1, 3, 5]
    assert all(metrics.rows == 0 and set(metrics.arms) == {"validation"} for metrics in rounds)
    assert len({sum(arm.episodes for arm in metrics.arms.values()) for metrics in watcher.steps}) == 1
    assert len(result.library) == 2
    tasks = {role: set[str]() for role in ("active", "validation")}
    for entry in lines(tmp_path, "episodes.jsonl"):
        tasks[str(entry["role"])].add(str(entry["task_id"]))
    assert not tasks["active"] & tasks["validation"]


def test_grpo_has_no_skills(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = go(small_config(method="grpo", steps=3), policy, tmp_path, listener=watcher)
    assert not result.library.skills
    assert not watcher.proposals
    assert all(metrics.tokens.skill == 0 and set(metrics.arms) == {"active"} for metrics in watcher.steps)


def test_aa_trials_change_nothing(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    result = go(small_config(aa=True, steps=8), policy, tmp_path, listener=watcher)
    opened = [line for line in lines(tmp_path, "trials.jsonl") if line["event"] == "trial"]
    assert len(opened) >= 2
    assert all(line["aa"] and line["purpose"] == "aa" for line in opened)
    assert not result.library.skills
    assert watcher.verdicts


def test_the_folder_tells_everything_about_a_run(policy: Path, tmp_path: Path) -> None:
    config = small_config(method="static", steps=4, evaluation={"tasks": 2, "valid_tasks": 2, "every": 2})
    result = go(config, policy, tmp_path)
    assert json.loads((tmp_path / "world.json").read_text())["world"] == "toy"
    assert "torch" in json.loads((tmp_path / "versions.json").read_text())
    episodes = [episode_from_json(entry) for entry in lines(tmp_path, "episodes.jsonl")]
    assert len(episodes) == 4 * 16
    assert {episode.library_digest for episode in episodes} >= {result.library.digest}
    evaluations = json.loads((tmp_path / "evaluation.json").read_text())["results"]
    assert [e["policy"] for e in evaluations if e["split"] == "valid"] == ["step-2", "step-4", "after", "after"]
    assert set(evaluations[0]["by_tag"]) == {"words=seen"}
    AutoModelForCausalLM.from_pretrained(result.policy)


def test_a_run_can_start_with_a_library_and_resumes_with_its_own(policy: Path, tmp_path: Path) -> None:
    first = SkillLibrary((skill("given", "Never take `back` twice."),))
    for steps, given in ((2, first), (3, None)):
        work = run(
            small_config(steps=steps, pruning={"enabled": False}),
            ToyWorld(),
            policy_path=policy,
            run_dir=tmp_path / "run",
            resume=steps > 2,
            author=PreparedAuthor(),
            library=given,
        )
        asyncio.run(work)
    metrics = lines(tmp_path / "run", "metrics.jsonl")
    assert [entry["skills"] for entry in metrics] == [["given"]] * 3
    assert all(entry["tokens"]["skill"] > 0 for entry in metrics)  # type: ignore[index]
    opened = [entry for entry in lines(tmp_path / "run", "trials.jsonl") if entry["event"] == "library"]
    assert opened[0]["library"]["digest"] == first.digest  # type: ignore[index]


def test_equal_runs_are_bit_equal(policy: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        go(small_config(), policy, tmp_path / name)
    for log in ("metrics.jsonl", "episodes.jsonl", "trials.jsonl"):
        assert lines(tmp_path / "one", log) == lines(tmp_path / "two", log)


def test_learning_happens(policy: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    config = small_config(method="grpo", steps=16, update={"lr": 1e-2}, rollout={"groups": 6, "max_tokens": 1})
    go(config, policy, tmp_path, listener=watcher)
    scores = [metrics.arms["active"].score or 0.0 for metrics in watcher.steps]
    assert sum(scores[-5:]) / 5 > sum(scores[:5]) / 5 + 0.15
