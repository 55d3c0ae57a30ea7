"""What a live app tries next: first what is unproven, then people's proposals; the creator is asked last."""

from __future__ import annotations

from collections.abc import Sequence

from reskill_agents.errors import ProposalError
from reskill_agents.graphs.evolution_ledger import LiveTrial, Purpose, often_fired, standings, to_leave_out
from reskill_agents.graphs.evolution_policy import EvolutionPolicy
from reskill_agents.graphs.evolution_trials import Idea
from reskill_agents.library import Operation, Proposal, SkillLibrary
from reskill_agents.skill_json import proposal_from_json
from reskill_agents.store_protocol import SkillStore

OFFERS = "evolution-offer"  # kind of the records that hold proposals of people


def next_idea(store: SkillStore, policy: EvolutionPolicy, trials: Sequence[LiveTrial], model: str) -> Idea | None:
    """What to try next without asking the creator; ``None``: nothing.

    In this order: skills that lost their proof because the model changed, pruning when its turn has come, proposals of
    people.
    """
    library = store.active().library
    if policy.aa:
        return Idea(Purpose.AA, library, None, "aa")
    retrial = leave_out_idea(store, policy, trials, model, retrial=True)
    if retrial is not None:
        return retrial
    if _pruning_is_due(policy, trials):
        pruning = leave_out_idea(store, policy, trials, model, retrial=False)
        if pruning is not None:
            return pruning
    return _offered(store, policy, library, trials)


def leave_out_idea(
    store: SkillStore, policy: EvolutionPolicy, trials: Sequence[LiveTrial], model: str, *, retrial: bool
) -> Idea | None:
    """The library without the skill whose worth is least known; ``retrial``: only after a change of model."""
    library = store.active().library
    verdicts = sum(trial.verdict is not None for trial in trials)
    known = standings(store, trials, library)
    fit = to_leave_out(known, model, verdicts, rest=policy.prune_rest, retrial=retrial)
    if not fit or not policy.prune_every:
        return None
    often = often_fired(store, library, least=policy.min_fired, share=policy.min_fired_share)
    weakest = next((standing for standing in fit if standing.skill.name in often), None)
    if weakest is None:
        return None
    name = weakest.skill.name
    why = "not tested for longest" if weakest.proven_for(model) else "unproven for this model"
    proposal = Proposal((Operation.delete(name),), f"{name}: {why}")
    return Idea(Purpose.RETRIAL if retrial else Purpose.REMOVAL, library.without(name), proposal, f"pruning ({why})")


def _pruning_is_due(policy: EvolutionPolicy, trials: Sequence[LiveTrial]) -> bool:
    """Whether none of the last ``prune_every`` verdicts was about a removal."""
    recent = [trial for trial in trials if trial.verdict is not None][-policy.prune_every :]
    return len(recent) >= policy.prune_every > 0 and not any(trial.purpose.removes for trial in recent)


def _offered(
    store: SkillStore, policy: EvolutionPolicy, library: SkillLibrary, trials: Sequence[LiveTrial]
) -> Idea | None:
    """The oldest proposal of a person that applies and had no trial yet."""
    had = {trial.record.note.get("offer") for trial in trials}
    for key, offer in sorted(store.records(OFFERS).items()):
        if key in had or offer.get("problem"):
            continue
        proposal = proposal_from_json(offer["proposal"])
        try:
            candidate = proposal.apply(library, capacity=policy.capacity)
        except ProposalError as error:
            store.put_record(OFFERS, key, {**offer, "problem": str(error)})
            continue
        return Idea(Purpose.PROPOSAL, candidate, proposal, f"person {offer.get('by', '')}".strip(), offer=key)
    return None
