"""Method ``memory``: successful episodes of similar tasks are shown at the start, weighted by how well they served.

After MemRL (memory-augmented agents with learned utilities): retrieval in two phases, first the most similar tasks, then
of those the ones of highest similarity and utility together; a retrieved episode's utility follows the outcomes of the
episodes that read it, Q <- Q + rate (outcome - Q). What is remembered is raw: the task and the actions that solved it.
It enters the prompt as a fenced block like a skill, in the one system message, and under the same token budgets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rapidfuzz import fuzz

from reskill_agents.environment import Task
from reskill_agents.episodes import Episode
from reskill_agents.errors import SkillError
from reskill_agents.library import SkillLibrary
from reskill_agents.linter import Rule, lint_skill
from reskill_agents.skill import Skill
from reskill_agents.skill_json import skill_from_json, skill_to_json
from reskill_agents.trainers.config import MemoryConfig
from reskill_agents.trainers.groups import PlayedGroup
from reskill_agents.trainers.rewards import EpisodeFunction
from reskill_agents.trigger import Trigger, TriggerKind

UNKNOWN = 0.5  # utility of an episode that nobody has read yet
Similarity = Callable[[str, str], float]  # of two tasks, 0..1


def word_similarity(one: str, other: str) -> float:
    """Similarity of two tasks by their words, whatever their order (rapidfuzz), 0..1."""
    return float(fuzz.token_sort_ratio(one, other)) / 100


@dataclass(frozen=True)
class Remembered:
    """A successful episode.

    Args:
        task_id: its task; a task is remembered once.
        task: the task's text, which similarity looks at.
        skill: the block that enters a prompt.
        turns: it took; a shorter one replaces it.
        utility: how well episodes did that read it, 0..1.
        uses: steps in which it was read.
    """

    task_id: str
    task: str
    skill: Skill
    turns: int
    utility: float = UNKNOWN
    uses: int = 0


@dataclass
class EpisodeMemory:
    """What a run remembers. Deterministic; its whole state is ``entries``.

    Args:
        settings: how much is kept and shown.
        outcome: the trial outcome of an episode.
        similarity: of two tasks; replace it by one of embeddings for long tasks.
    """

    settings: MemoryConfig
    outcome: EpisodeFunction
    similarity: Similarity = word_similarity
    entries: dict[str, Remembered] = field(default_factory=dict)

    def library_for(self, task: Task) -> SkillLibrary:
        """The episodes to show for ``task``, best first; empty while nothing is remembered."""
        similar = {entry.task_id: self.similarity(task.text, entry.task) for entry in self.entries.values()}
        nearest = sorted(similar, key=lambda name: -similar[name])[: self.settings.candidates]
        best = sorted(nearest, key=lambda name: -(similar[name] + self.entries[name].utility))
        return SkillLibrary(tuple(self.entries[name].skill for name in best[: self.settings.shown]))

    def record(self, played: Sequence[PlayedGroup]) -> None:
        """Take in a step: utilities of what was read first, then what is new."""
        for one in played:
            self._credit(one.group.episodes)
        for one in played:
            solved = [episode for episode in one.group.episodes if episode.success]
            if solved:
                self._remember(min(solved, key=lambda episode: len(episode.turns)))

    def _credit(self, episodes: Sequence[Episode]) -> None:
        by_skill = {entry.skill.name: entry for entry in self.entries.values()}
        for name in sorted({name for episode in episodes for name in episode.fired if name in by_skill}):
            outcomes = [self.outcome(episode) for episode in episodes if name in episode.fired]
            known = [outcome for outcome in outcomes if outcome is not None]
            if known:
                entry = by_skill[name]
                utility = entry.utility + self.settings.rate * (math.fsum(known) / len(known) - entry.utility)
                self.entries[entry.task_id] = replace(entry, utility=utility, uses=entry.uses + 1)

    def _remember(self, episode: Episode) -> None:
        task = episode.task
        old = self.entries.get(task.task_id)
        if old is not None and old.turns <= len(episode.turns):
            return
        skill = block_of(episode)
        if skill is None:
            return
        utility, uses = (old.utility, old.uses) if old else (UNKNOWN, 0)
        self.entries[task.task_id] = Remembered(task.task_id, task.text, skill, len(episode.turns), utility, uses)
        if len(self.entries) > self.settings.capacity:
            del self.entries[min(self.entries, key=lambda name: self.entries[name].utility)]

    def to_state(self) -> list[dict[str, object]]:
        """JSON-able and exact."""
        return [
            {
                "task_id": entry.task_id,
                "task": entry.task,
                "skill": skill_to_json(entry.skill),
                "turns": entry.turns,
                "utility": entry.utility,
                "uses": entry.uses,
            }
            for entry in self.entries.values()
        ]

    def restore(self, state: object) -> None:
        """The inverse of :meth:`to_state`.

        Raises:
            TypeError: when it is no such state.
        """
        if not isinstance(state, list):
            raise TypeError("the state of an episode memory is a list")
        found = [_entry(entry) for entry in state]
        self.entries = {entry.task_id: entry for entry in found}


def block_of(episode: Episode) -> Skill | None:
    """A successful episode as the block that a later prompt gets; ``None`` for text that must not enter one.

    Raw text of an episode passes the linter like everything that enters a prompt. Only words that look random are let
    in, because identifiers are what the actions of many worlds are made of.
    """
    actions = [turn.action for turn in episode.turns if turn.action and turn.valid]
    lines = [
        "A similar task was solved by these actions.",
        f"Task: {episode.task_shown or episode.task.text}",
        *actions,
    ]
    name = f"solved-{hashlib.sha256(episode.task.task_id.encode()).hexdigest()[:12]}"
    try:
        skill = Skill(name, "A similar task that was solved.", "\n".join(lines), Trigger(TriggerKind.BEGINNING))
    except SkillError:
        return None
    findings = lint_skill(skill).findings
    return skill if all(finding.rule is Rule.RANDOM_LOOKING for finding in findings) else None


def _entry(state: object) -> Remembered:
    if not isinstance(state, Mapping):
        raise TypeError("a remembered episode is an object")
    task_id, task, turns, utility, uses = (state[name] for name in ("task_id", "task", "turns", "utility", "uses"))
    if not isinstance(turns, int) or not isinstance(utility, int | float) or not isinstance(uses, int):
        raise TypeError("a remembered episode holds numbers")
    return Remembered(str(task_id), str(task), skill_from_json(state["skill"]), turns, float(utility), uses)
