"""Skills in conversations that the library does not own: which fire now, and where their text goes.

Everything is computed from the messages about to be sent. A firing is kept as an anchor (the id of the message that
carries it), so the user's own messages stay untouched and each call renders the same text at the same place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from reskill_agents.episodes import Firing
from reskill_agents.graphs.messages import START_KINDS, into_system, text_of, with_block
from reskill_agents.rendering import render_skill
from reskill_agents.selection import Selection, SkillSelector, TurnContext

SYSTEM_ANCHOR = "system"
_BLOCK = re.compile(r'\n?<skill name="([^"]+)">\n.*?\n</skill>', re.DOTALL)


class AnchoredSkill(TypedDict):
    """A skill that entered a conversation; plain data, because checkpointers store it.

    ``anchor``: id of the message that carries its text, or :data:`SYSTEM_ANCHOR`; ``text``: the fenced block;
    ``turn``: model calls before it.
    """

    anchor: str
    name: str
    digest: str
    text: str
    turn: int


def canonical_call(name: str, arguments: Mapping[str, object]) -> str:
    """``tool_name(<sorted compact JSON arguments>)``: what action patterns match."""
    return f"{name}({json.dumps(arguments, sort_keys=True, separators=(',', ':'), ensure_ascii=False)})"


def turn_context(messages: Sequence[BaseMessage]) -> TurnContext:
    """What triggers look at before the next model call.

    The observation is the text of the messages since the last answer, without skill blocks; the action is the last
    answer's tool calls, one a line, or its text when it called none.
    """
    last = _last_answer(messages)
    arrived = [message for message in messages[last + 1 :] if isinstance(message, HumanMessage | ToolMessage)]
    observation = "\n".join(_BLOCK.sub("", text_of(message)) for message in arrived)
    tools = tuple(message.name or "" for message in arrived if isinstance(message, ToolMessage))
    action = ""
    if last >= 0 and isinstance(answer := messages[last], AIMessage):
        calls = [canonical_call(call["name"], call["args"]) for call in answer.tool_calls]
        action = "\n".join(calls) if calls else text_of(answer)
    return TurnContext(_turns(messages), observation, action, tools)


def past_firings(messages: Sequence[BaseMessage], anchored: Sequence[AnchoredSkill] = ()) -> list[Firing]:
    """The skills whose text is in ``messages`` once ``anchored`` is rendered: what "already in context" means."""
    ids = {message.id for message in messages} | {SYSTEM_ANCHOR}
    firings = [Firing(skill["name"], skill["digest"], skill["turn"]) for skill in anchored if skill["anchor"] in ids]
    turn = 0
    for message in messages:
        if isinstance(message, AIMessage):
            turn += 1
        elif isinstance(message, SystemMessage | HumanMessage | ToolMessage):
            firings += [Firing(name, "", turn) for name in _BLOCK.findall(text_of(message))]
    return sorted(firings, key=lambda firing: firing.turn)


def fire(
    selector: SkillSelector, messages: Sequence[BaseMessage], anchored: Sequence[AnchoredSkill] = ()
) -> tuple[list[AnchoredSkill], Selection]:
    """The skills that enter before the next model call, with their anchors, and the whole selection.

    General and beginning skills go to the system message; the others to the last message that carries an observation.
    """
    context = turn_context(messages)
    present = [
        skill for skill in anchored if skill["anchor"] == SYSTEM_ANCHOR or _position(messages, skill["anchor"]) >= 0
    ]
    selection = selector.select(context, past_firings(messages, present))
    carrier = messages[-1] if messages else None
    fired = []
    for skill in selection.skills:
        at_start = skill.trigger.kind in START_KINDS or not isinstance(carrier, HumanMessage | ToolMessage)
        anchor = SYSTEM_ANCHOR if at_start or carrier is None else carrier.id or ""
        fired.append(
            AnchoredSkill(
                anchor=anchor, name=skill.name, digest=skill.digest, text=render_skill(skill), turn=context.turn
            )
        )
    return fired, selection


def render_anchored(messages: Sequence[BaseMessage], anchored: Sequence[AnchoredSkill]) -> list[BaseMessage]:
    """The messages to send: copies carry the skills' text at their anchors; anchors that are gone are left out."""
    rendered = list(messages)
    for skill in anchored:
        if skill["anchor"] == SYSTEM_ANCHOR:
            rendered = into_system(rendered, skill["text"])
        elif (position := _position(rendered, skill["anchor"])) >= 0:
            rendered[position] = with_block(rendered[position], skill["text"])
    return rendered


def _last_answer(messages: Sequence[BaseMessage]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if isinstance(messages[i], AIMessage)), -1)


def _turns(messages: Sequence[BaseMessage]) -> int:
    return sum(isinstance(message, AIMessage) for message in messages)


def _position(messages: Sequence[BaseMessage], anchor: str) -> int:
    return next((i for i, message in enumerate(messages) if message.id == anchor), -1)
