"""What a comparison says: the finding, the effect with its interval, what it cost, and task by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from reskill_agents.ab.budget import Budget, Tokens
from reskill_agents.ab.effect import Effect, look_confidence, paired_effect, tasks_needed
from reskill_agents.ab.run_log import RunRecord
from reskill_agents.trials.arm import Arm
from reskill_agents.trials.missing import SIGNIFICANT, missing_p_value

FEWEST_TASKS = 5  # an interval over fewer says nothing that a reader should act on


class Finding(StrEnum):
    """What is known about B against A."""

    HELPS = "helps"
    HURTS = "hurts"
    NO_DIFFERENCE = "no difference worth having"
    CANNOT_TELL = "cannot tell yet"


@dataclass(frozen=True, slots=True)
class ArmAccount:
    """One arm over all its runs.

    Args:
        runs: with and without outcome.
        missing: without outcome.
        mean: mean outcome over tasks (each task's mean counts once); ``None`` without any.
        tokens: of all runs.
        money: at the budget's prices.
        seconds: mean wall clock of a run.
        cut_short: runs that the graph's step limit ended.
    """

    runs: int
    missing: int
    mean: float | None
    tokens: Tokens
    money: float
    seconds: float
    cut_short: int

    @property
    def tokens_per_run(self) -> float:
        """Mean tokens of a run."""
        return self.tokens.total / self.runs if self.runs else 0.0


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task: mean outcomes of its complete pairs; ``None`` when it has none."""

    task: str
    pairs: int
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        """B less A."""
        return None if self.a is None or self.b is None else self.b - self.a


@dataclass(frozen=True)
class AbAnswer:
    """The answer; :meth:`sentence` says it in words.

    Args:
        finding: what is known.
        effect: B less A; ``None`` with fewer than two tasks.
        a, b: the arms.
        tasks: by difference, best for B first.
        look: how often the growing data were looked at, this time included.
        margin: an effect inside (-margin, margin) is no difference worth having.
        more_tasks: about how many tasks more would decide; only when it cannot tell.
        extra_tokens: B's tokens a run less A's, with its interval, paired like the effect.
        same_transcripts: pairs in which both arms said the same: the skills changed nothing there.
        missing_p: P(so unequal numbers of missing outcomes | no difference), two-sided.
        stopped: why it stopped before the last task; empty: it did not.
        open_tasks: tasks without a complete pair.
        reasons: why it cannot tell, and what else a reader must know.
    """

    finding: Finding
    effect: Effect | None
    a: ArmAccount
    b: ArmAccount
    tasks: tuple[TaskResult, ...]
    look: int
    margin: float
    more_tasks: int | None
    extra_tokens: Effect | None
    same_transcripts: int
    missing_p: float
    stopped: str
    open_tasks: int
    reasons: tuple[str, ...]

    def sentence(self) -> str:
        """One sentence with the finding, the effect and its interval."""
        if self.effect is None:
            return "Cannot tell yet: fewer than two tasks have an outcome in both arms."
        effect = self.effect
        numbers = (
            f"effect {effect.mean:+.3f}, {effect.confidence:.1%} interval {effect.low:+.3f} to {effect.high:+.3f}, "
            f"{effect.tasks} tasks: {effect.wins} better, {effect.losses} worse, {effect.ties} equal"
        )
        head = {
            Finding.HELPS: "B helps",
            Finding.HURTS: "B hurts",
            Finding.NO_DIFFERENCE: f"No difference worth having (it is within ±{self.margin:g})",
            Finding.CANNOT_TELL: "Cannot tell yet",
        }[self.finding]
        more = f"; about {self.more_tasks} more tasks needed" if self.more_tasks is not None else ""
        return f"{head}: {numbers}{more}."


def answer(
    records: Sequence[RunRecord],
    *,
    margin: float,
    look: int = 1,
    budget: Budget | None = None,
    stopped: str = "",
    tasks: int | None = None,
    same_skills: bool = False,
) -> AbAnswer:
    """Answer from runs; a fixed function of its arguments, whatever the order of ``records``.

    B "helps" when the interval lies above zero, "hurts" when below, and makes "no difference worth having" when it
    lies inside (-margin, margin). No finding while one arm misses significantly more outcomes, or below five tasks.
    """
    budget = budget or Budget()
    by_arm = {arm: [record for record in records if record.arm is arm] for arm in Arm}
    pairs = _pairs(records)
    rewards = {
        task: [(a.outcome, b.outcome) for a, b in both if a.outcome is not None and b.outcome is not None]
        for task, both in pairs.items()
    }
    confidence = look_confidence(look)
    effect = paired_effect(rewards, confidence)
    spent = {task: [(float(a.tokens.total), float(b.tokens.total)) for a, b in both] for task, both in pairs.items()}
    missing_p = _missing_p(by_arm[Arm.INCUMBENT], by_arm[Arm.CANDIDATE])
    complete = sum(1 for values in rewards.values() if values)
    reasons = []
    if effect is not None and effect.tasks < FEWEST_TASKS:
        reasons.append(f"fewer than {FEWEST_TASKS} tasks")
    if missing_p < SIGNIFICANT:
        reasons.append(f"the arms miss outcomes unequally (p = {missing_p:.3f}): what is missing may be the effect")
    finding = _finding(effect, margin) if not reasons else Finding.CANNOT_TELL
    more = None
    if finding is Finding.CANNOT_TELL and effect is not None and missing_p >= SIGNIFICANT:
        more = max(
            tasks_needed(effect, margin, look_confidence(look + 1)),
            FEWEST_TASKS - effect.tasks,
        )
    if same_skills:
        reasons.append("A and B are the same library: whatever differs is chance")
    return AbAnswer(
        finding=finding,
        effect=effect,
        a=_account(by_arm[Arm.INCUMBENT], budget),
        b=_account(by_arm[Arm.CANDIDATE], budget),
        tasks=_results(rewards),
        look=look,
        margin=margin,
        more_tasks=more,
        extra_tokens=paired_effect(spent, confidence, adjusted=False),
        same_transcripts=sum(bool(a.transcript) and _same(a, b) for both in pairs.values() for a, b in both),
        missing_p=missing_p,
        stopped=stopped,
        open_tasks=max(0, (tasks or len(rewards)) - complete),
        reasons=tuple(reasons),
    )


def _finding(effect: Effect | None, margin: float) -> Finding:
    if effect is None:
        return Finding.CANNOT_TELL
    if effect.low > 0.0:
        return Finding.HELPS
    if effect.high < 0.0:
        return Finding.HURTS
    return Finding.NO_DIFFERENCE if -margin < effect.low and effect.high < margin else Finding.CANNOT_TELL


def _pairs(records: Sequence[RunRecord]) -> dict[str, list[tuple[RunRecord, RunRecord]]]:
    by_key = {record.key: record for record in records}
    pairs: dict[str, list[tuple[RunRecord, RunRecord]]] = defaultdict(list)
    for task, repeat, arm in sorted(by_key):
        other = by_key.get((task, repeat, Arm.CANDIDATE))
        if arm is Arm.INCUMBENT and other is not None:
            pairs[task].append((by_key[task, repeat, arm], other))
    return dict(pairs)


def _same(a: RunRecord, b: RunRecord) -> bool:
    """Both arms said and did the same; system messages are where skills are put, so they do not count."""
    said = [[m for m in record.transcript if m.role == "assistant"] for record in (a, b)]
    return said[0] == said[1]


def _missing_p(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> float:
    runs, lost = (len(a), len(b)), tuple(sum(record.outcome is None for record in arm) for arm in (a, b))
    one = missing_p_value(runs, (lost[0], lost[1]))
    other = missing_p_value((runs[1], runs[0]), (lost[1], lost[0]))
    return min(1.0, 2.0 * min(one, other))


def _account(records: Sequence[RunRecord], budget: Budget) -> ArmAccount:
    tokens = sum((record.tokens for record in records), Tokens())
    by_task: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.outcome is not None:
            by_task[record.task].append(record.outcome)
    return ArmAccount(
        runs=len(records),
        missing=sum(record.outcome is None for record in records),
        mean=fmean(fmean(values) for values in by_task.values()) if by_task else None,
        tokens=tokens,
        money=budget.price(tokens),
        seconds=fmean(record.seconds for record in records) if records else 0.0,
        cut_short=sum(record.cut_short for record in records),
    )


def _results(rewards: dict[str, list[tuple[float, float]]]) -> tuple[TaskResult, ...]:
    results = [
        TaskResult(task, len(values), fmean(a for a, _ in values), fmean(b for _, b in values))
        if values
        else TaskResult(task, 0, None, None)
        for task, values in rewards.items()
    ]
    return tuple(sorted(results, key=lambda r: (r.difference is None, -(r.difference or 0.0), r.task)))
