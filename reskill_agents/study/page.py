"""A study as one page that needs no network and no script."""

from __future__ import annotations

from pathlib import Path

from reskill_agents.report_templates import page_environment, write_page
from reskill_agents.study.markdown import render_markdown
from reskill_agents.study.plan import Plan
from reskill_agents.study.view import StudyView, read_study


def write_study(folder: Path, *, out: Path | None, markdown: Path | None, plan: Plan | None = None) -> StudyView:
    """Write the page and the Markdown, whichever are asked for.

    Raises:
        RunFolderError: there is no such folder.
        ConfigError: no plan, or one that does not hold together.
    """
    view = read_study(folder, plan)
    if out:
        write_page(out, render_page(view))
    if markdown:
        write_page(markdown, render_markdown(view))
    return view


def render_page(view: StudyView) -> str:
    """The HTML page."""
    template = page_environment().get_template("study.html.jinja")
    return template.render(view=view, plan=view.plan, parts=view.parts, facts=_facts(view))


def _facts(view: StudyView) -> list[tuple[str, str]]:
    plan = view.plan
    return [
        ("final runs", f"{view.done} of {view.expected}"),
        ("seeds", str(len(plan.final.seeds))),
        ("start policies", str(len(plan.final.starts or plan.final.seeds))),
        ("steps", str(plan.budget.final_steps)),
        ("episodes a step", plan.budget.rollouts),
        *(("commit", commit[:10] or "unknown") for commit in view.commits),
    ]
