"""What a trigger must stand before any rollout: it fires, and where the advice is needed.

A model chooses its triggers by reading a few logs, so they are checked on all of them. Failures it is for: the failing
episodes of the analysed tasks that its recommendation serves. Elsewhere: the successes, and the failures of the analysed
tasks it does not serve (what went wrong in tasks that nobody analysed is not known). Both are compared *at the same turn
of an episode*, because failures are longer and everything happens at least once in a long episode.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from reskill_agents.episodes import Episode, graded_outcome
from reskill_agents.graphs.creator_sampling import sampled
from reskill_agents.graphs.creator_state import CreationWork, Recommendation, TriggerGate
from reskill_agents.library import SkillLibrary
from reskill_agents.selection import SkillSelector, TurnContext
from reskill_agents.skill import Skill
from reskill_agents.trigger import TriggerKind

PAPER_TRIGGER_RATE = 0.5  # share of episodes, the paper's gate
LEAST_TRIGGER_RATE = 0.05  # a skill that fires in fewer episodes than this cannot be seen in a trial
EARNED = 0.5  # share of the failing analysed tasks from which on advice may arrive without singling them out
SINGLES_OUT_Z = 1.0  # mean excess over its error from which on a trigger singles out the failures it is for
AVOIDS_Z = -2.0  # and up to which it stays away from them: it then goes with doing well
_LEAST_TURNS = 5  # turns elsewhere that give a rate of their own to one turn index
_ALWAYS_ON = (TriggerKind.GENERAL, TriggerKind.BEGINNING)


@dataclass(frozen=True, slots=True)
class Replay:
    """When a skill would have fired on logged episodes.

    Args:
        rate: share of episodes in which it fires at least once.
        poor, good: the same among episodes below and from the median outcome on.
        turns: mean share of turns on which it fires.
    """

    rate: float
    poor: float
    good: float
    turns: float


def replay(skill: Skill, episodes: Sequence[Episode]) -> Replay:
    """Run the trigger of ``skill`` over ``episodes``."""
    scored = [episode for episode in episodes if episode.score is not None]
    if not scored:
        return Replay(0.0, 0.0, 0.0, 0.0)
    selector = SkillSelector(SkillLibrary((skill,)))
    shares = [_share(_fires(selector, episode)) for episode in scored]
    scores = sorted(episode.score or 0.0 for episode in scored)
    middle = scores[len(scores) // 2]
    poor = [share > 0 for share, episode in zip(shares, scored, strict=True) if (episode.score or 0.0) < middle]
    good = [share > 0 for share, episode in zip(shares, scored, strict=True) if (episode.score or 0.0) >= middle]
    return Replay(
        sum(share > 0 for share in shares) / len(scored),
        sum(poor) / len(poor) if poor else 0.0,
        sum(good) / len(good) if good else 0.0,
        sum(shares) / len(shares),
    )


def _fires(selector: SkillSelector, episode: Episode) -> list[bool]:
    """Per turn, whether the trigger matches (repeat rules and budgets aside)."""
    action, fires = "", []
    for turn in episode.turns:
        fires.append(bool(selector.matching(TurnContext(turn.index, turn.observation, action, turn.tools))))
        action = turn.action
    return fires


def _share(fires: Sequence[bool]) -> float:
    return sum(fires) / len(fires) if fires else 0.0


def rate_problems(skill: Skill, work: CreationWork) -> list[str]:
    """What the gate asks of any author's trigger: that it fires, and that a pattern does not fire on every turn."""
    if not work.episodes:
        return []
    seen = replay(skill, work.episodes)
    where = f"{skill.name}: its trigger fires in {seen.rate:.0%} of logged episodes"
    if work.config.gate is TriggerGate.PAPER:
        return [f"{where}, at least {PAPER_TRIGGER_RATE:.0%} are asked for"] if seen.rate < PAPER_TRIGGER_RATE else []
    if seen.rate < LEAST_TRIGGER_RATE:
        return [f"{where}; a skill that hardly fires cannot be tried, widen the trigger"]
    if skill.trigger.kind not in _ALWAYS_ON and seen.turns > 0.95:
        return [f"{where} and on nearly every turn; make it precise, or say `general` if it is always needed"]
    return []


@dataclass(frozen=True, slots=True)
class Need:
    """Where a recommendation is needed.

    Args:
        served, failing: analysed tasks it serves, of those that have failures.
        addressed: the failures it is for.
        elsewhere: what they are compared with.
    """

    served: int
    failing: int
    addressed: tuple[Episode, ...]
    elsewhere: tuple[Episode, ...]

    @property
    def earned(self) -> bool:
        """It serves so many of the failing tasks that its advice may always be there."""
        return self.failing > 0 and self.served >= EARNED * self.failing

    def __str__(self) -> str:
        return f"{self.served} of {self.failing} failing tasks that were analysed"


