"""Where the skills of a run come from: version, parent, evidence."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.library import OperationKind, Proposal, SkillLibrary
from reskill_agents.packs import Fact, Lineage


def adopted(
    lineage: Mapping[str, Lineage], before: SkillLibrary, proposal: Proposal, evidence: Mapping[str, Fact]
) -> dict[str, Lineage]:
    """The lineage after ``proposal`` was adopted on ``evidence``; skills it does not name keep theirs."""
    after = dict(lineage)
    for operation in proposal.operations:
        if operation.kind is OperationKind.DELETE:
            after.pop(operation.name, None)
        elif operation.kind is OperationKind.ADD:
            after[operation.name] = Lineage(1, None, dict(evidence))
        else:
            old = lineage.get(operation.name, Lineage())
            after[operation.name] = Lineage(old.version + 1, before.by_name[operation.name].digest, dict(evidence))
    return after


def lineage_to_json(lineage: Mapping[str, Lineage]) -> dict[str, object]:
    """By skill name."""
    return {
        name: {"version": one.version, "parent": one.parent, "evidence": dict(one.evidence)}
        for name, one in lineage.items()
    }


def lineage_from_json(entry: Mapping[str, object]) -> dict[str, Lineage]:
    """The inverse of :func:`lineage_to_json`."""
    found = {}
    for name, one in entry.items():
        if not isinstance(one, Mapping):
            raise TypeError(f"lineage of {name!r}")
        parent = one["parent"]
        found[name] = Lineage(int(one["version"]), None if parent is None else str(parent), dict(one["evidence"]))
    return found
