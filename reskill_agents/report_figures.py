"""The drawings of a report, made from a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reskill_agents.charts import (
    Axes,
    Bar,
    Dot,
    DotRow,
    Lane,
    Mark,
    Series,
    Span,
    dot_plot,
    line_chart,
    smooth,
    stacked_bar,
    timeline,
)
from reskill_agents.progress_text import ARMS
from reskill_agents.run_lines import Score
from reskill_agents.run_summary import SPLITS, Block, Fate, Outcome, fates
from reskill_agents.run_view import RunView, Trial

INKS = {"active": "ink-1", "candidate": "ink-2", "masked": "ink-3", "validation": "ink-4"}
OUTCOME_INKS = {
    Outcome.ACCEPTED: "good",
    Outcome.REJECTED: "bad",
    Outcome.PRUNED: "gone",
    Outcome.UNTESTED: "ink-2",
    Outcome.UNDECIDED: "open",
}
_SIGNS = {
    Outcome.ACCEPTED: "✓",
    Outcome.REJECTED: "✗",
    Outcome.PRUNED: "✂",
    Outcome.UNTESTED: "?",
    Outcome.UNDECIDED: "…",
}
_PHASES = ("rollout", "update", "evidence", "publish", "creator_wait_s", "skills", "log")
_Z_95 = 1.96


@dataclass(frozen=True)
class Figure:
    """A drawing with its legend: (ink, name)."""

    svg: str
    legend: Sequence[tuple[str, str]] = ()


def _steps(view: RunView) -> tuple[float, float]:
    planned = view.config.get("steps")
    done = len(view.steps)
    return 0.0, float(max(done, planned if isinstance(planned, int) and not done else 0, 1))


def scores_figure(found: Sequence[Block]) -> Figure:
    """Success before (hollow) and after (filled), with and without the library, with 95 % intervals."""
    rows: list[DotRow] = []
    for block in found:
        rows.append(DotRow(block.title))
        for library, name, ink in (
            ("skills", "with library", "good"),
            ("none", "without library", "ink-1"),
            ("placebo", "placebo texts", "ink-3"),
        ):
            dots = []
            for policy in ("before", "after"):
                score = block.score(policy, library)
                if score:
                    half = _Z_95 * score.success_se
                    low, high = max(0.0, score.success - half), min(1.0, score.success + half)
                    dots.append(Dot(policy, score.success, low, high, ink, hollow=policy == "before"))
            if dots:
                rows.append(DotRow(name, dots))
    return Figure(
        dot_plot(rows, label="Success by split and condition"), (("hollow-key", "before"), ("dot-key", "after"))
    )


def curves_figure(view: RunView) -> Figure:
    """Success in training by arm, step by step and smoothed; trials as stripes in the colour of their verdict."""
    series: list[Series] = []
    names = [name for name in INKS if any(name in step.arms for step in view.steps)]
    window = max(1, len(view.steps) // 15)
    for name in names:
        points = [(float(s.step + 1), _success(s.arms[name].success)) if name in s.arms else (s.step + 1.0, math.nan)
                  for s in view.steps]  # fmt: skip
        shown = ARMS.get(name, name)
        series.append(Series(shown, points, INKS[name], faint=True))
        series.append(Series(shown, _gaps(points, smooth(points, window)), INKS[name]))
    spans = [
        Span(t.opened, t.ended if t.ended is not None else len(view.steps), _trial_ink(t), f"{t.title}: {_fate(t)}")
        for t in view.trials
    ]
    svg = line_chart(Axes(_steps(view), x_label="training step"), series, spans, "Training success by arm")
    legend = [(INKS[name], ARMS.get(name, name)) for name in names]
    return Figure(svg, [*legend, ("span-key good", "accepted trial"), ("span-key bad", "rejected trial")])


def splits_figure(view: RunView) -> Figure | None:
    """Success on the evaluation splits over the steps; ``None`` with fewer than two points on every line."""
    series: list[Series] = []
    legend: list[tuple[str, str]] = []
    for split, ink in (("valid", "ink-4"), ("seen_test", "ink-1"), ("unseen_test", "ink-2")):
        for dashed, words in ((False, "library in force"), (True, "without library")):
            found = _without(view, split) if dashed else _in_use(view, split)
            if len(found) < 2 or (dashed and found == _in_use(view, split)):
                continue
            name = f"{SPLITS[split]}, {words}"
            points = [(float(step), score.success) for step, score in found.items()]
            band = [
                (float(step), max(0.0, s.success - s.success_se), min(1.0, s.success + s.success_se))
                for step, s in found.items()
            ]
            series.append(Series(name, points, ink, dashed=dashed, dots=True, band=band))
            legend.append((f"{ink}{' dashed-key' if dashed else ''}", name))
    if not series:
        return None
    return Figure(line_chart(Axes(_steps(view), x_label="training step"), series, label="Success by split"), legend)


def _without(view: RunView, split: str) -> dict[int, Score]:
    """Scores without any library by step."""
    found = [e for e in view.evaluations if e.split == split and e.library == "none"]
    return {e.step: e.total for e in sorted(found, key=lambda e: e.step) if e.policy in ("before", "after")}


def _in_use(view: RunView, split: str) -> dict[int, Score]:
    """Scores with the library in force at the time: a run begins without one."""
    scores = _without(view, split)
    for e in view.evaluations:
        if e.split == split and (e.policy.startswith("step-") or (e.policy, e.library) == ("after", "skills")):
            scores[e.step] = e.total
    return dict(sorted(scores.items()))


def posterior_figure(trial: Trial) -> Figure:
    """P(candidate better) over the steps of one trial, from the prior one half on."""
    points = [(0.0, 0.5)]
    points += [(float(number), point.posterior.probability) for number, point in enumerate(trial.points, 1)]
    longest = max(4.0, float(len(trial.points)))
    axes = Axes((0.0, longest), width=230.0, height=120.0, ticks=2, small=True, rules=((0.5, ""),))
    return Figure(line_chart(axes, [Series("P better", points, _trial_ink(trial), dots=True)], label=trial.title))


def lives_figure(view: RunView) -> Figure | None:
    """Every skill from its first trial to the end of the run or its removal."""
    found = fates(view)
    lanes: list[Lane] = []
    end = _steps(view)[1]
    for name in dict.fromkeys(fate.skill for fate in found):
        mine = [fate for fate in found if fate.skill == name]
        lanes.append(Lane(name, [*_in_force(view, name, end), *_on_trial(mine, end)], _marks(mine, end)))
    if not lanes:
        return None
    legend = [
        ("box-key open", "on trial"),
        ("box-key good", "in force"),
        ("sign good", "✓ accepted"),
        ("sign bad", "✗ rejected"),
        ("sign gone", "✂ removed"),
    ]
    return Figure(timeline(lanes, _steps(view), x_label="training step", label="Lives of the skills"), legend)


def _in_force(view: RunView, name: str, end: float) -> list[Bar]:
    bars: list[Bar] = []
    for number, version in enumerate(view.libraries):
        if name not in version.library.by_name:
            continue
        until = view.libraries[number + 1].step if number + 1 < len(view.libraries) else end
        generation = version.lineage[name].version if name in version.lineage else 1
        text = f"{name}, version {generation}: in force from step {version.step} to {until:g}"
        if bars and bars[-1].x1 == version.step and bars[-1].text == f"v{generation}":
            bars[-1] = Bar(bars[-1].x0, until, "good", f"{name}, version {generation}", f"v{generation}")
        else:
            bars.append(Bar(version.step, until, "good", text, f"v{generation}"))
    return bars


def _on_trial(mine: Sequence[Fate], end: float) -> list[Bar]:
    return [
        Bar(fate.proposed, end if fate.ended is None else fate.ended, "open", f"{fate.change}: on trial")
        for fate in mine
        if fate.outcome is not Outcome.UNTESTED
    ]


def _marks(mine: Sequence[Fate], end: float) -> list[Mark]:
    marks: list[Mark] = []
    for fate in mine:
        outcome = Outcome.ACCEPTED if fate.outcome is Outcome.PRUNED else fate.outcome
        at = end if fate.ended is None else fate.ended
        probability = "" if fate.probability is None else f", P better {fate.probability:.3f}"
        removed = fate.change == "delete" and outcome is Outcome.ACCEPTED
        sign, ink = ("✂", "gone") if removed else (_SIGNS[outcome], OUTCOME_INKS[outcome])
        marks.append(Mark(at, sign, ink, f"{fate.change} {fate.skill}: {outcome.value}{probability}"))
    return marks


def times_figure(view: RunView) -> Figure | None:
    """Where the training steps' seconds went."""
    sums = {phase: sum(step.seconds.get(phase, 0.0) for step in view.steps) for phase in _PHASES}
    total = sum(step.seconds.get("total", 0.0) for step in view.steps)
    sums["rest"] = max(0.0, total - sum(sums.values()))
    parts = [
        (phase.removesuffix("_s").replace("_", " "), seconds, f"ink-{number % 6 + 1}")
        for number, (phase, seconds) in enumerate(sums.items())
        if total and seconds / total > 0.002
    ]
    if not parts:
        return None
    legend = [
        (f"box-key {ink}", f"{name} {seconds:.0f} s ({100 * seconds / total:.0f} %)") for name, seconds, ink in parts
    ]
    return Figure(stacked_bar(parts, label="Seconds by phase"), legend)


def _success(value: float | None) -> float:
    return math.nan if value is None else value


def _gaps(points: Sequence[tuple[float, float]], smoothed: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A smoothed line where the raw one has values, nothing where it has none."""
    return [(x, math.nan if math.isnan(raw) else y) for (_, raw), (x, y) in zip(points, smoothed, strict=True)]


def _trial_ink(trial: Trial) -> str:
    if trial.ending is None:
        return "open"
    return "good" if trial.ending.accepted else "bad"


def _fate(trial: Trial) -> str:
    return "undecided" if trial.ending is None else trial.ending.outcome
