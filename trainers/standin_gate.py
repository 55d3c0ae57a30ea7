"""What a clone can do, measured by playing it through the agent graph, and whether that is good enough to start from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.action_format import ActionFormat
from reskill_agents.directives import Directive, body_for, sentence
from reskill_agents.engine import PolicyEngine
from reskill_agents.environment import ScriptedWorld, Split, Task
from reskill_agents.episodes import Episode
from reskill_agents.graphs.agent import Agent, AgentConfig
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.rollout import Rollout, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill

MAX_ANSWER_TOKENS = 4


@dataclass(frozen=True, slots=True)
class CloneGate:
    """What the start policy must be: poor without skills, good with the most useful ones.

    Args:
        max_success_without: share of successes without skills, at most (issue: it must not know the remedies).
        min_success_with: share of successes with the most useful advice, at least.
        tasks: validation tasks a measurement.
        tag: only tasks whose tags hold this (key, value); ``None``: all.
    """

    max_success_without: float = 0.05
    min_success_with: float = 0.45
    tasks: int = 128
    tag: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Episodes with some advice: shares and means with standard errors, both 0..1.

    ``role``: ``none``, ``best`` (the most useful set), ``useful`` (one of it), ``harmful``.
    """

    role: str
    advice: tuple[str, ...]
    split: str
    episodes: int
    success: float
    success_se: float
    score: float
    score_se: float
    turns: float
    tokens: float
    invalid: float

    @classmethod
    def of(cls, role: str, advice: Sequence[Directive], split: Split, episodes: Sequence[Episode]) -> Measurement:
        """Summarise ``episodes``; faults are left out."""
        played = [episode for episode in episodes if episode.score is not None]
        success, success_se = _mean([float(episode.success) for episode in played])
        score, score_se = _mean([episode.score or 0.0 for episode in played])
        turns = [turn for episode in played for turn in episode.turns]
        tokens = [
            len(call.prompt_ids) + len(call.sampled_ids) for e in played if e.turns and (call := e.turns[-1].call)
        ]
        return cls(
            role,
            tuple(sentence(directive) for directive in advice),
            split.value,
            len(played),
            success,
            success_se,
            score,
            score_se,
            len(turns) / len(played),
            sum(tokens) / max(1, len(tokens)),
            sum(not turn.valid for turn in turns) / max(1, len(turns)),
        )


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for fewer than two values)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


@dataclass(frozen=True)
class Examiner:
    """Plays a policy with libraries of advice, sampling at temperature 1.

    Args:
        world: what to play.
        engine: the policy.
        tokenizer: its tokenizer.
        gate: how many tasks, and which.
        seed: of environments and sampling.
    """

    world: ScriptedWorld
    engine: PolicyEngine
    tokenizer: ChatTokenizer
    gate: CloneGate
    seed: int

    async def measure(self, role: str, advice: Sequence[Directive], split: Split) -> Measurement:
        """``gate.tasks`` episodes with one always-present skill a directive; the same tasks and seeds on every call."""
        config = AgentConfig(ActionFormat.NUMBERED, max_turns=self.world.max_turns, max_tokens=MAX_ANSWER_TOKENS)
        agent = Agent(PolicyChatModel(engine=self.engine, tokenizer=self.tokenizer), config, self.world.system_prompt())
        selector = agent.selector(library_of(advice))
        name = f"{role}-{split.value}-{len(advice)}"
        rollouts = [
            Rollout(
                self.world.make(),
                task,
                selector,
                f"{name}-{number}",
                seed=self.seed + number,
                rng_key=(self.seed, number),
            )
            for number, task in enumerate(self.tasks(split))
        ]
        return Measurement.of(role, advice, split, await play_many(agent, rollouts))

    def tasks(self, split: Split) -> list[Task]:
        """``gate.tasks`` tasks of ``split``, spread evenly over it (with repeats where it is smaller)."""
        tag = self.gate.tag
        tasks = [task for task in self.world.tasks(split) if tag is None or task.tags.get(tag[0]) == tag[1]]
        count = self.gate.tasks
        return [
            tasks[index * len(tasks) // count if len(tasks) > count else index % len(tasks)] for index in range(count)
        ]


def library_of(advice: Iterable[Directive]) -> SkillLibrary:
    """One general skill a directive, in the grammar's wording."""
    return SkillLibrary(tuple(Skill(f"advice-{n}", "advice", body_for(d)) for n, d in enumerate(advice)))


def gate_problems(measured: Sequence[Measurement], gate: CloneGate) -> list[str]:
    """Why these validation measurements do not pass; empty when they do. A difference counts beyond two standard errors."""
    valid = [m for m in measured if m.split == Split.VALID.value]
    by_role: Mapping[str, list[Measurement]] = {
        role: [m for m in valid if m.role == role] for role in ("none", "best", "useful", "harmful")
    }
    problems: list[str] = []
    for none in by_role["none"]:
        if none.success > gate.max_success_without:
            problems.append(f"success without skills is {none.success:.2f}, at most {gate.max_success_without} allowed")
        for one in by_role["useful"]:
            if one.score <= none.score:
                problems.append(
                    f"{one.advice[0]!r} does not raise the mean score ({none.score:.2f} to {one.score:.2f})"
                )
        for one in by_role["harmful"]:
            if one.score > none.score + 2 * math.hypot(one.score_se, none.score_se):
                problems.append(f"harmful {one.advice[0]!r} raises the score ({none.score:.2f} to {one.score:.2f})")
    problems += [
        f"success with the most useful advice is {best.success:.2f}, at least {gate.min_success_with} wanted"
        for best in by_role["best"]
        if best.success < gate.min_success_with
    ]
    return problems
