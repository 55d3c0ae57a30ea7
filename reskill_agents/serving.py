"""What a live agent is served and what is noted about it: the seam between an app's runs and the store.

The middleware and the prompt nodes ask a :class:`SkillProvider` which library a run carries, and tell a
:class:`RunRecorder` what happened, so that an outcome can be recorded under the run's or the thread's id later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reskill_agents.episodes import Turn
from reskill_agents.library import SkillLibrary
from reskill_agents.trials.arm import Arm


@dataclass(frozen=True, slots=True)
class ServedUnit:
    """Who is about to be served.

    Args:
        run_id: the invocation, empty where the app gave no ``run_id`` in its config.
        thread_id: the conversation, empty where there is none. The unit of assignment is the thread, else the run.
        namespace: the tenant.
        model: name of the chat model, as far as it says; a verdict holds for the model it was earned under.
        pinned: digest of the library that this thread was served before; empty on its first run. A provider serves the
            same library again as long as it has it.
    """

    run_id: str = ""
    thread_id: str = ""
    namespace: tuple[str, ...] = ()
    model: str = ""
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class SkillServing:
    """The library a unit carries; ``arm`` and ``trial`` only while a trial is open and the unit takes part."""

    library: SkillLibrary
    arm: Arm | None = None
    trial: str = ""


@runtime_checkable
class SkillProvider(Protocol):
    """Decides which library a unit carries."""

    def serve(self, unit: ServedUnit) -> SkillServing:
        """The library for ``unit``; the same for the same unit while a trial is open.

        Called before every model call (asynchronous apps call it in a worker thread, because it may block now and then).
        When it raises, the fault is logged and the call goes on without skills.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedSkills:
    """A provider of one library for everybody."""

    library: SkillLibrary

    def serve(self, unit: ServedUnit) -> SkillServing:
        """The library, outside any trial."""
        return SkillServing(self.library)


@dataclass(frozen=True, slots=True)
class CallUsage:
    """Tokens of one model call as the model reported them; ``cached`` is the part of ``prompt`` that was in its cache."""

    prompt: int
    answer: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class RunNote:
    """Under which ids a turn can be found again, and what it was served.

    Args:
        unit: the ids.
        library: digest of what was served.
        arm, trial: of the trial it takes part in, if any.
        answer_id: id of the model's answer, as the app has it in its messages.
        skills: names of the skills whose text is in this prompt.
        skill_tokens: what their text takes of this prompt.
        usage: what the model says it read and wrote; ``None`` where it does not say, or not yet.
    """

    unit: ServedUnit
    library: str
    arm: Arm | None = None
    trial: str = ""
    answer_id: str = ""
    skills: tuple[str, ...] = ()
    skill_tokens: int = 0
    usage: CallUsage | None = None


@runtime_checkable
class RunRecorder(Protocol):
    """Takes notes of live runs."""

    def note_turn(self, note: RunNote, turn: Turn) -> None:
        """Note one model call; ``turn`` carries observation, action, answer and firings.

        Idempotent by (thread or run id, ``turn.index``): a later note of the same turn replaces the earlier. ``turn.index``
        counts the model calls of the thread. May block (asynchronous apps call it in a worker thread); when it raises, the
        fault is logged and the app goes on.
        """
        ...