def need_of(recommendation: Recommendation, work: CreationWork) -> Need:
    """Where ``recommendation`` is needed: in the tasks it names, else where its advice was broken, else unknown."""
    analysed = {sample.task_id for sample in sampled(work) if sample.poor}
    analysed &= set(recommendation.analysed) or analysed
    failures = _failures(work.scored)
    if recommendation.tasks:
        served = analysed & set(recommendation.tasks)
        addressed = [episode for episode in failures if episode.task.task_id in served]
    elif recommendation.advice is not None:
        doses = work.induction.doses(recommendation.advice).tolist()
        broken = {episode.episode_id for episode, dose in zip(work.scored, doses, strict=True) if dose < 1}
        addressed = [episode for episode in failures if episode.episode_id in broken]
        served = analysed & {episode.task.task_id for episode in addressed}
    else:
        served, addressed = set(), failures
    if not addressed:
        addressed = failures
    kept_out = {id(episode) for episode in addressed}
    failed = {id(episode) for episode in failures}
    elsewhere = [
        episode
        for episode in work.scored
        if id(episode) not in kept_out and (id(episode) not in failed or episode.task.task_id in analysed)
    ]
    return Need(len(served), len(analysed), tuple(addressed), tuple(elsewhere))


def _failures(scored: Sequence[Episode]) -> list[Episode]:
    """Episodes that are no success; where there is none at all, those up to the mean outcome."""
    if any(episode.success for episode in scored):
        return [episode for episode in scored if not episode.success]
    outcomes = [graded_outcome(episode) or 0.0 for episode in scored]
    mean = fmean(outcomes) if outcomes else 0.0
    return [episode for episode, outcome in zip(scored, outcomes, strict=True) if outcome <= mean]


@dataclass(frozen=True, slots=True)
class Precision:
    """How a trigger fires on the failures it is for against elsewhere.

    Args:
        addressed: share of the turns of an episode on which it fires, mean over the failures it is for.
        elsewhere: the share expected there from what it does elsewhere at the same turns.
        z: mean difference over its standard error between episodes; positive: it singles out the failures it is for.
    """

    addressed: float
    elsewhere: float
    z: float


def precision_of(skill: Skill, need: Need) -> Precision:
    """Measure the trigger of ``skill`` where it is needed."""
    selector = SkillSelector(SkillLibrary((skill,)))
    at: dict[int, list[bool]] = defaultdict(list)
    for episode in need.elsewhere:
        for index, fired in enumerate(_fires(selector, episode)):
            at[index].append(fired)
    everywhere = [fired for fires in at.values() for fired in fires]
    expected = {index: _share(fires if len(fires) >= _LEAST_TURNS else everywhere) for index, fires in at.items()}
    shares, usual = list[float](), list[float]()
    for episode in need.addressed:
        if episode.turns:
            shares.append(_share(_fires(selector, episode)))
            usual.append(fmean(expected.get(index, _share(everywhere)) for index in range(len(episode.turns))))
    if not shares:
        return Precision(0.0, 0.0, 0.0)
    excess = [share - other for share, other in zip(shares, usual, strict=True)]
    return Precision(fmean(shares), fmean(usual), _z(excess))


def _z(values: Sequence[float]) -> float:
    """Mean over its standard error; of values without spread their sign, as far as a float can say it."""
    mean = fmean(values)
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    if error > 1e-12:
        return mean / error
    return 0.0 if abs(mean) < 1e-9 else float("inf") if mean > 0 else float("-inf")


def asks_for_precision(work: CreationWork) -> bool:
    """Whether a model's triggers must be precise here."""
    return work.config.gate is TriggerGate.PRECISE and not work.config.general_triggers and bool(work.scored)


def precision_problems(skill: Skill, recommendation: Recommendation, work: CreationWork) -> list[str]:
    """What speaks against a model's trigger; the paper's gate and the ablation ``general_triggers`` ask nothing more.

    An always-on trigger has to earn it: its recommendation must serve half of the failing tasks. A pattern must fire
    more on the failures it is for than elsewhere at the same turn; advice that has earned to be always on may also wait
    for its moment (a page that every episode passes), as long as it does not stay away from the failures it is for.
    """
    if not asks_for_precision(work):
        return []
    need = need_of(recommendation, work)
    if not need.failing:
        return []
    if skill.trigger.kind in _ALWAYS_ON:
        if need.earned:
            return []
        return [
            f"{skill.name}: `{skill.trigger.kind}` is in every episode, but this advice serves {need}; from "
            f"{EARNED:.0%} on it may be always on, else use a pattern that fires where it is needed"
        ]
    found = precision_of(skill, need)
    where = (
        f"{skill.name}: its trigger fires on {found.addressed:.0%} of the turns of the {len(need.addressed)} failures "
        f"it is for and on {found.elsewhere:.0%} of the same turns elsewhere"
    )
    if found.z <= AVOIDS_Z:
        return [f"{where}: it goes with doing well; match what is seen or done right before the mistake"]
    if found.z < SINGLES_OUT_Z and not need.earned:
        return [
            f"{where}, not more; match what is seen or done right before the mistake (serving {need}, it must single "
            f"them out; from {EARNED:.0%} on it need not)"
        ]
    return []


def trigger_evidence(skill: Skill, recommendation: Recommendation, work: CreationWork) -> str:
    """What is known about a model's trigger, for the people and trials that judge it."""
    need = need_of(recommendation, work)
    found = precision_of(skill, need)
    return (
        f"{skill.name} serves {need}; it fires on {found.addressed:.0%} of the turns of the failures it is for and on "
        f"{found.elsewhere:.0%} of the same turns elsewhere"
    )
