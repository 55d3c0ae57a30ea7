"""How long episodes will be, in the policy's tokens: a few tasks walked through at random with the tokenizer alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

from langchain_core.messages import HumanMessage, SystemMessage

from reskill_agents.action_format import ActionFormat
from reskill_agents.environment import Choice, Split, World
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.messages import observation_text, system_text


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """Tokens of prompts and of whole episodes.

    Args:
        start: of the first prompt, mean: system message, task, first observation.
        observation: that a later turn adds, mean.
        largest: the largest such addition seen.
        answer: allowed a turn.
        turns: allowed an episode.
        walked: turns looked at.
    """

    start: float
    observation: float
    largest: int
    answer: int
    turns: int
    walked: int

    def episode(self, *, answer: float | None = None) -> int:
        """Tokens of an episode that uses all its turns, at ``answer`` tokens a turn (default: what is allowed)."""
        spoken = self.answer if answer is None else answer
        return round(self.start + (self.turns - 1) * self.observation + self.turns * spoken)


def plan_tokens(
    world: World,
    tokenizer: ChatTokenizer,
    *,
    action_format: ActionFormat,
    max_tokens: int,
    tasks: int = 16,
    seed: int = 0,
) -> TokenPlan:
    """Walk through ``tasks`` training tasks, taking any offered choice, and count."""
    rng = random.Random(f"{seed}/token-plan")
    system = SystemMessage(system_text(world.system_prompt(), action_format))
    chosen = world.tasks(Split.TRAIN)[:tasks]
    starts: list[int] = []
    added: list[int] = []
    for task in chosen:
        environment = world.make()
        observation, before = environment.reset(task, seed=rng.getrandbits(31)), tuple[Choice, ...]()
        for turn in range(world.max_turns):
            message = HumanMessage(observation_text(observation, action_format, before))
            if turn == 0:
                starts.append(len(tokenizer.start([system, message])))
            else:
                added.append(len(tokenizer.suffix([message], ended=True)))
            if not observation.choices:
                break
            result = environment.step(rng.choice(observation.choices).action)
            before, observation = observation.choices, result.observation
            if result.done:
                break
    return TokenPlan(
        start=sum(starts) / max(1, len(starts)),
        observation=sum(added) / max(1, len(added)),
        largest=max(added, default=0),
        answer=max_tokens,
        turns=world.max_turns,
        walked=len(starts) + len(added),
    )
