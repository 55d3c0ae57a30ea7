"""The state of the skills' side as JSON, and back, exactly."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.assertions.codec import assertion_from_json, assertion_to_json
from reskill_agents.errors import RunFolderError
from reskill_agents.graphs.creator_state import PastVerdict
from reskill_agents.reservoir import Reservoir
from reskill_agents.trainers.creation import Creation
from reskill_agents.trainers.lineage import lineage_from_json, lineage_to_json
from reskill_agents.trainers.progress import TrialPurpose
from reskill_agents.trainers.skill_json import (
    library_from_json,
    library_to_json,
    proposal_from_json,
    proposal_to_json,
)
from reskill_agents.trainers.skills_loop import OpenTrial, SkillsLoop
from reskill_agents.trials import TrialHistory, VersionTrial


def skills_to_state(loop: SkillsLoop) -> dict[str, object]:
    """Everything that a resumed run needs."""
    return {
        "active": library_to_json(loop.active),
        "version": loop.version,
        "lineage": lineage_to_json(loop.lineage),
        "since": dict(loop.since),
        "trial": _trial_to_state(loop.open_trial) if loop.open_trial else None,
        "pending": loop.pending.to_state() if loop.pending else None,
        "history": loop.history.to_state(),
        "verdicts": [
            {"proposal": proposal_to_json(v.proposal), "accepted": v.accepted, "reason": v.reason, "step": v.step}
            for v in loop.verdicts
        ],
        "assertions": [assertion_to_json(assertion) for assertion in loop.assertions],
        "reservoir": loop.reservoir.to_state(),
        "pruner": loop.pruner.to_state(),
        "creations": loop.creations,
        "trials": loop.trials,
        "next_creation": loop.next_creation,
        **({"memory": loop.memory.to_state()} if loop.memory is not None else {}),
    }


def restore_skills(loop: SkillsLoop, state: Mapping[str, object]) -> None:
    """Put ``loop`` into the state that :func:`skills_to_state` described and start again what was under way.

    Raises:
        RunFolderError: when it is not such a state.
    """
    try:
        loop.active = library_from_json(state["active"])
        loop.version = _integer(state["version"])
        loop.lineage = lineage_from_json(_mapping(state["lineage"]))
        loop.since = {name: _integer(step) for name, step in _mapping(state["since"]).items()}
        loop.history = TrialHistory.from_state(_mapping(state["history"]))
        loop.verdicts = [_verdict(_mapping(entry)) for entry in _list(state["verdicts"])]
        loop.assertions = tuple(assertion_from_json(entry) for entry in _list(state["assertions"]))
        loop.reservoir = Reservoir.from_state(_mapping(state["reservoir"]))
        loop.pruner.restore(_mapping(state["pruner"]))
        loop.creations = _integer(state["creations"])
        loop.trials = _integer(state["trials"])
        loop.next_creation = _integer(state["next_creation"])
        if loop.memory is not None:
            loop.memory.restore(state["memory"])
        loop.open_trial = _trial_from_state(_mapping(state["trial"])) if state["trial"] else None
        if state["pending"]:
            pending = _mapping(state["pending"])
            loop.pending = Creation.from_state(pending, loop.active, loop.verdicts, loop.assertions)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"the checkpoint's state of the skills cannot be read: {error!r}") from error
    loop.resume()


def _trial_to_state(open_trial: OpenTrial) -> dict[str, object]:
    return {
        "trial": open_trial.trial.to_state(),
        "purpose": open_trial.purpose.value,
        "proposal": proposal_to_json(open_trial.proposal) if open_trial.proposal else None,
        "candidate": library_to_json(open_trial.candidate),
    }


def _trial_from_state(state: Mapping[str, object]) -> OpenTrial:
    return OpenTrial(
        VersionTrial.from_state(_mapping(state["trial"])),
        TrialPurpose(str(state["purpose"])),
        proposal_from_json(state["proposal"]) if state["proposal"] else None,
        library_from_json(state["candidate"]),
    )


def _verdict(entry: Mapping[str, object]) -> PastVerdict:
    return PastVerdict(
        proposal_from_json(entry["proposal"]), entry["accepted"] is True, str(entry["reason"]), _integer(entry["step"])
    )


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a whole number is needed, got {value!r}")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"an object is needed, got {type(value).__name__}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list is needed, got {type(value).__name__}")
    return value
