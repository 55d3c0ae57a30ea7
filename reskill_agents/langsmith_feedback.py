"""Outcomes from LangSmith feedback: what people and evaluators said there, recorded under our runs.

``poll_feedback`` asks for what came since it last asked and records it; call it from cron (``reskill poll-langsmith``) or
a loop. A feedback belongs to the run whose id the app gave (``{"run_id": ...}`` in its config); else to the run that the
model calls of its trace name (``reskill.run`` in their metadata, which the middleware puts there).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reskill_agents.errors import OutcomeConflictError, ReSkillError, StoreError, UnknownRunError
from reskill_agents.live_records import Fact
from reskill_agents.store_protocol import SkillStore

if TYPE_CHECKING:
    from langsmith import Client
    from langsmith.schemas import Feedback

CURSOR = "langsmith-feedback"  # kind of the records that say how far each project and key was read
_OVERLAP_S = 300.0  # asked for again each time: feedback shows up late, and doubles change nothing

Scale = Callable[[float], float | None]


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll did with the feedback it was given.

    Args:
        recorded: outcomes that are in the store now, those of an earlier poll that were given again included.
        conflicting: another score was recorded for the run before; that one stays.
        unmatched: of runs that this tenant's store does not know.
        unusable: without a score, or with one that ``scale`` does not bring into 0..1.
    """

    recorded: int = 0
    conflicting: int = 0
    unmatched: int = 0
    unusable: int = 0

    @property
    def seen(self) -> int:
        """All of it."""
        return self.recorded + self.conflicting + self.unmatched + self.unusable


def poll_feedback(
    store: SkillStore,
    client: Client,
    *,
    project: str,
    key: str,
    scale: Scale = lambda score: score,
    since: float | None = None,
    clock: Callable[[], float] = time.time,
) -> Polled:
    """Record the feedback called ``key`` in a LangSmith project that came since the last poll.

    Args:
        store: the tenant's live data; it also keeps how far was read.
        client: ``langsmith.Client()``.
        project: name of the tracing project.
        key: name of the feedback.
        scale: feedback score -> outcome in 0..1, ``None`` to leave it out; thumbs (0 or 1) need none.
        since: seconds since the epoch; default: where the last poll began, at first everything.
        clock: seconds since the epoch.

    Raises:
        StoreError: LangSmith cannot be asked, or the store fails; what was recorded stays, the next poll asks again.
    """
    began, place = clock(), f"{project}/{key}"
    if since is None:
        since = _last(store, place)
    counts: dict[str, int] = dict.fromkeys(("recorded", "conflicting", "unmatched", "unusable"), 0)
    try:
        for feedback in _asked(client, project, key, since):
            counts[_take(store, client, feedback, scale)] += 1
    except ReSkillError:
        raise
    except Exception as error:  # the client's own errors, those of HTTP, and answers it cannot read
        raise StoreError(f"LangSmith could not be asked: {type(error).__name__}: {error}") from error
    store.put_record(CURSOR, place, {"began": began})
    return Polled(**counts)


def _last(store: SkillStore, place: str) -> float:
    kept = (store.record(CURSOR, place) or {}).get("began")
    return kept - _OVERLAP_S if isinstance(kept, int | float) else 0.0


def _asked(client: Client, project: str, key: str, since: float) -> Iterator[Feedback]:
    after: dict[str, Any] = {"min_created_at": datetime.fromtimestamp(since, UTC).isoformat()} if since > 0 else {}
    session = client.read_project(project_name=project).id
    return client.list_feedback(feedback_key=[key], session=[str(session)], **after)


def _take(store: SkillStore, client: Client, feedback: Feedback, scale: Scale) -> str:
    score = None if feedback.score is None else scale(float(feedback.score))
    if score is None or not 0.0 <= score <= 1.0:
        return "unusable"
    run_id = _run_of(store, client, feedback)
    if run_id is None:
        return "unmatched"
    facts: dict[str, Fact] = {"source": "langsmith", "key": feedback.key, "feedback": str(feedback.id)}
    try:
        store.record_outcome(run_id, score=score, metadata=facts)
    except OutcomeConflictError:
        return "conflicting"
    except UnknownRunError:  # forgotten meanwhile
        return "unmatched"
    return "recorded"


def _run_of(store: SkillStore, client: Client, feedback: Feedback) -> str | None:
    """The id under which the store knows what this feedback is about."""
    for given in dict.fromkeys((feedback.run_id, feedback.trace_id)):
        if given is not None and store.run(str(given)) is not None:
            return str(given)
    trace = feedback.trace_id or feedback.run_id
    if trace is None:
        return None
    for ours in _named_by_model_calls(client, str(trace)):
        if store.run(ours) is not None:
            return ours
    return None


def _named_by_model_calls(client: Client, trace: str) -> Iterator[str]:
    """Our run ids in the metadata of a trace's model calls.

    Asked for directly: the client's ``list_runs`` goes away in 2027, and what replaces it needs a newer service.
    """
    asked = {"trace": trace, "run_type": "llm", "select": ["id", "extra"], "limit": 100}
    answer = client.request_with_retries("POST", "/runs/query", request_kwargs={"data": json.dumps(asked)}).json()
    for run in answer.get("runs", ()):
        ours = ((run.get("extra") or {}).get("metadata") or {}).get("reskill.run")
        if isinstance(ours, str):
            yield ours
