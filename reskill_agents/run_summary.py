"""What came of a run: scores before and after, with and without the library, and the fate of every skill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from reskill_agents.run_lines import Creation, Proposed, Score
from reskill_agents.run_view import RunView, Trial

SPLITS = {"valid": "validation", "seen_test": "seen test", "unseen_test": "unseen test"}
_WHERE = {  # which result a run is known by, the first there is
    "unseen_test": "on kinds of tasks it never trained on",
    "seen_test": "on held-out tasks",
    "valid": "on validation tasks",
}
CONDITIONS = (  # (policy, library) and how it is called, in the order of the table
    ("before", "none", "before, without library"),
    ("before", "skills", "before, with library"),
    ("after", "none", "after, without library"),
    ("after", "skills", "after, with library"),
    ("after", "placebo", "after, placebo texts"),
)


class Outcome(StrEnum):
    """What became of a proposed change."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNTESTED = "untested"  # adopted without a trial, as some methods do
    UNDECIDED = "undecided"  # the run ended during its trial
    PRUNED = "pruned"  # accepted earlier, removed on evidence later


@dataclass(frozen=True)
class Fate:
    """One proposed change of one skill.

    Args:
        skill: the skill's name.
        change: add, modify or delete.
        purpose: creation, pruning or aa.
        proposed: step at which its trial began (or it was adopted).
        outcome: what became of it.
        probability: P(better) at the verdict.
        episodes: rollouts of the trial.
        ended: step at which the verdict came into force.
        removed: step at which a later change took the skill out of the library, if one did.
    """

    skill: str
    change: str
    purpose: str
    proposed: int
    outcome: Outcome
    probability: float | None = None
    episodes: int = 0
    ended: int | None = None
    removed: int | None = None


@dataclass(frozen=True)
class Block:
    """The scores of one split, over all its tasks or those with one tag (``goals=human``)."""

    split: str
    tag: str
    scores: tuple[tuple[str, str, str, Score], ...]

    @property
    def title(self) -> str:
        """For people."""
        name = SPLITS.get(self.split, self.split)
        return f"{name}, {self.tag.replace('=', ': ')}" if self.tag else name

    def score(self, policy: str, library: str) -> Score | None:
        """One condition's score."""
        return next((score for p, lib, _, score in self.scores if (p, lib) == (policy, library)), None)


def blocks(view: RunView) -> list[Block]:
    """Scores by split, all tasks first, then tag by tag where tags differ; of validation where no test was opened."""
    return _blocks(view, ("seen_test", "unseen_test")) or _blocks(view, ("valid",))


def _blocks(view: RunView, splits: Sequence[str]) -> list[Block]:
    found: list[Block] = []
    for split in splits:
        played = [e for e in view.evaluations if e.split == split]
        tags = sorted({tag for evaluation in played for tag in evaluation.by_tag})
        for tag in ["", *(tags if len(tags) > 1 else [])]:
            scores = []
            for policy, library, name in CONDITIONS:
                evaluation = view.evaluation(policy, library, split)
                score = evaluation and (evaluation.by_tag.get(tag) if tag else evaluation.total)
                if score:
                    scores.append((policy, library, name, score))
            if scores:
                found.append(Block(split, tag, tuple(scores)))
    return found


def fates(view: RunView) -> list[Fate]:
    """Every proposed change in the order of the run, pruning trials included; A/A trials change nothing."""
    found = [fate for trial in view.trials if trial.proposal for fate in _tried(trial, trial.proposal)]
    found += [fate for creation in view.creations if creation.adopted for fate in _adopted(creation)]
    found.sort(key=lambda fate: fate.proposed)
    return [_with_end(fate, view) for fate in found]


def _tried(trial: Trial, proposal: Proposed) -> Iterator[Fate]:
    ending = trial.ending
    outcome = Outcome.UNDECIDED if ending is None else Outcome(ending.outcome)
    for change in proposal.operations:
        yield Fate(
            change.name,
            change.kind,
            trial.purpose,
            trial.opened,
            outcome,
            ending.posterior.probability if ending else None,
            round(sum(ending.episodes.values())) if ending else sum(trial.points[-1].episodes) if trial.points else 0,
            trial.ended,
        )


