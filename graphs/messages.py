"""The text of an agent's messages: pure functions, shared by the agent graph and by whoever makes training rows."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage

from reskill_agents.action_format import ActionFormat, instructions, show_observation
from reskill_agents.environment import Choice, Observation
from reskill_agents.rendering import join_blocks, render_skills
from reskill_agents.skill import Skill
from reskill_agents.trigger import TriggerKind

START_KINDS = frozenset({TriggerKind.GENERAL, TriggerKind.BEGINNING})
NOT_TAKEN = "invalid action"


def system_text(system_prompt: str, action_format: ActionFormat, start_skills: Sequence[Skill] = ()) -> str:
    """The one system message: the world's prompt, how to write an action, the skills known at the start."""
    return join_blocks(join_blocks(system_prompt, instructions(action_format)), render_skills(start_skills))


def observation_text(
    observation: Observation,
    action_format: ActionFormat,
    previous_choices: Sequence[Choice] = (),
    skills: Sequence[Skill] = (),
    note: str = "",
) -> str:
    """The message that carries an observation: a note on the last answer, what is seen, then fenced skills."""
    shown = show_observation(observation, action_format, previous_choices)
    return join_blocks(join_blocks(note, shown), render_skills(skills))


def invalid_note(problem: str = "") -> str:
    """What the agent is told about an answer that was not taken."""
    return f"{NOT_TAKEN} : {problem}" if problem else NOT_TAKEN


def split_skills(skills: Sequence[Skill], turn: int) -> tuple[tuple[Skill, ...], tuple[Skill, ...]]:
    """(skills for the system message, skills for the observation's message): on turn 0 the start kinds go first."""
    start = tuple(skill for skill in skills if turn == 0 and skill.trigger.kind in START_KINDS)
    return start, tuple(skill for skill in skills if skill not in start)


def append_to_last(messages: Sequence[BaseMessage], block: str) -> list[BaseMessage]:
    """A copy of ``messages`` with ``block`` inside the last one, which must carry an observation.

    That is a human message or the last tool result of a batch: a message of its own would break templates that
    refuse late system messages or two user turns in a row, and nothing may stand between calls and results.
    """
    if not messages or not isinstance(messages[-1], HumanMessage | ToolMessage):
        raise ValueError("skill text goes into a message that carries an observation: human or tool")
    return [*messages[:-1], with_block(messages[-1], block)]


def with_block(message: BaseMessage, block: str) -> BaseMessage:
    """A copy of ``message`` with ``block`` after its text; content blocks get one text block more."""
    if isinstance(message.content, str):
        content: str | list[str | dict[str, object]] = join_blocks(message.content, block)
    else:
        content = [*message.content, {"type": "text", "text": block}]
    return message.model_copy(update={"content": content})


def into_system(messages: Sequence[BaseMessage], block: str) -> list[BaseMessage]:
    """A copy of ``messages`` with ``block`` at the end of the one system message, made if there is none."""
    if messages and isinstance(messages[0], SystemMessage):
        return [with_block(messages[0], block), *messages[1:]]
    return [SystemMessage(block), *messages]


def text_of(message: BaseMessage) -> str:
    """The text of a message, content blocks joined."""
    return message.content if isinstance(message.content, str) else str(message.text)


__all__ = [
    "NOT_TAKEN",
    "START_KINDS",
    "append_to_last",
    "into_system",
    "invalid_note",
    "observation_text",
    "split_skills",
    "system_text",
    "text_of",
    "with_block",
]
