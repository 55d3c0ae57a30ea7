"""Skills into weights: which skills, token-exact pairs, both losses, and the report with and without skills."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_policy import tiny_policy
from toy_world import ToyEnvironment, ToyWorld
from trainer_runs import go, skill, small_config
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.environment import Split
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage
from reskill_agents.trainers.distil_pairs import Pair, pairs_of
from reskill_agents.trainers.distil_training import DistilLoss, train_pairs, trained_logits
from reskill_agents.trainers.distillation import DistilConfig, distil, distillation_table, stable_skills
from reskill_agents.trainers.policy import agent_for, chat_model, open_engine
from reskill_agents.trainers.trained import TrainedPolicy, read_trained

LIBRARY = SkillLibrary((skill("advice"), skill("young", "Never take `back` twice."), skill("adopted", "Take `leave`.")))


class EasyWorld(ToyWorld):
    """Whatever is shipped is right."""

    def make(self) -> ToyEnvironment:
        return _Easy()


class _Easy(ToyEnvironment):
    def _score(self) -> float:
        return float(self._opened is not None)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


def trained(policy: Path) -> TrainedPolicy:
    lineage = {
        "advice": Lineage(1, None, {"trial": "trial-001"}),
        "young": Lineage(1, None, {"trial": "trial-002"}),
        "adopted": Lineage(1, None, {"untested": True}),
    }
    since = {"advice": 3, "young": 18, "adopted": 0}
    return TrainedPolicy(policy, small_config(), LIBRARY, lineage, since, steps=20)


async def played(policy: Path) -> list[Pair]:
    config = small_config()
    engine = await open_engine(config, policy)
    model, world = chat_model(config, engine, policy), ToyWorld()
    agent = agent_for(config, model, system_prompt=world.system_prompt(), max_turns=6, temperature=1.0)
    selector = agent.selector(SkillLibrary(LIBRARY.skills[:1]))
    rollouts = [
        Rollout(world.make(), task, selector, f"e{n}", seed=n, rng_key=(1, n))
        for n, task in enumerate(world.tasks(Split.TRAIN)[:24])
    ]
    try:
        return await pairs_of(agent, list(zip(rollouts, await play_many(agent, rollouts), strict=True)))
    finally:
        await engine.aclose()


def listening(policy: Path) -> PreTrainedModel:
    """The tiny policy answers whatever it reads; this one says something else when it reads something else."""
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def test_only_skills_accepted_on_trial_and_old_enough_are_distilled(policy: Path) -> None:
    library, left_out = stable_skills(trained(policy), min_age=10)
    assert [one.name for one in library] == ["advice"]
    assert dict(left_out) == {
        "young": "in force for 2 steps only, 10 are asked for", "adopted": "never accepted on trial",
    }  # fmt: skip


async def test_pairs_hold_the_same_sampled_tokens_with_and_without_the_text(policy: Path) -> None:
    pairs, tokenizer = await played(policy), AutoTokenizer.from_pretrained(policy)
    assert len(pairs) == 24
    for pair in pairs:
        ids = [
            [t for t, on in zip(row.token_ids, row.trained, strict=True) if on] for row in (pair.teacher, pair.student)
        ]
        assert ids[0] == ids[1] != []
        texts = [tokenizer.decode(row.token_ids) for row in (pair.teacher, pair.student)]
        assert ["skill" in text for text in texts] == [True, False]
        cut = len(pair.teacher.token_ids) - len(pair.student.token_ids)
        assert cut > 0
        assert pair.teacher.token_ids[-40:] == pair.student.token_ids[-40:] or cut > 0


@pytest.mark.parametrize("loss", list(DistilLoss))
async def test_the_student_without_the_text_comes_to_say_what_the_teacher_said_with_it(
    policy: Path, loss: DistilLoss
) -> None:
    pairs = await played(policy)
    model = listening(policy)
    with torch.no_grad():
        told = torch.log_softmax(trained_logits(model, [pair.teacher for pair in pairs])[0], -1)

    def distance() -> float:
        with torch.no_grad():
            said = torch.log_softmax(trained_logits(model, [pair.student for pair in pairs])[0], -1)
        return float((told.exp() * (told - said)).sum(-1).mean())

    before = distance()
    losses = list(
        train_pairs(model, pairs, loss=loss, epochs=6, lr=3e-3, batch_tokens=600, temperature=1.0, rng=random.Random(0))
    )
    assert losses[-1] < losses[0]
    if loss is DistilLoss.KL:
        assert distance() < before / 2


def test_a_distillation_reports_all_four_and_leaves_a_policy(policy: Path, tmp_path: Path) -> None:
    config = DistilConfig(tasks=16, episodes=2, epochs=2, lr=1e-3, evaluation_tasks=4)
    report = asyncio.run(distil(trained(policy), EasyWorld(), config, tmp_path))
    found = [(one.policy, one.library, one.split) for one in report.evaluations]
    assert found == [(p, library, "valid") for p in ("before", "after") for library in ("none", "skills")]
    assert 0 < report.trained < report.played == 32
    assert report.unlike == 0
    assert json.loads((tmp_path / "distillation.json").read_text())["skills"] == ["advice"]
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    start = AutoModelForCausalLM.from_pretrained(policy)
    assert any((a != b).any() for a, b in zip(student.parameters(), start.parameters(), strict=True))
    assert distillation_table(report).row_count == 2
    assert read_trained(tmp_path).config == small_config()  # it can be adapted or played like a run's policy
    again = asyncio.run(distil(trained(policy), EasyWorld(), config, tmp_path / "again"))
    assert (again.losses, again.evaluations) == (report.losses, report.evaluations)


def test_what_cannot_be_distilled_is_said(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="young: in force for 2 steps only"):
        asyncio.run(distil(trained(policy), ToyWorld(), DistilConfig(min_age=19), tmp_path))
    bare = replace(trained(policy), library=SkillLibrary())
    with pytest.raises(ConfigError, match="its library is empty"):
        asyncio.run(distil(bare, ToyWorld(), DistilConfig(), tmp_path))


def test_the_command_reads_a_run_and_asks_for_its_world(policy: Path, tmp_path: Path) -> None:
    result = go(small_config(method="static", steps=4), policy, tmp_path / "run", world=EasyWorld())
    found = read_trained(tmp_path / "run")
    assert found.library == result.library
    assert (found.steps, found.policy) == (4, result.policy)
    for folder in (found.policy, found.policy.parent):
        assert read_trained(folder).config == found.config
    assert set(found.since) == {"prepared-0"}
    with pytest.raises(ConfigError, match="pass --env"):
        _command("--run", tmp_path / "run", "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="prepared-0: never accepted on trial"):
        _command("--run", tmp_path / "run", "--out", tmp_path / "out", "--env", "toy_world:ToyWorld")
    with pytest.raises(ConfigError, match="none of kl, ce"):
        _command("--run", tmp_path / "run", "--out", tmp_path / "out", "--loss", "mse")


def _command(*arguments: object) -> None:
    done = CliRunner().invoke(app, ["distil", *(str(argument) for argument in arguments)])
    if done.exception is not None:
        raise done.exception
