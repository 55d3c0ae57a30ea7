"""How a live app's skills evolved, with the evidence of every decision: ``report.md`` and ``report.html``.

Skill and log text is only ever a value: escaped in the page, fenced in the Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reskill_agents.charts import Axes, Series, line_chart
from reskill_agents.graphs.evolution_ledger import Ending, Standing
from reskill_agents.graphs.evolution_view import Decision, EvolutionView, read_evolution, when
from reskill_agents.skill import Skill
from reskill_agents.store_protocol import SkillStore


@dataclass(frozen=True)
class Heading:
    """A heading; ``level`` 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Verbatim:
    """Text of a skill, under its name."""

    name: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A chart; only the page shows it."""

    svg: str


Part = Heading | Paragraph | Table | Verbatim | Picture


def write_evolution_report(store: SkillStore, folder: Path, *, title: str = "Skills", model: str = "") -> Path:
    """Write ``report.md`` and ``report.html`` to ``folder``; returns the page's path."""
    parts = report_parts(read_evolution(store, model=model), title)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(to_markdown(parts), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(to_html(parts, title), encoding="utf-8")
    return page


def report_parts(view: EvolutionView, title: str) -> list[Part]:
    """The report as a list of parts."""
    parts: list[Part] = [
        Heading(title, 1),
        Paragraph(_headline(view)),
        *_outcomes(view),
        *_in_force(view),
        *_costs(view),
    ]
    parts.append(Heading("Decisions"))
    if not view.decisions:
        parts.append(Paragraph("Nothing was tried yet."))
    for number, decision in enumerate(view.decisions, 1):
        parts += _decision(number, decision)
    parts.append(Heading("What was served"))
    head = ("#", "when", "what", "library", "by", "why")
    parts.append(
        Table(
            head,
            [
                (str(a.number), when(a.at), a.kind.value, a.library[7:19], a.by or a.trial, a.reason)
                for a in view.history
            ],
        )
    )
    return parts


def _headline(view: EvolutionView) -> str:
    endings = [decision.live.ending for decision in view.decisions]
    counted = ", ".join(f"{endings.count(ending)} {ending}" for ending in Ending if ending in endings)
    state = " It is FROZEN." if view.active.frozen else " A library is PINNED." if view.active.pinned else ""
    served = sum(block.last - block.first + 1 for block in view.blocks)
    tenant = "/".join(view.namespace) or "the only tenant"
    return (
        f"Tenant {tenant}: {served} requests with an outcome; trials: {counted or 'none'}; in force: "
        f"{len(view.skills)} skills (library {view.active.library.digest[7:19]}).{state}"
    )


def _outcomes(view: EvolutionView) -> list[Part]:
    if len(view.blocks) < 2:
        return []
    middle = [((block.first + block.last) / 2, block) for block in view.blocks]
    lines = [
        Series("mean outcome", [(x, block.mean) for x, block in middle], "ink-1", dots=True),
        Series("full score", [(x, block.success) for x, block in middle], "ink-2", dots=True),
    ]
    chart = line_chart(Axes((1.0, float(view.blocks[-1].last)), x_label="request"), lines, label="outcomes over time")
    rows = [(f"{b.first}–{b.last}", f"{b.mean:.3f}", f"{b.success:.3f}") for b in view.blocks]
    return [Heading("Outcomes"), Picture(chart), Table(("requests", "mean outcome", "full score"), rows)]


def _in_force(view: EvolutionView) -> list[Part]:
    parts: list[Part] = [Heading("Skills in force")]
    if view.unproven:
        names = ", ".join(skill.name for skill in view.unproven)
        model = f" {view.model}" if view.model else ""
        parts.append(Paragraph(f"Unproven for the present model{model}: {names}."))
    for standing in view.skills:
        parts += [Paragraph(_standing(standing, view.model)), _text(standing.skill)]
    return parts


def _standing(standing: Standing, model: str) -> str:
    skill, known = standing.skill, dict(standing.proven)
    mine = known.pop(model, None)
    said = f"proven by trial {mine}" if mine else "UNPROVEN for the present model"
    others = "; ".join(f"proven for {name or 'an unknown model'} by {trial}" for name, trial in known.items())
    return f"{skill.name}: {said}{f' ({others})' if others else ''}."


def _costs(view: EvolutionView) -> list[Part]:
    """Tokens of skill text a request, for each library that was served."""
    if not view.account.total.skill_tokens:
        return []
    head = ("library", "requests", "skill tokens a request", "all tokens a request", "skills' share of prompts")
    rows = [
        (
            one.library[7:19],
            str(one.expense.requests),
            f"{one.expense.skill_tokens_per_request:.1f}",
            f"{one.expense.tokens_per_request or 0.0:.0f}" if one.expense.metered else "–",
            f"{one.expense.share_of_prompts:.1%}" if one.expense.share_of_prompts is not None else "–",
        )
        for one in view.account.libraries
    ]
    return [Heading("What skills cost"), Table(head, rows)]


def _decision(number: int, decision: Decision) -> list[Part]:
    live, facts = decision.live, decision.facts
    parts: list[Part] = [
        Heading(f"{number}. {live.ending}: {decision.change}", 3),
        Paragraph(
            f"Trial {live.trial_id} ({live.purpose}, from {live.origin}), model {live.record.model or 'unknown'}, "
            f"{when(live.record.opened)} to {when(decision.ended) or 'now'}."
        ),
    ]
    if live.proposal is not None and live.proposal.reason:
        parts.append(Paragraph(f"Why it was tried: {live.proposal.reason}"))
        parts += [Paragraph(f"Evidence: {line}") for line in live.proposal.evidence]
    if live.verdict is not None:
        parts.append(Paragraph(f"Verdict: {live.verdict.reason} (rule: {live.verdict.rule})."))
        rows = [
            ("threads", _count(facts.get("threads_incumbent")), _count(facts.get("threads_candidate"))),
            ("without outcome", _count(facts.get("missing_incumbent")), _count(facts.get("missing_candidate"))),
            ("mean outcome", _real(facts.get("mean_incumbent")), _real(facts.get("mean_candidate"))),
        ]
        parts.append(Table(("", "in force", "candidate"), rows))
        parts.append(
            Paragraph(
                f"Difference within stratum and window {_real(facts.get('difference'), sign=True)} ± "
                f"{_real(facts.get('difference_se'))} (standard error), P {_real(facts.get('probability'))}."
            )
        )
    if live.why and (live.verdict is None or live.why != live.verdict.reason):
        parts.append(Paragraph(f"Ended: {live.why}{f' (by {decision.by})' if decision.by else ''}."))
    if decision.windows:
        head = ("window", "threads", "mean in force", "mean candidate", "difference so far", "P(better)")
        parts.append(
            Table(
                head,
                [
                    (
                        str(w.number),
                        f"{w.threads[0]:g} + {w.threads[1]:g}",
                        _real(w.means[0]),
                        _real(w.means[1]),
                        f"{w.difference:+.3f}",
                        f"{w.probability:.3f}",
                    )
                    for w in decision.windows
                ],
            )
        )
    parts += [_text(skill, "taken out: ") for skill in decision.removed]
    parts += [_text(skill, "put in: ") for skill in decision.added]
    return parts


def _text(skill: Skill, prefix: str = "") -> Verbatim:
    pattern = f" {skill.trigger.pattern}" if skill.trigger.pattern else ""
    return Verbatim(
        f"{prefix}{skill.name}", f"trigger: {skill.trigger.kind}{pattern}\n{skill.description}\n\n{skill.body}"
    )


def _count(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else ""


def _real(value: object, *, sign: bool = False) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def to_markdown(parts: Iterable[Part]) -> str:
    """The parts as Markdown."""
    blocks = []
    for part in parts:
        match part:
            case Heading(text, level):
                blocks.append(f"{'#' * level} {_line(text)}")
            case Paragraph(text):
                blocks.append(_line(text))
            case Table(head, rows):
                lines = [head, ["---"] * len(head), *rows]
                blocks.append("\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in lines))
            case Verbatim(name, text):
                fence = "`" * max(3, 1 + max((len(run) for run in _ticks(text)), default=0))
                blocks.append(f"`{name}`:\n\n{fence}text\n{text}\n{fence}")
            case Picture():
                continue
    return "\n\n".join(blocks) + "\n"


def _line(text: str) -> str:
    """One line without markup of its own."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_<>[]#|" else c for c in flat)


def _cell(text: str) -> str:
    return text if text == "---" else _line(text)


def _ticks(text: str) -> list[str]:
    runs, run = [], ""
    for character in f"{text} ":
        if character == "`":
            run += character
        elif run:
            runs.append(run)
            run = ""
    return runs


def to_html(parts: Iterable[Part], title: str) -> str:
    """The parts as one page that needs no network and no script."""
    body = "\n".join(_html(part) for part in parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>\n{_style()}\n</style></head>\n'
        f'<body><main style="max-width: 60rem; margin: 0 auto; padding: 1rem">\n{body}\n</main></body></html>\n'
    )


def _html(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Table(head, rows):
            top = "".join(f"<th>{escape(text)}</th>" for text in head)
            body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
            return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
        case Verbatim(name, text):
            return f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
        case Picture(svg):
            return f"<figure>{svg}</figure>"


def _style() -> str:
    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader("reskill_agents", "skill_templates/report"), undefined=StrictUndefined
    )
    return environment.get_template("style.css.jinja").render()
