"""Every event of a run once: to ``trials.jsonl`` and to whoever watches.

Lines of ``trials.jsonl`` have ``event`` and ``step``:

- ``library``: a library came into force: ``version``, ``library`` (digest and skills), ``lineage``.
- ``creation``: a round ended: ``creation``, ``asked_at``, ``proposal`` (texts, reason, evidence; null for none),
  ``notes``, ``adopted``, ``trial``, ``before`` and ``after`` (digests), ``report`` (author, insights, checks,
  diagnosis, assertions, ``seconds``).
- ``trial``: one opened: ``purpose``, ``candidate`` (digest and skills), and the fields of ``TrialOpened``.
- ``posterior``: a step's evidence: the fields of ``TrialStep`` (its own count of steps is ``trial_step``).
- ``verdict``: ``trial``, ``purpose``, ``verdict``, ``proposal``, ``library`` (digest in force), ``version``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from reskill_agents.graphs.creator_state import CreationReport
from reskill_agents.library import SkillLibrary
from reskill_agents.packs import Lineage, export_pack
from reskill_agents.trainers.lineage import lineage_to_json
from reskill_agents.trainers.progress import ProgressListener, ProposalEvent, TrialPurpose, VerdictEvent
from reskill_agents.trainers.run_folder import Log, RunFolder
from reskill_agents.trainers.skill_json import library_to_json, proposal_to_json
from reskill_agents.trials import TrialFact


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes events to the run folder and tells the listener."""

    run: RunFolder
    listener: ProgressListener

    def library(self, step: int, version: int, library: SkillLibrary, lineage: Mapping[str, Lineage]) -> None:
        """``library`` is in force from ``step`` on; it is also written as a pack."""
        export_pack(library, self.run.path / "libraries" / f"v{version:03d}", lineage=lineage)
        self._line(
            "library",
            step,
            {"version": version, "library": library_to_json(library), "lineage": lineage_to_json(lineage)},
        )

    def proposal(self, step: int, event: ProposalEvent, report: CreationReport) -> None:
        """A creation round ended."""
        self._line(
            "creation",
            step,
            {
                "creation": event.creation,
                "asked_at": event.asked_at,
                "proposal": proposal_to_json(event.proposal) if event.proposal else None,
                "notes": list(event.notes),
                "adopted": event.adopted,
                "trial": event.trial,
                "before": event.before.digest,
                "after": event.after.digest,
                "report": asdict(report),
            },
        )
        self.listener.proposal(event)

    def trial_opened(self, step: int, fact: TrialFact, purpose: TrialPurpose, candidate: SkillLibrary) -> None:
        """A trial began."""
        self._line("trial", step, {"purpose": purpose, **_fields(fact), "candidate": library_to_json(candidate)})

    def trial_fact(self, step: int, fact: TrialFact) -> None:
        """A trial took in the evidence of a step."""
        fields = _fields(fact)
        self._line("posterior", step, {**fields, "trial_step": fields.pop("step")})

    def verdict(self, event: VerdictEvent) -> None:
        """A trial's verdict is in force."""
        self._line(
            "verdict",
            event.step,
            {
                "trial": event.trial,
                "purpose": event.purpose,
                "verdict": {**asdict(event.verdict), **_per_arm(event)},
                "proposal": proposal_to_json(event.proposal) if event.proposal else None,
                "library": event.library.digest,
                "version": event.version,
            },
        )
        self.listener.verdict(event)

    def _line(self, event: str, step: int, fields: Mapping[str, object]) -> None:
        self.run.append(Log.TRIALS, {"event": event, **fields, "step": step})


def _fields(fact: TrialFact) -> dict[str, object]:
    fields = asdict(fact)
    fields.pop("fact")
    return fields


def _per_arm(event: VerdictEvent) -> dict[str, object]:
    """Counts and means by arm's name: a named tuple would become a bare list."""
    verdict = event.verdict
    return {name: getattr(verdict, name)._asdict() for name in ("episodes", "missing", "means")}
