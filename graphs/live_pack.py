"""The library a live store serves, as a skill pack: with the lineage and the evidence its trials earned."""

from __future__ import annotations

from collections.abc import Mapping

from reskill_agents.conformance import made_cases, record_cases
from reskill_agents.errors import StoreError
from reskill_agents.graphs.evolution_ledger import read_trials, standings
from reskill_agents.library import SkillLibrary
from reskill_agents.live_records import Fact
from reskill_agents.packs import Lineage, Pack
from reskill_agents.store_protocol import SkillStore

_FACTS = ("difference", "difference_se", "probability", "mean_incumbent", "mean_candidate", "threads_candidate")


def live_pack(store: SkillStore, *, version: int | None = None, traffic: bool = False) -> Pack:
    """A pack of one tenant's library; nothing of any other tenant is in it.

    Args:
        store: the tenant's live data.
        version: number in the history of what was served; default: what is served now.
        traffic: record trigger cases from the conversations kept, as they are kept (redacted). Default: cases made from
            the patterns alone, so that no word of a customer leaves with a pack.

    Raises:
        StoreError: there was no such version.
    """
    library = store.active().library if version is None else _version(store, version)
    cases = record_cases(library, store.episodes()) if traffic else made_cases(library)
    return Pack(library, _lineage(store, library, version), cases)


def _version(store: SkillStore, number: int) -> SkillLibrary:
    for entry in store.history():
        if entry.number == number:
            return store.library(entry.library)
    raise StoreError(f"there was no version {number}; the history has {len(store.history())}")


def _lineage(store: SkillStore, library: SkillLibrary, version: int | None) -> dict[str, Lineage]:
    texts: dict[str, list[str]] = {}  # name -> the digests it had, oldest first
    for entry in store.history():
        if version is not None and entry.number > version:
            break
        for skill in store.library(entry.library):
            known = texts.setdefault(skill.name, [])
            if skill.digest not in known:
                known.append(skill.digest)
    evidence = _evidence(store, library)
    found = {}
    for skill in library:
        known = texts.get(skill.name) or [skill.digest]
        at = known.index(skill.digest) if skill.digest in known else len(known)
        found[skill.name] = Lineage(at + 1, known[at - 1] if at else None, evidence[skill.name])
    return found


def _evidence(store: SkillStore, library: SkillLibrary) -> dict[str, Mapping[str, Fact]]:
    """What the latest verdict for each skill says; that there is none is said as well."""
    found: dict[str, Mapping[str, Fact]] = {}
    for standing in standings(store, read_trials(store), library):
        earned = [(model, store.verdict(trial)) for model, trial in standing.proven.items()]
        verdicts = sorted(((v.at, model, v) for model, v in earned if v is not None), key=lambda one: one[0])
        if not verdicts:
            found[standing.skill.name] = {"tested": False}
            continue
        _, model, verdict = verdicts[-1]
        facts = {name: verdict.facts.get(name) for name in _FACTS}
        numbers = {name: round(value, 4) for name, value in facts.items() if isinstance(value, int | float)}
        found[standing.skill.name] = {"tested": True, "trial": verdict.trial_id, "model": model, **numbers}
    return found
