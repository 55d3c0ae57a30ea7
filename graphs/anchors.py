"""Skills in conversations that the library does not own: which fire now, and where their text goes.

Everything is computed from the messages about to be sent. A firing is kept as an anchor (the id of the message that
carries it), so the user's own messages stay untouched and each call renders the same text at the same place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from typing_extensions import TypedDict  # pydantic takes no other in a state of its own before Python 3.12

from reskill_agents.episodes import Firing
from reskill_agents.graphs.messages import START_KINDS, into_system, text_of, with_block
from reskill_agents.rendering import render_skill
from reskill_agents.selection import Selection, SkillSelector, TurnContext
from reskill_agents.skill import Skill
from reskill_agents.trigger import Repeat

SYSTEM_ANCHOR = "system"
_FENCE = '<skill name="'
_BLOCK = re.compile(r'\n?<skill name="([^"]+)">\n.*?\n</skill>', re.DOTALL)


class AnchoredSkill(TypedDict):
    """A skill that entered a conversation; plain data, because checkpointers store it.

    ``anchor``: id of the message that carries its text (place and digest of its text where messages have no ids), or
    :data:`SYSTEM_ANCHOR`; ``text``: the fenced block; ``turn``: model calls before it.
    """

    anchor: str
    name: str
    digest: str
    text: str
    turn: int


def canonical_call(name: str, arguments: Mapping[str, object]) -> str:
    """``tool_name(<sorted compact JSON arguments>)``: what action patterns match."""
    return f"{name}({json.dumps(arguments, sort_keys=True, separators=(',', ':'), ensure_ascii=False)})"


def last_answer(messages: Sequence[BaseMessage], agent: str | None = None) -> int:
    """Index of the last answer (of ``agent``), -1 when there is none."""
    return next((i for i in range(len(messages) - 1, -1, -1) if _answers(messages[i], agent)), -1)


def canonical_action(message: BaseMessage) -> str:
    """What an answer did: its tool calls, one a line, or its text when it called none."""
    calls = [canonical_call(call["name"], call["args"]) for call in message.tool_calls] if _answers(message) else []
    return "\n".join(calls) if calls else text_of(message)


def turn_context(messages: Sequence[BaseMessage], *, turn: int | None = None, agent: str | None = None) -> TurnContext:
    """What triggers look at before the next model call.

    The observation is the text of the messages since the last answer, without skill blocks; the action is the last
    answer's tool calls, one a line, or its text when it called none.

    Args:
        messages: about to be sent.
        turn: model calls before this one; default: the answers in ``messages``.
        agent: whose answers count in a conversation that several agents share; answers without a name always do.
    """
    last = last_answer(messages, agent)
    arrived = [message for message in messages[last + 1 :] if isinstance(message, HumanMessage | ToolMessage)]
    observation = "\n".join(_without_blocks(text_of(message)) for message in arrived)
    tools = tuple(message.name or "" for message in arrived if isinstance(message, ToolMessage))
    action = canonical_action(messages[last]) if last >= 0 else ""
    return TurnContext(_turns(messages, agent) if turn is None else turn, observation, action, tools)


def past_firings(
    messages: Sequence[BaseMessage],
    anchored: Sequence[AnchoredSkill] = (),
    *,
    turn: int | None = None,
    agent: str | None = None,
) -> list[Firing]:
    """The skills whose text is in ``messages`` once ``anchored`` is rendered: what "already in context" means.

    A firing's turn is counted back from ``turn`` by the answers since its anchor, so that a rewritten history does not
    distort cool-downs.
    """
    since, answers = [0] * len(messages), 0
    for index in range(len(messages) - 1, -1, -1):
        since[index] = answers
        answers += _answers(messages[index], agent)
    now = answers if turn is None else turn
    positions = Positions(messages)
    firings = []
    for skill in anchored:
        if skill["anchor"] == SYSTEM_ANCHOR:
            firings.append(Firing(skill["name"], skill["digest"], min(skill["turn"], now)))
        elif (position := positions.of(skill["anchor"])) >= 0:
            firings.append(Firing(skill["name"], skill["digest"], now - since[position]))
    for index, message in enumerate(messages):
        if isinstance(message, SystemMessage | HumanMessage | ToolMessage) and _FENCE in (text := text_of(message)):
            firings += [Firing(name, "", now - since[index]) for name in _BLOCK.findall(text)]
    return sorted(firings, key=lambda firing: firing.turn)


def fire(
    selector: SkillSelector,
    messages: Sequence[BaseMessage],
    anchored: Sequence[AnchoredSkill] = (),
    *,
    turn: int | None = None,
    agent: str | None = None,
) -> tuple[list[AnchoredSkill], Selection]:
    """The skills that enter before the next model call, with their anchors, and the whole selection.

    General and beginning skills that are known at the first call go to the system message; all later firings go to the
    last message that carries the observation. Skills whose carrier has left the history (summarised, trimmed) while
    they were active enter again: ``once`` skills, and those within their cool-down.

    Args:
        selector: the library's triggers.
        messages: about to be sent, without the text of ``anchored``.
        anchored: what entered before; anchors that are gone count as lost.
        turn: model calls before this one; default: the answers in ``messages``.
        agent: whose answers count (see :func:`turn_context`).
    """
    context = turn_context(messages, turn=turn, agent=agent)
    past = past_firings(messages, anchored, turn=context.turn, agent=agent)
    selection = selector.select(context, past)
    present = {firing.skill for firing in past}
    lost = {skill["name"]: skill["turn"] for skill in anchored if skill["name"] not in present}
    returned = _again(selector, selection, lost, past, context.turn, _turns(messages, agent)) if lost else {}
    if returned:
        selection = _with_returned(selector, selection, returned, context.turn)
    carrier = _carrier(messages, agent)
    fired = []
    for skill in selection.skills:
        at_start = skill.trigger.kind in START_KINDS and context.turn == 0
        anchor = SYSTEM_ANCHOR if at_start or carrier < 0 else anchor_of(messages, carrier)
        fired.append(
            AnchoredSkill(
                anchor=anchor,
                name=skill.name,
                digest=skill.digest,
                text=render_skill(skill),
                turn=returned.get(skill.name, context.turn),
            )
        )
    return fired, selection


def replay(
    selector: SkillSelector, messages: Sequence[BaseMessage], *, agent: str | None = None
) -> list[AnchoredSkill]:
    """The firings of a conversation whose anchors were not kept: a subgraph called again, messages sent by a client.

    Selection is a function of the messages, so going through the turns again gives the same anchors.
    """
    anchored: list[AnchoredSkill] = []
    for index, message in enumerate(messages):
        if index and _answers(message, agent):
            anchored += fire(selector, messages[:index], anchored, agent=agent)[0]
    return anchored


def render_anchored(
    messages: Sequence[BaseMessage], anchored: Sequence[AnchoredSkill], *, system_role: bool = True
) -> list[BaseMessage]:
    """The messages to send: copies carry the skills' text at their anchors; anchors that are gone are left out.

    Without a ``system_role`` in the model's template, start skills go to the first human message.
    """
    rendered = list(messages)
    positions = Positions(messages)
    system: list[str] = []
    for skill in anchored:
        if skill["anchor"] == SYSTEM_ANCHOR:
            system.append(skill["text"])
        elif (position := positions.of(skill["anchor"])) >= 0:
            rendered[position] = with_block(rendered[position], skill["text"])
    first = -1 if system_role else next((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), -1)
    if first >= 0:
        carrier = messages[first]
        for text in [*system, *(skill["text"] for skill in anchored if positions.of(skill["anchor"]) == first)]:
            carrier = with_block(carrier, text)
        rendered[first] = carrier
    else:
        for text in system:
            rendered = into_system(rendered, text)
    return rendered


def still_there(messages: Sequence[BaseMessage], anchored: Sequence[AnchoredSkill]) -> list[AnchoredSkill]:
    """The skills whose anchors are in ``messages``."""
    positions = Positions(messages)
    return [s for s in anchored if s["anchor"] == SYSTEM_ANCHOR or positions.of(s["anchor"]) >= 0]


def merge_anchored(old: Sequence[AnchoredSkill] | None, new: Sequence[AnchoredSkill] | None) -> list[AnchoredSkill]:
    """State reducer: each skill once an anchor, whatever parallel branches and subgraphs send back."""
    merged: dict[tuple[str, str], AnchoredSkill] = {}
    for skill in (*(old or ()), *(new or ())):
        merged.setdefault((skill["anchor"], skill["name"]), skill)
    return list(merged.values())


def anchor_of(messages: Sequence[BaseMessage], index: int) -> str:
    """The id of a message; its place and the digest of its text where it has none."""
    message = messages[index]
    if message.id:
        return message.id
    return f"#{index}:{hashlib.sha256(text_of(message).encode()).hexdigest()[:16]}"


class Positions:
    """Where anchors are in a list of messages."""

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        self._messages = messages
        self._by_id = {message.id: index for index, message in enumerate(messages) if message.id}

    def of(self, anchor: str) -> int:
        """Index of the anchored message, -1 when it is gone."""
        if not anchor.startswith("#"):
            return self._by_id.get(anchor, -1)
        index = int(anchor[1:].partition(":")[0])
        return index if index < len(self._messages) and anchor_of(self._messages, index) == anchor else -1


def _carrier(messages: Sequence[BaseMessage], agent: str | None) -> int:
    """The last message since the last answer that carries an observation; other agents' answers carry none."""
    arrived = range(len(messages) - 1, last_answer(messages, agent), -1)
    return next((i for i in arrived if isinstance(messages[i], HumanMessage | ToolMessage)), -1)


