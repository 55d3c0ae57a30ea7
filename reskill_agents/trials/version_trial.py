"""A trial of a candidate library against the one in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reskill_agents.errors import TrialError
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import digest_json
from reskill_agents.trials.arm import Arm
from reskill_agents.trials.assignment import AssignmentStream, blocked_arms
from reskill_agents.trials.evidence import ArmOutcomes, StepEvidence, step_evidence
from reskill_agents.trials.facts import TrialFact, TrialOpened, TrialStep, TrialVerdict
from reskill_agents.trials.history import FinishedTrial, TrialHistory
from reskill_agents.trials.method import Decision, TrialMethod
from reskill_agents.trials.method_names import method_for, method_from_settings
from reskill_agents.trials.missing import SIGNIFICANT, missing_p_value
from reskill_agents.trials.state import integer, items, mapping
from reskill_agents.trials.units import UnitAssignment, UnitOutcome, unit_arm, window_groups
from reskill_agents.trials.verdict import Guarantee, PerArm, Posterior, Rule, TrialMethodName, Verdict, VerdictOutcome


class VersionTrial:
    """Incumbent against candidate: assign arms, record outcomes, get a verdict. Needs no trainer.

    Evidence is keyed by trial and arm, never by digest: in an A/A trial both arms carry the same library.

    Args:
        incumbent, candidate: libraries or their digests.
        method: ``paired``, ``discounted_beta`` or ``removal``; or any ``TrialMethod``.
        seed: of the assignment; together with ``trial_id`` it fixes every draw.
        history: finished trials of the run; the trial learns M or the forgetting from it when it starts.
        guarantee: ``steps``, or ``anytime`` for looks at any time (``paired`` only; costs some rollouts).
        trial_id: unique within a run; by default made from both digests, the seed and the number of finished trials.
    """

    def __init__(
        self,
        incumbent: SkillLibrary | str,
        candidate: SkillLibrary | str,
        *,
        method: TrialMethodName | str | TrialMethod = TrialMethodName.PAIRED,
        seed: int = 0,
        history: TrialHistory | None = None,
        guarantee: Guarantee | str = Guarantee.STEPS,
        trial_id: str | None = None,
    ) -> None:
        self.incumbent = incumbent if isinstance(incumbent, str) else incumbent.digest
        self.candidate = candidate if isinstance(candidate, str) else candidate.digest
        self.seed = seed
        history = history if history is not None else TrialHistory()
        self.trial_id = trial_id or _default_id(self.incumbent, self.candidate, seed, len(history.trials))
        self._method = method_for(method, history, Guarantee(guarantee)) if isinstance(method, str) else method
        self._stream = AssignmentStream(f"{self.trial_id}|{seed}")
        self._steps: list[StepEvidence] = []
        self._facts: list[TrialFact] = [
            TrialOpened(self.trial_id, str(self._method.name), self.incumbent, self.candidate, seed, self.is_aa)
        ]
        self._verdict: Verdict | None = None

    @property
    def is_aa(self) -> bool:
        """Whether both arms carry the same library."""
        return self.incumbent == self.candidate

    @property
    def method(self) -> str:
        """The method's name."""
        return self._method.name

    @property
    def steps(self) -> int:
        """Recorded steps."""
        return len(self._steps)

    def assign(self, group_size: int) -> list[Arm]:
        """The arms of the next group's rollouts, in rollout order; draw them before sampling.

        At least two rollouts of each arm when ``group_size >= 4``. Depends on the evidence of recorded steps only.

        Raises:
            TrialError: for an empty group, or when the trial is over.
        """
        if self._verdict is not None:
            raise TrialError(f"trial {self.trial_id} is over; start another one")
        rng = self._stream.next()
        return blocked_arms(group_size, self._method.candidates(group_size, rng), rng)

    def record_step(self, groups: Sequence[ArmOutcomes]) -> None:
        """Take in all groups of one step, each a list of (arm, trial outcome in [0, 1] or ``None`` for a fault).

        Groups may differ in size; only members of one group are compared. An empty step counts as a step. A group
        without variance may be replaced by a group on a new task before it is recorded: it says nothing about the
        arms. Never add rollouts to a group because of its outcomes: that would be stopping when it suits.

        Raises:
            TrialError: for an outcome outside [0, 1], or when the trial is over.
        """
        if self._verdict is not None:
            raise TrialError(f"trial {self.trial_id} is over; its evidence is sealed")
        self._take(step_evidence(groups, self._method.bets))

    def assign_unit(self, unit_id: str, stratum: str = "") -> UnitAssignment:
        """The arm of a live unit in the current window (see ``units``). Pure: the same until the window is sealed.

        Keep the assignment with the unit and with each of its outcomes; a unit stays with its first one.

        Raises:
            TrialError: when the trial is over.
        """
        if self._verdict is not None:
            raise TrialError(f"trial {self.trial_id} is over; start another one")
        share = self._method.share()
        arm = unit_arm(self.trial_id, unit_id, share)
        return UnitAssignment(self.trial_id, unit_id, arm, stratum, self.steps, share)

    def seal_window(self, outcomes: Iterable[UnitOutcome]) -> None:
        """Close the current window with all outcomes of its units; the share changes here and nowhere else.

        Outcomes that come later belong to a sealed window and are refused: leave them out.

        Raises:
            TrialError: for an outcome of another trial or window, a unit under two arms, or when the trial is over.
        """
        self.record_step(window_groups(outcomes, self.trial_id, self.steps))

    def verdict(self) -> Verdict | None:
        """The end of the trial, or ``None`` while it runs."""
        return self._verdict

    def posterior(self) -> Posterior:
        """The belief after the recorded steps."""
        return self._method.posterior()

    def episodes(self) -> PerArm:
        """Rollouts per arm so far, the missing ones included."""
        return PerArm(*self._counts())

    def missing(self) -> PerArm:
        """Rollouts without outcome per arm so far."""
        return PerArm(*self._lost())

    def facts(self) -> list[TrialFact]:
        """Everything that happened so far: opened, steps, verdict. ``facts.to_json_line`` writes one."""
        return list(self._facts)

    def finished(self) -> FinishedTrial:
        """The record for ``TrialHistory.add``.

        Raises:
            TrialError: while the trial runs.
        """
        if self._verdict is None:
            raise TrialError(f"trial {self.trial_id} has no verdict yet")
        return FinishedTrial(self.trial_id, self.method, self._verdict.accepted, tuple(self._steps))

    def to_state(self) -> dict[str, object]:
        """JSON-able and exact: :meth:`from_state` continues bit for bit."""
        return {
            "incumbent": self.incumbent,
            "candidate": self.candidate,
            "method": str(self.method),
            "settings": self._method.settings(),
            "seed": self.seed,
            "trial_id": self.trial_id,
            "assigned": self._stream.counter,
            "steps": [step.to_state() for step in self._steps],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object], *, method: TrialMethod | None = None) -> VersionTrial:
        """The trial that :meth:`to_state` described. Belief, facts and verdict follow from its steps.

        Args:
            state: of the trial.
            method: a fresh method with the settings of the first one; only for methods that do not ship.

        Raises:
            TrialError: when the state is not one of a trial.
        """
        try:
            trial = cls(
                str(state["incumbent"]),
                str(state["candidate"]),
                method=method or method_from_settings(str(state["method"]), mapping(state["settings"])),
                seed=integer(state["seed"]),
                trial_id=str(state["trial_id"]),
            )
            for step in items(state["steps"]):
                trial._take(StepEvidence.from_state(mapping(step)))
            trial._stream.counter = integer(state["assigned"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrialError(f"not the state of a trial: {error!r}") from error
        return trial

    def _take(self, step: StepEvidence) -> None:
        self._steps.append(step)
        self._method.record(step)
        self._facts.append(self._step_fact(step))
        decision = self._method.decide()
        if decision is not None:
            self._verdict = self._judge(decision)
        if self._verdict is not None:
            self._facts.append(TrialVerdict(self.trial_id, self._verdict))

    def _judge(self, decision: Decision) -> Verdict | None:
        """The decision with the missing-outcome brake applied; ``None`` when the trial goes on braked."""
        if decision.outcome is VerdictOutcome.ACCEPTED:
            p_value = missing_p_value(self._counts(), self._lost())
            if p_value <= SIGNIFICANT:
                if not decision.final:
                    return None
                lost0, lost1 = self._lost()
                reason = f"{decision.reason}, but the candidate lost {lost1} outcomes and the incumbent {lost0}"
                decision = Decision(VerdictOutcome.REJECTED, Rule.MISSING, f"{reason} (p = {p_value:.3f})", True)
        totals = [sum(step.totals[arm] for step in self._steps) for arm in (0, 1)]
        counts = [sum(step.counts[arm] for step in self._steps) for arm in (0, 1)]
        return Verdict(
            outcome=decision.outcome,
            rule=decision.rule,
            reason=decision.reason,
            posterior=self.posterior(),
            steps=len(self._steps),
            episodes=self.episodes(),
            missing=self.missing(),
            means=PerArm(*(t / c if c else 0.0 for t, c in zip(totals, counts, strict=True))),
        )

    def _lost(self) -> tuple[int, int]:
        return sum(s.missing[0] for s in self._steps), sum(s.missing[1] for s in self._steps)

    def _counts(self) -> tuple[int, int]:
        lost = self._lost()
        return sum(s.counts[0] for s in self._steps) + lost[0], sum(s.counts[1] for s in self._steps) + lost[1]

    def _step_fact(self, step: StepEvidence) -> TrialStep:
        counts = step.counts
        return TrialStep(
            trial=self.trial_id,
            step=len(self._steps),
            groups=step.groups,
            informative=step.informative,
            episodes=(counts[0] + step.missing[0], counts[1] + step.missing[1]),
            missing=step.missing,
            means=(_mean(step.totals[0], counts[0]), _mean(step.totals[1], counts[1])),
            score=step.score,
            information=step.information,
            posterior=self.posterior(),
        )


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _default_id(incumbent: str, candidate: str, seed: int, finished: int) -> str:
    digest = digest_json({"incumbent": incumbent, "candidate": candidate, "seed": seed, "finished": finished})
    return f"trial-{digest.removeprefix('sha256-')[:12]}"
