"""The author that needs no language model: induced assertions and closed templates."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reskill_agents.directives import Directive
from reskill_agents.errors import CreatorError
from reskill_agents.graphs.creator_memory import VerdictMemory, trigger_key
from reskill_agents.graphs.creator_state import (
    CheckFinding,
    CreationWork,
    Diagnosis,
    Doubtful,
    Insight,
    Recommendation,
    TaskSample,
)
from reskill_agents.induction import Induced, induced_assertions
from reskill_agents.induction_advice import (
    Advice,
    advice_body,
    advice_sentence,
    advice_slug,
    advice_when,
    advices_contradict,
)
from reskill_agents.library import Operation, OperationKind
from reskill_agents.skill import MAX_NAME, Skill
from reskill_agents.trigger import Trigger, TriggerKind

ROOM = "to make room: "  # how the reason of a deletion begins that only serves an addition
LIKELY_Z = 1.5  # effect over error from which unconfirmed advice may be shown to a person
LEAST_PROMISE = 0.002  # of the mean graded outcome; what can add less is not worth a trial
FRESH_Z = 3.0  # effect over error that later episodes must show before barred advice is tried again
HARMFUL_Z = -2.0  # a live skill whose advice goes with worse outcomes at this z is proposed for deletion
_EXPLORED = 12  # doubtful directives to draw from when exploring
_UNFOLLOWED = 0.2  # a live skill kept on fewer turns than this, although its advice helps, gets another trigger
_ENOUGH = 30  # episodes that must have carried the library before it is judged


class OfflineAuthor:
    """Recommends the induced directives that promise most and writes them with closed templates.

    What it can say is the grammar of :mod:`reskill_agents.directives` over the action vocabulary of the log; no other
    text of an episode reaches a skill. Deterministic in the work's seed.
    """

    name = "offline"
    rewrites = False  # a closed template has no second wording

    async def analyse(self, work: CreationWork, sample: TaskSample) -> Insight | None:
        """Which confirmed directives the better episodes of a task kept and the worse ones broke."""
        doses = work.favoured_doses
        text, kept, broken = [], list[str](), list[str]()
        for found in work.favoured:
            good = [doses[name][found.advice] for name in sample.good]
            poor = [doses[name][found.advice] for name in sample.poor]
            if any(dose == 1 for dose in good) and any(dose < 1 for dose in poor):
                text.append(advice_sentence(found.advice))
                kept += [name for name, dose in zip(sample.good, good, strict=True) if dose == 1]
                broken += [name for name, dose in zip(sample.poor, poor, strict=True) if dose < 1]
        if not text:
            return None
        return Insight(sample.task_id, " ".join(text), tuple(dict.fromkeys(kept)), tuple(dict.fromkeys(broken)))

    async def diagnose(
        self, work: CreationWork, insights: Sequence[Insight], checks: Sequence[CheckFinding]
    ) -> Diagnosis:
        """Checks that good episodes pass more often than poor ones, largest gap first; induced assertions go on."""
        by_gap = sorted(checks, key=lambda check: check.passed_poor - check.passed_good)
        problems = tuple(
            f"{check.text} Kept in {check.passed_good:.0%} of good and {check.passed_poor:.0%} of poor episodes"
            + (f" (skill {check.skill})." if check.skill else ".")
            for check in by_gap
        )
        if not work.config.assertions:
            return Diagnosis(problems)
        induced = induced_assertions(work.induction)
        if not induced and work.config.doubtful is Doubtful.LIKELY:
            likely = [found for found in work.induction.doubtful if found.z >= LIKELY_Z]
            induced = induced_assertions(work.induction, likely)
        known = {assertion.id: assertion for assertion in (*induced, *work.assertions)}
        return Diagnosis(problems, tuple(known.values())[: work.config.max_assertions])

    async def recommend(
        self, work: CreationWork, insights: Sequence[Insight], diagnosis: Diagnosis
    ) -> tuple[Recommendation, ...]:
        """Repairs of the live library first, else the most promising additions that were not rejected before."""
        memory = VerdictMemory(work.verdicts)
        repair = self._repair(work, memory) if work.config.assertions else None
        if repair:
            return (repair,)
        rng = work.rng("recommend")
        explore = rng.random() < work.config.explore
        confirmed = [
            found for found in work.favoured if found.promise >= LEAST_PROMISE and self._open(work, memory, found)
        ]
        unchecked = work.induction.doubtful if work.config.assertions else ()
        doubtful = [found for found in unchecked if self._open(work, memory, found)][:_EXPLORED]
        bundles = self._bundles(work, confirmed)
        ordered = [*bundles, *self._likely(work, doubtful)]
        if work.config.doubtful is Doubtful.ALONE:
            speculative = [(found,) for found in rng.sample(doubtful, len(doubtful))]
            ordered = [*speculative, *bundles] if explore else [*bundles, *speculative]
        for bundle in ordered:
            plan = self._plan(work, bundle)
            drafts = [self._operation(work, recommendation) for recommendation in plan]
            if plan and not memory.was_rejected(drafts):
                return plan
        return ()

    async def write(self, work: CreationWork, recommendation: Recommendation, problems: Sequence[str]) -> Operation:
        """The operation in the grammar's wording.

        Raises:
            CreatorError: for a recommendation that is not in the closed grammar, or one the verifier refused before (a
                closed template has no second wording).
        """
        if problems:
            raise CreatorError(f"a closed template cannot be reworded: {'; '.join(problems)}")
        return self._operation(work, recommendation)

    def _open(self, work: CreationWork, memory: VerdictMemory, found: Induced) -> bool:
        """Not live, not barred on old evidence."""
        body = advice_body(found.advice)
        if any(skill.body == body for skill in work.library):
            return False
        if memory.forbidden(Operation.add(skill_for(found.advice, Trigger()))):
            return False
        if not memory.barred(body):
            return True
        fresh = work.induction.measure(found.advice, after_step=memory.last_step(body))
        return fresh.z >= FRESH_Z and fresh.support >= work.config.induction.min_tasks

    def _bundles(self, work: CreationWork, confirmed: Sequence[Induced]) -> Iterable[tuple[Induced, ...]]:
        """Compatible bundles, the most promising in sum first: one right skill alone is hard to see in a trial."""
        head = confirmed[: work.config.max_operations + 3]
        bundles = [
            bundle
            for size in range(1, work.config.max_operations + 1)
            for bundle in itertools.combinations(head, size)
            if not any(advices_contradict(a.advice, b.advice) for a, b in itertools.combinations(bundle, 2))
        ]
        return sorted(bundles, key=lambda bundle: -sum(max(found.promise, 0.0) for found in bundle))

    def _likely(self, work: CreationWork, doubtful: Sequence[Induced]) -> Iterable[tuple[Induced, ...]]:
        """Bundles of doubtful advice that is at least likely."""
        return self._bundles(work, [found for found in doubtful if found.z >= LIKELY_Z])

    def _plan(self, work: CreationWork, bundle: Sequence[Induced]) -> tuple[Recommendation, ...]:
        """Additions, and deletions of live skills they replace; empty when it does not fit."""
        removed: dict[str, str] = {}
        for found in bundle:
            for name, live in work.live.items():
                if advices_contradict(found.advice, live.advice):
                    if live.effect >= found.effect:
                        return ()
                    removed[name] = f"{ROOM}it contradicts: {advice_sentence(found.advice)}"
        over = len(work.library) + len(bundle) - len(removed) - work.config.capacity
        weakest = sorted((name for name in work.live if name not in removed), key=lambda name: work.live[name].effect)
        for name in weakest[: max(over, 0)]:
            removed[name] = f"{ROOM}the library is full and this effect is the least ({work.live[name].effect:+.3f})"
        fits = len(work.library) + len(bundle) - len(removed) <= work.config.capacity
        if len(bundle) + len(removed) > work.config.max_operations or not fits:
            return ()
        deletions = [
            Recommendation(OperationKind.DELETE, target=name, reason=reason, evidence=(work.live[name].evidence,))
            for name, reason in removed.items()
        ]
        return (*deletions, *(self._addition(work, found) for found in bundle))

    def _addition(self, work: CreationWork, found: Induced) -> Recommendation:
        fit = work.induction.trigger_for(found.advice)
        if work.config.general_triggers:
            fit = replace(fit, trigger=Trigger(TriggerKind.GENERAL))
        fits = f"trigger precision {fit.precision:.2f}, recall {fit.recall:.2f} over logged turns"
        kind = "confirmed" if found.confirmed else "exploration: not confirmed, to be settled by a trial or a person"
        return Recommendation(
            OperationKind.ADD,
            advice=found.advice,
            trigger=fit.trigger,
            idea=advice_sentence(found.advice),
            reason=kind,
            evidence=(found.evidence, fits) if isinstance(found.advice, Directive) else (found.evidence,),
        )

    def _repair(self, work: CreationWork, memory: VerdictMemory) -> Recommendation | None:
        """A change of a live skill: delete what goes with worse outcomes, move a trigger that does not deliver."""
        carried = [e for e in work.episodes if e.score is not None and e.library_digest == work.library.digest]
        if len(carried) < _ENOUGH:
            return None
        for skill in work.library:
            live = work.live.get(skill.name)
            if live is not None and live.z <= HARMFUL_Z:
                delete = Recommendation(
                    OperationKind.DELETE,
                    skill.name,
                    reason="its advice goes with worse outcomes",
                    evidence=(live.evidence,),
                )
                if not memory.was_rejected([self._operation(work, delete)]):
                    return delete
            fired = sum(skill.name in episode.fired for episode in carried) / len(carried)
            if live is None or (fired >= 0.05 and not (live.kept < _UNFOLLOWED and live.effect > live.error)):
                continue
            fitting = () if work.config.general_triggers else (work.induction.trigger_for(live.advice).trigger,)
            for trigger in (*fitting, Trigger(TriggerKind.GENERAL)):
                modify = Recommendation(
                    OperationKind.MODIFY,
                    skill.name,
                    advice=live.advice,
                    trigger=trigger,
                    reason=f"fired in {fired:.0%} of episodes, kept on {live.kept:.0%} of the turns it concerns",
                    evidence=(live.evidence,),
                )
                if trigger_key(trigger) != trigger_key(skill.trigger) and not memory.was_rejected(
                    [self._operation(work, modify)]
                ):
                    return modify
        return None

    def _operation(self, work: CreationWork, recommendation: Recommendation) -> Operation:
        if recommendation.kind is OperationKind.DELETE:
            return Operation.delete(recommendation.target)
        if recommendation.advice is None:
            raise CreatorError("the offline author writes only the closed grammar")
        if recommendation.kind is OperationKind.MODIFY:
            return Operation.modify(recommendation.target, trigger=recommendation.trigger)
        names = [skill.name for skill in work.library]
        return Operation.add(skill_for(recommendation.advice, recommendation.trigger or Trigger(), taken=names))


def skill_for(advice: Advice, trigger: Trigger, *, taken: Iterable[str] = ()) -> Skill:
    """The skill that gives ``advice``, in the closed templates' wording, under a name not in ``taken``."""
    when, said = advice_when(advice), advice_sentence(advice)
    said = said.removeprefix(f"When {when}, ")
    description = f"Use when {when}: {said[0].lower()}{said[1:]}".replace("<", "‹").replace(">", "›")
    used, base = set(taken), advice_slug(advice)
    numbered = (f"{base[: MAX_NAME - 4]}-{number}" for number in itertools.count(2))
    name = base if base not in used else next(name for name in numbered if name not in used)
    return Skill(name, description, advice_body(advice), trigger)