def _again(
    selector: SkillSelector,
    selection: Selection,
    lost: Mapping[str, int],
    past: Sequence[Firing],
    turn: int,
    answers: int,
) -> dict[str, int]:
    """Of the lost skills (with the turns of their firings) those still active, within the budgets.

    A lost skill is at least ``answers`` turns old, because its carrier stood before all that is left.
    """
    shown = {skill.name for skill in selection.skills}
    this_turn = sum(selector.costs[name] for name in shown)
    spent = this_turn + sum(selector.costs.get(firing.skill, 0) for firing in past)
    back: dict[str, int] = {}
    for name, fired_at in lost.items():
        skill = selector.library.by_name.get(name)
        if skill is None or name in shown or not _active(skill, max(answers, turn - fired_at)):
            continue
        cost = selector.costs[name]
        if this_turn + cost <= selector.max_skill_tokens_turn and spent + cost <= selector.max_skill_tokens_episode:
            this_turn, spent = this_turn + cost, spent + cost
            back[name] = fired_at
    return back


def _with_returned(selector: SkillSelector, selection: Selection, returned: Mapping[str, int], turn: int) -> Selection:
    names = {skill.name for skill in selection.skills} | returned.keys()
    skills = tuple(skill for skill in selector.library if skill.name in names)
    back = [Firing(name, selector.library.by_name[name].digest, turn) for name in returned]
    return Selection(skills, (*(firing for firing in selection.firings if firing.skill not in returned), *back))


def _active(skill: Skill, age: int) -> bool:
    if skill.trigger.repeat is Repeat.AFTER_N_TURNS:
        return age < skill.trigger.cooldown
    return skill.trigger.repeat is Repeat.ONCE


def _answers(message: BaseMessage, agent: str | None = None) -> TypeGuard[AIMessage]:
    return isinstance(message, AIMessage) and (agent is None or message.name is None or message.name == agent)


def _turns(messages: Sequence[BaseMessage], agent: str | None = None) -> int:
    return sum(_answers(message, agent) for message in messages)


def _without_blocks(text: str) -> str:
    return _BLOCK.sub("", text) if _FENCE in text else text
