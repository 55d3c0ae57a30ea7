"""A study's tables as Markdown, for the docs."""

from __future__ import annotations

from reskill_agents.study.plan import Plan
from reskill_agents.study.view import StudyView

LIVES = (
    "The skills' life: changes a run (of *proposed* ones), *pruned* by removal trials, *held*: additions in force that "
    "are still there at the end, *episodes* of a trial (median)"
)
COST = "Cost: tokens of a training episode, seconds on the machine that ran it, and what they bought"


def render_markdown(view: StudyView) -> str:
    """The same tables as Markdown."""
    plan = view.plan
    lines = [f"# {plan.title}", "", conditions(plan), ""]
    if plan.note:
        lines += [plan.note.strip(), ""]
    lines += [f"{view.done} of {view.expected} final runs are done.", ""]
    lines += [*(f"- {warning}" for warning in view.warnings), *([""] if view.warnings else [])]
    for one in view.parts:
        if len(view.parts) > 1:
            lines += [f"## {one.part.name}: {one.part.title}", "", f"World: {one.where}.", ""]
        lines += [one.accuracy.markdown(), ""]
        if one.tuning.rows:
            split = plan.tuning.split
            lines += [f"Success on {split} while tuning (mean of the tuning seeds):", "", one.tuning.markdown(), ""]
        if one.lives:
            lines += [f"{LIVES}:", "", one.lives.markdown(), ""]
        if one.cost:
            lines += [f"{COST}:", "", one.cost.markdown(), ""]
    return "\n".join(lines).rstrip() + "\n"


def conditions(plan: Plan) -> str:
    """What was the same for all, in a few sentences."""
    seeds = ", ".join(map(str, plan.final.seeds))
    tuning = ", ".join(map(str, plan.tuning.seeds))
    starts = "one start policy a seed"
    if plan.final.starts:
        starts = f"the seeds begin in turn with the start policies {', '.join(map(str, plan.final.starts))}"
    return (
        f"{plan.budget.final_steps} steps of {plan.budget.rollouts} rollouts; learning rates chosen on the "
        f"{plan.tuning.split} split ({plan.budget.tune_steps} steps, seeds {tuning}); final seeds {seeds}, {starts}. Success in "
        "percent, mean +- 95 % interval over seeds (of runs from these starts, not of other starts); differences are paired."
    )
