"""What the middleware and the prompt nodes share: ids of a run, the library it carries, notes, run metadata."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from reskill_agents.episodes import Firing, Turn
from reskill_agents.graphs.anchors import AnchoredSkill, canonical_action
from reskill_agents.graphs.messages import text_of
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, TurnContext, words_as_tokens
from reskill_agents.serving import CallUsage, FixedSkills, RunNote, RunRecorder, ServedUnit, SkillProvider, SkillServing

NamespaceOf: TypeAlias = Callable[[RunnableConfig, object], tuple[str, ...]]
Metadata: TypeAlias = dict[str, str | int | list[str]]
_log = logging.getLogger(__name__)
_KEPT = 64  # compiled libraries: a trial has two, tenants have their own
_NOTHING = SkillServing(SkillLibrary())


@dataclass
class ServedSkills:
    """A provider with compiled triggers, budgets and a recorder. Faults of either are logged; the app goes on.

    Args:
        skills: one library, compiled triggers, or a provider that decides for every unit.
        recorder: takes notes of every model call; default: the provider, where it takes them.
        namespace: the tenant, or a function of the run's config and context.
        max_skill_tokens_turn: budget of skill text a turn (default: ``SkillSelector``'s).
        max_skill_tokens_episode: budget of skill text in a context.
        count_tokens: text -> tokens.
    """

    skills: SkillLibrary | SkillSelector | SkillProvider
    recorder: RunRecorder | None = None
    namespace: tuple[str, ...] | NamespaceOf = ()
    max_skill_tokens_turn: int = SkillSelector.max_skill_tokens_turn
    max_skill_tokens_episode: int = SkillSelector.max_skill_tokens_episode
    count_tokens: Callable[[str], int] = words_as_tokens
    _selectors: dict[str, SkillSelector] = field(default_factory=dict, init=False, repr=False)
    _provider: SkillProvider = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.skills, SkillSelector):
            self._selectors[self.skills.library.digest] = self.skills
            self._provider = FixedSkills(self.skills.library)
        elif isinstance(self.skills, SkillLibrary):
            self._provider = FixedSkills(self.skills)
        else:
            self._provider = self.skills
            if self.recorder is None and isinstance(self.skills, RunRecorder):
                self.recorder = self.skills

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do at all: one library, without skills, and no recorder."""
        fixed = self._provider
        return self.recorder is None and isinstance(fixed, FixedSkills) and not fixed.library.skills

    def serving(self, unit: ServedUnit) -> SkillServing:
        """What ``unit`` carries; nothing where the provider fails."""
        try:
            return self._provider.serve(unit)
        except Exception:
            _log.exception("no skills are served: the provider failed")
            return _NOTHING

    async def aserving(self, unit: ServedUnit) -> SkillServing:
        """:meth:`serving` off the event loop, unless there is nothing to decide."""
        if isinstance(self._provider, FixedSkills):
            return self._provider.serve(unit)
        return await asyncio.to_thread(self.serving, unit)

    def selector(self, library: SkillLibrary) -> SkillSelector:
        """The compiled triggers of ``library``, kept for the next call."""
        known = self._selectors.get(library.digest)
        if known is None:
            known = SkillSelector(library, self.max_skill_tokens_turn, self.max_skill_tokens_episode, self.count_tokens)
            if len(self._selectors) >= _KEPT:
                self._selectors.pop(next(iter(self._selectors)))
            self._selectors[library.digest] = known
        return known

    def unit(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        *,
        turn: int,
        context: object = None,
        run_id: str = "",
        model: str = "",
        pinned: str = "",
    ) -> ServedUnit:
        """The ids of this run.

        Without a ``run_id`` in the app's config a run is what follows one request of the user: ``<thread>/<model calls
        before it>``, or without a thread the id of the user's message.
        """
        thread = str((config.get("configurable") or {}).get("thread_id") or "")
        namespace = self.namespace(config, context) if callable(self.namespace) else self.namespace
        return ServedUnit(run_id or _request_id(messages, thread, turn), thread, namespace, model, pinned)

    def same_request(self, unit: ServedUnit, messages: Sequence[BaseMessage], end: int, turn: int) -> ServedUnit:
        """``unit``, or the one before it when ``messages[:end]`` belong to an earlier request of the user."""
        if not any(isinstance(message, HumanMessage) for message in messages[end + 1 :]):
            return unit
        return replace(unit, run_id=_request_id(messages[:end], unit.thread_id, turn))

    def note(self, note: RunNote, turn: Turn) -> None:
        """Tell the recorder, if there is one."""
        if self.recorder is None:
            return
        try:
            self.recorder.note_turn(note, turn)
        except Exception:
            _log.exception("the recorder failed on turn %d of run %r", turn.index, note.unit.run_id)

    async def anote(self, note: RunNote, turn: Turn) -> None:
        """:meth:`note` in a worker thread, because a store may block."""
        if self.recorder is not None:
            await asyncio.to_thread(self.note, note, turn)


def turn_record(context: TurnContext, firings: Sequence[Firing], answer: BaseMessage | None) -> Turn:
    """One model call as the data of an episode; without an answer its action is not known yet."""
    return Turn(
        index=context.turn,
        observation=context.observation,
        action=canonical_action(answer) if answer is not None else "",
        response=text_of(answer) if answer is not None else "",
        firings=tuple(firings),
        tools=context.last_tools,
    )


def call_usage(answer: BaseMessage | None) -> CallUsage | None:
    """What the model reported with its answer."""
    usage = answer.usage_metadata if isinstance(answer, AIMessage) else None
    if not usage:
        return None
    cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
    return CallUsage(usage["input_tokens"], usage["output_tokens"], cached)


def run_metadata(
    serving: SkillServing,
    unit: ServedUnit,
    selector: SkillSelector,
    fired: Sequence[AnchoredSkill],
    in_context: Sequence[AnchoredSkill],
) -> Metadata:
    """Attributes of a model call's run, for LangSmith, OpenTelemetry exporters and any callback handler.

    ``reskill.skill_tokens`` is what the skill text in this prompt costs, ``reskill.fired_tokens`` what came new.
    """
    return {
        **serving_metadata(serving, unit),
        "reskill.fired": [skill["name"] for skill in fired],
        "reskill.in_context": [skill["name"] for skill in in_context],
        "reskill.fired_tokens": sum(skill_cost(selector, skill) for skill in fired),
        "reskill.skill_tokens": sum(skill_cost(selector, skill) for skill in in_context),
    }


def serving_metadata(serving: SkillServing, unit: ServedUnit) -> Metadata:
    """The part of :func:`run_metadata` that is known before anything fires."""
    metadata: Metadata = {"reskill.library": serving.library.digest, "reskill.run": unit.run_id}
    if serving.trial:
        metadata["reskill.trial"] = serving.trial
    if serving.arm is not None:
        metadata["reskill.arm"] = serving.arm.value
    return metadata


def skill_cost(selector: SkillSelector, skill: AnchoredSkill) -> int:
    """Tokens that the text of an anchored skill takes."""
    known = selector.library.by_name.get(skill["name"])
    same = known is not None and known.digest == skill["digest"]
    return selector.costs[skill["name"]] if same else selector.count_tokens(skill["text"])


def _request_id(messages: Sequence[BaseMessage], thread: str, turn: int) -> str:
    answers = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return f"{thread}/{turn - answers}" if thread else message.id or ""
        answers += isinstance(message, AIMessage)
    return f"{thread}/0" if thread else ""


__all__ = [
    "Metadata",
    "NamespaceOf",
    "ServedSkills",
    "call_usage",
    "run_metadata",
    "serving_metadata",
    "skill_cost",
    "turn_record",
]