def _adopted(creation: Creation) -> Iterator[Fate]:
    for change in creation.proposal.operations if creation.proposal else ():
        yield Fate(change.name, change.kind, "creation", creation.step, Outcome.UNTESTED, ended=creation.step)


def _with_end(fate: Fate, view: RunView) -> Fate:
    """Whether an accepted addition was taken out again, and when."""
    if fate.change != "add" or fate.outcome not in (Outcome.ACCEPTED, Outcome.UNTESTED) or fate.ended is None:
        return fate
    for version in view.libraries:
        if version.step > fate.ended and fate.skill not in version.library.by_name:
            shown = Outcome.PRUNED if fate.outcome is Outcome.ACCEPTED else fate.outcome
            values = (fate.skill, fate.change, fate.purpose, fate.proposed, shown, fate.probability, fate.episodes)
            return Fate(*values, fate.ended, version.step)
    return fate


def headline(view: RunView) -> str:
    """The result in a sentence or two; says what is missing when the run is not finished."""
    split = next((s for s in _WHERE if view.evaluation("after", "none", s)), None)
    if split is None:
        return f"Not finished: {len(view.steps)} of {view.config.get('steps', '?')} steps so far, not evaluated yet."
    where = _WHERE[split]
    without = view.evaluation("after", "none", split)
    with_skills = view.evaluation("after", "skills", split)
    start = view.evaluation("before", "none", split)
    parts, on = [], "" if start else f" {where}"
    if start:
        parts.append(f"The agent began by solving {_percent(start.total)} {where}.")
    if with_skills:
        count = len(view.library.library)
        parts.append(
            f"It now solves {_percent(with_skills.total)}{on} with its library of {count} "
            f"skill{'s' if count != 1 else ''}, and {_percent(without.total) if without else '?'} without it."
        )
    elif without:
        parts.append(f"It now solves {_percent(without.total)}{on}; it has no skills.")
    return " ".join(parts)


def _percent(score: Score) -> str:
    return f"{100 * score.success:.0f} %"


def score_table(view: RunView) -> Table:
    """The table a run ends with, for a terminal: splits side by side, all tasks first, then tag by tag."""
    found = blocks(view)
    splits = list(dict.fromkeys(block.split for block in found))
    title = "Success (± standard error) and mean score"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, min_width=len(title))
    table.add_column("")
    for split in splits:
        table.add_column(SPLITS.get(split, split), justify="right", no_wrap=True)
    for tag in dict.fromkeys(block.tag for block in found):
        if tag:
            table.add_section()
            table.add_row(tag.replace("=", ": "), style="dim")
        columns = [
            next((block for block in found if (block.split, block.tag) == (split, tag)), None) for split in splits
        ]
        for policy, library, name in CONDITIONS:
            scores = [block.score(policy, library) if block else None for block in columns]
            if any(scores):
                style = "bold" if (policy, library) == ("after", "skills") else ""
                table.add_row(name, *(_cell(score) for score in scores), style=style)
    return table


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    passed = "" if score.passed is None else f"  passed {100 * score.passed:.0f} %"
    return f"{100 * score.success:.1f} ± {100 * score.success_se:.1f} %  {score.score:.2f}{passed}"


_STYLES = {
    Outcome.ACCEPTED: "green",
    Outcome.REJECTED: "red",
    Outcome.PRUNED: "magenta",
    Outcome.UNTESTED: "yellow",
    Outcome.UNDECIDED: "dim",
}


def fate_table(view: RunView) -> Table:
    """Which skills were created, accepted, rejected, pruned, for a terminal."""
    table = Table(title="Skills", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("step", "change", "skill", "outcome", "P better", "episodes"):
        right = name in ("step", "P better", "episodes")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name != "skill")
    for fate in fates(view):
        probability = "" if fate.probability is None else f"{fate.probability:.3f}"
        note = f" at {fate.removed}" if fate.removed is not None else ""
        shown = Text(fate.outcome.value + note, style=_STYLES[fate.outcome])
        change = "prune" if fate.purpose == "pruning" else fate.change
        table.add_row(str(fate.proposed), change, Text(fate.skill), shown, probability, str(fate.episodes or ""))
    return table
