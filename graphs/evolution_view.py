"""What a live store says about how its skills evolved, gathered for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reskill_agents.graphs.evolution_creation import CREATIONS, CURSOR
from reskill_agents.graphs.evolution_ledger import ENDINGS, LiveTrial, Standing, read_trials, standings
from reskill_agents.graphs.evolution_trials import change_text
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Activation, ActiveLibrary, Fact
from reskill_agents.skill import Skill
from reskill_agents.skill_account import SkillAccount, skill_account
from reskill_agents.store_protocol import SkillStore

BLOCKS = 20  # parts into which the served runs are cut for the curve of outcomes


@dataclass(frozen=True)
class Window:
    """The belief after one sealed window: threads and means are (incumbent, candidate)."""

    number: int
    threads: tuple[float, float]
    means: tuple[float | None, float | None]
    probability: float
    difference: float


@dataclass(frozen=True)
class Decision:
    """One trial from opening to ending, with its evidence.

    Args:
        live: the trial.
        change: what it changes, in words.
        ended: when, or ``None``.
        by: the person who decided, if one did.
        windows: the belief after each window.
        removed, added: the skills whose text went and came.
    """

    live: LiveTrial
    change: str
    ended: float | None
    by: str
    windows: tuple[Window, ...]
    removed: tuple[Skill, ...]
    added: tuple[Skill, ...]

    @property
    def facts(self) -> Mapping[str, Fact]:
        """The numbers of the verdict; empty while there is none."""
        return self.live.verdict.facts if self.live.verdict else {}


@dataclass(frozen=True)
class Block:
    """A part of the served runs: mean outcome of runs ``first`` to ``last`` (1-based)."""

    first: int
    last: int
    mean: float
    success: float


@dataclass(frozen=True)
class EvolutionView:
    """Everything the report shows. ``model`` is the one that proofs are asked for."""

    namespace: tuple[str, ...]
    model: str
    active: ActiveLibrary
    skills: tuple[Standing, ...]
    decisions: tuple[Decision, ...]
    history: tuple[Activation, ...]
    creations: tuple[Mapping[str, object], ...]
    blocks: tuple[Block, ...]
    account: SkillAccount

    @property
    def unproven(self) -> tuple[Skill, ...]:
        """Skills in force that no verdict under this model speaks for."""
        return tuple(one.skill for one in self.skills if not one.proven_for(self.model))


def read_evolution(store: SkillStore, *, model: str = "") -> EvolutionView:
    """Gather the view.

    Args:
        store: one tenant's live data.
        model: identity of the app's model; default: the one the evolver noticed last.
    """
    known = store.record(CURSOR, "model")
    current = model or (str(known["model"]) if known else "")
    trials, active = read_trials(store), store.active()
    endings = store.records(ENDINGS)
    return EvolutionView(
        store.namespace,
        current,
        active,
        tuple(standings(store, trials, active.library)),
        tuple(_decision(store, live, endings.get(live.trial_id)) for live in trials),
        tuple(store.history()),
        tuple(value for _, value in sorted(store.records(CREATIONS).items())),
        _blocks(store),
        skill_account(store),
    )


def _decision(store: SkillStore, live: LiveTrial, ending: Mapping[str, object] | None) -> Decision:
    before, after = store.library(live.record.incumbent), store.library(live.record.candidate)
    at = ending.get("at") if ending else None
    return Decision(
        live,
        change_text(live.proposal),
        float(at) if isinstance(at, int | float) else None,
        str(ending.get("by", "")) if ending else "",
        tuple(_windows(store.facts(live.trial_id))),
        _missing(before, after),
        _missing(after, before),
    )


def _missing(library: SkillLibrary, other: SkillLibrary) -> tuple[Skill, ...]:
    there = {skill.digest for skill in other}
    return tuple(skill for skill in library if skill.digest not in there)


def _windows(facts: Sequence[Mapping[str, object]]) -> list[Window]:
    found: list[Window] = []
    for fact in facts:
        belief, means, threads = fact.get("posterior"), fact.get("means"), fact.get("episodes")
        if fact.get("fact") != "step" or not isinstance(belief, Mapping):
            continue
        if not isinstance(means, Sequence) or not isinstance(threads, Sequence):
            continue
        found.append(
            Window(
                len(found) + 1,
                (_number(threads[0]), _number(threads[1])),
                (_maybe(means[0]), _maybe(means[1])),
                _number(belief.get("probability")),
                _number(belief.get("difference")),
            )
        )
    return found


def _blocks(store: SkillStore) -> tuple[Block, ...]:
    scores = [
        sum(outcome.score for outcome in seen.outcomes) / len(seen.outcomes)
        for seen in store.observations()
        if seen.outcomes
    ]
    size = max(1, -(-len(scores) // BLOCKS))
    parts = [(start, scores[start : start + size]) for start in range(0, len(scores), size)]
    return tuple(
        Block(start + 1, start + len(part), sum(part) / len(part), sum(score >= 1.0 for score in part) / len(part))
        for start, part in parts
    )


def when(at: float | None) -> str:
    """A time for people, UTC."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _maybe(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
