"""Skills into weights: a phase of its own, after training (prompt or context distillation).

Only skills that were accepted on trial and have been in force for a while are distilled. The policy plays train tasks with
them; every episode is replayed token for token without skills (:mod:`~reskill_agents.trainers.distil_pairs`), and the
policy is trained to say the same without the text (:mod:`~reskill_agents.trainers.distil_training`).

Success with and without skills is reported before and after, always: a policy that does well without its skills may follow
them worse than before.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from reskill_agents.environment import Split, World
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.agent import Agent
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.arithmetic import settle_arithmetic
from reskill_agents.trainers.distil_pairs import pairs_of
from reskill_agents.trainers.distil_training import DistilLoss, train_pairs
from reskill_agents.trainers.evaluation import Evaluator
from reskill_agents.trainers.final import TESTS
from reskill_agents.trainers.policy import agent_for, chat_model, open_engine
from reskill_agents.trainers.progress import EvaluationResult
from reskill_agents.trainers.run_folder import to_json, write_atomically
from reskill_agents.trainers.trained import TrainedPolicy

if TYPE_CHECKING:
    from rich.table import Table

FILE = "distillation.json"
POLICY = "policy"
_ROLLOUTS = 1 << 42  # keeps the random keys of the teacher's episodes apart from those of training and evaluation


@dataclass(frozen=True)
class DistilConfig:
    """How skills are distilled.

    Args:
        loss: see there.
        tasks: train tasks that the teacher plays, ``episodes`` times each.
        successes: train on episodes with the full score only.
        epochs, lr, batch_tokens: see ``train_pairs``.
        min_age: steps for which a skill must have been in force.
        evaluation_tasks: tasks a split.
        test: also evaluate on the test splits.
        seed: of everything random.
    """

    loss: DistilLoss = DistilLoss.KL
    tasks: int = 256
    episodes: int = 4
    successes: bool = True
    epochs: int = 4
    lr: float = 1e-4
    batch_tokens: int = 6000
    min_age: int = 10
    evaluation_tasks: int = 200
    test: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Distillation:
    """What came out.

    Args:
        skills: that were distilled; ``left_out``: name and reason of those that were not.
        config: how.
        played: episodes of the teacher; ``trained``: those trained on; ``unlike``: of the rest, replays that went another way.
        tokens: sampled tokens trained on.
        losses: mean of each epoch, nats a token.
        evaluations: ``before`` and ``after``, each with library ``none`` and ``skills``.
    """

    skills: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    config: DistilConfig
    played: int
    trained: int
    unlike: int
    tokens: int
    losses: tuple[float, ...]
    evaluations: tuple[EvaluationResult, ...]


def stable_skills(trained: TrainedPolicy, min_age: int) -> tuple[SkillLibrary, tuple[tuple[str, str], ...]]:
    """The skills to distil, in library order, and (name, reason) of those left out."""
    kept, left_out = [], []
    for skill in trained.library:
        evidence = trained.lineage[skill.name].evidence if skill.name in trained.lineage else {}
        age = trained.steps - trained.since.get(skill.name, trained.steps)
        if "trial" not in evidence:
            left_out.append((skill.name, "never accepted on trial"))
        elif age < min_age:
            left_out.append((skill.name, f"in force for {age} steps only, {min_age} are asked for"))
        else:
            kept.append(skill)
    return SkillLibrary(tuple(kept)), tuple(left_out)


@dataclass
class _Phase:
    """One distillation under way."""

    trained: TrainedPolicy
    world: World
    config: DistilConfig
    library: SkillLibrary
    agent: Agent
    judge: Agent
    say: Callable[[str], None]
    evaluations: list[EvaluationResult] = field(default_factory=list)

    async def evaluate(self, policy: str) -> None:
        run, config = self.trained.config, self.config
        evaluator = Evaluator(self.judge, self.world, config.seed, run.evaluation.episodes, run.evaluation.concurrency)
        for split in (Split.VALID, *(TESTS if config.test else ())):
            for label, library in (("none", SkillLibrary()), ("skills", self.library)):
                self.say(f"evaluating {policy}, {label}, {split.value}")
                result = await evaluator.evaluate(
                    split, [library], limit=config.evaluation_tasks, policy=policy, label=label, step=self.trained.steps
                )
                self.evaluations.append(result)

    def rollouts(self) -> list[Rollout]:
        """What the teacher plays."""
        config, rng = self.config, random.Random(f"{self.config.seed}/distil")
        tasks = list(self.world.tasks(Split.TRAIN))
        chosen = rng.sample(tasks, min(config.tasks, len(tasks)))
        selector = self.agent.selector(self.library)
        return [
            Rollout(
                environment=self.world.make(),
                task=task,
                selector=selector,
                episode_id=f"distil-t{number}-e{place}",
                seed=rng.getrandbits(31),
                rng_key=(config.seed, _ROLLOUTS, number, place),
            )
            for number, task in enumerate(chosen)
            for place in range(config.episodes)
        ]


async def distil(
    trained: TrainedPolicy,
    world: World,
    config: DistilConfig,
    out: Path,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Distillation:
    """Write the distilled policy to ``out/policy`` and the report to ``out/distillation.json``.

    Args:
        trained: a run's policy with its skills.
        world: that it was trained in.
        config: how.
        out: a folder.
        say: told what happens.

    Raises:
        ConfigError: no skill is stable, or the teacher solved nothing.
    """
    library, left_out = stable_skills(trained, config.min_age)
    if not library.skills:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out) or "its library is empty"
        raise ConfigError(f"the run has no skill to distil ({reasons})")
    run = trained.config
    settle_arithmetic(run)
    engine = await open_engine(run, trained.policy)
    try:
        await engine.publish(trained.policy, engine.version + 1)
        model = chat_model(run, engine, trained.policy)
        agent, judge = (
            agent_for(run, model, system_prompt=world.system_prompt(), max_turns=world.max_turns, temperature=heat)
            for heat in (run.rollout.temperature, run.evaluation.temperature)
        )
        phase = _Phase(trained, world, config, library, agent, judge, say)
        await phase.evaluate("before")
        say(f"playing with {len(library)} skills")
        rollouts = phase.rollouts()
        played = await play_many(agent, rollouts, concurrency=run.evaluation.concurrency)
        useful = [
            (rollout, episode)
            for rollout, episode in zip(rollouts, played, strict=True)
            if episode.success or (not config.successes and episode.score is not None)
        ]
        pairs = await pairs_of(agent, useful)
        if not pairs:
            raise ConfigError(f"none of the {len(played)} episodes with skills can be trained on: none succeeded")
        student: PreTrainedModel = AutoModelForCausalLM.from_pretrained(trained.policy, dtype=torch.float32)
        torch.nn.Module.to(student, device=run.device)
        losses = []
        for loss in train_pairs(
            student, pairs, loss=config.loss, epochs=config.epochs, lr=config.lr, batch_tokens=config.batch_tokens,
            temperature=run.rollout.temperature, rng=random.Random(f"{config.seed}/batches"),
        ):  # fmt: skip
            losses.append(loss)
            say(f"epoch {len(losses)}: {config.loss.value} {loss:.4f} nats a token")
        student.save_pretrained(out / POLICY)
        model.tokenizer.tokenizer.save_pretrained(out / POLICY)
        await engine.publish((out / POLICY).resolve(), engine.version + 1)
        await phase.evaluate("after")
    finally:
        await engine.aclose()
    report = Distillation(
        skills=tuple(skill.name for skill in library),
        left_out=left_out,
        config=config,
        played=len(played),
        trained=len(pairs),
        unlike=len(useful) - len(pairs),
        tokens=sum(pair.student.trained_tokens for pair in pairs),
        losses=tuple(losses),
        evaluations=tuple(phase.evaluations),
    )
    write_atomically(out / "config.json", run.model_dump_json(indent=2) + "\n")  # how the policy is to be played
    write_atomically(out / FILE, to_json(report) + "\n")
    return report


def distillation_table(report: Distillation) -> Table:
    """Success with and without skills, before and after, for people."""
    from rich.table import Table

    table = Table(title=f"{len(report.skills)} skills, {report.trained} episodes, {report.config.loss.value}")
    for name in ("split", "library", "before", "after"):
        table.add_column(name, justify="right" if name in ("before", "after") else "left")
    found = {(one.split, one.library, one.policy): one.total for one in report.evaluations}
    for split, library in dict.fromkeys((one.split, one.library) for one in report.evaluations):
        scores = (found[split, library, policy] for policy in ("before", "after"))
        table.add_row(split, library, *(f"{score.success:.1%} ± {score.success_se:.1%}" for score in scores))
    return table
