"""Transcripts of both arms side by side, as one HTML page without scripts; everything in it is escaped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from reskill_agents.ab.answer import AbAnswer, ArmAccount, TaskResult
from reskill_agents.ab.run_log import RunRecord
from reskill_agents.trials.arm import Arm

PAGE_NAME = "ab.html"
_STYLE = Markup("""
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse } td, th { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; margin: .5rem 0 1.5rem }
.side { border: 1px solid #ddd; border-radius: 6px; padding: .5rem; min-width: 0 }
.message { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0; padding: .3rem .5rem; background: #f6f7f9 }
.assistant { background: #eaf2fd } .role { font-size: 12px; color: #57606a } .error { color: #a40e26 }
.better summary { color: #116329 } .worse summary { color: #a40e26 } summary { cursor: pointer; font-weight: 600 }
@media (prefers-color-scheme: dark) { body { background: #15181c; color: #e6e8ea }
 .message { background: #20252b } .assistant { background: #1c2c44 } }
""")


def write_page(
    answer: AbAnswer, records: Sequence[RunRecord], path: Path, *, a: str = "A", b: str = "B", title: str = ""
) -> Path:
    """Write the answer and every task's transcripts to ``path``, biggest differences first; returns ``path``.

    Args:
        a, b: what the arms are called.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(str(_page(answer, records, a, b, title or f"{b} against {a}")), "utf-8")
    fresh.replace(path)
    return path


def _page(answer: AbAnswer, records: Sequence[RunRecord], a: str, b: str, title: str) -> Markup:
    runs: dict[str, dict[int, dict[Arm, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        runs[record.task][record.repeat][record.arm] = record
    results = {result.task: result for result in answer.tasks}
    order = sorted(runs, key=lambda task: (-abs(_difference(results.get(task))), task))
    notes = [*answer.reasons, *([f"stopped early: {answer.stopped}"] if answer.stopped else [])]
    body = [
        Markup("<h1>{}</h1><p><strong>{}</strong></p>").format(title, answer.sentence()),
        *(Markup("<p>{}</p>").format(note) for note in notes),
        _table(answer, a, b),
        Markup("<h2>Tasks</h2>"),
        *(_task(task, runs[task], results.get(task), a, b) for task in order),
    ]
    return Markup(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{}</title>'
        '<meta name="viewport" content="width=device-width"><style>{}</style></head><body>{}</body></html>\n'
    ).format(title, _STYLE, Markup("\n").join(body))


def _table(answer: AbAnswer, a: str, b: str) -> Markup:
    head = Markup("").join(
        Markup("<th>{}</th>").format(name) for name in ("", "mean reward", "runs", "missing", "tokens a run", "cost")
    )
    rows = Markup("").join(_row(name, arm) for name, arm in ((a, answer.a), (b, answer.b)))
    return Markup("<table><tr>{}</tr>{}</table>").format(head, rows)


def _row(name: str, arm: ArmAccount) -> Markup:
    mean = "–" if arm.mean is None else f"{arm.mean:.3f}"
    about = "about " if arm.tokens.estimated else ""
    cells = (mean, arm.runs, arm.missing, f"{about}{arm.tokens_per_run:,.0f}", f"{arm.money:.4f}")
    return Markup("<tr><td>{}</td>{}</tr>").format(
        name, Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
    )


def _difference(result: TaskResult | None) -> float:
    return (result.difference or 0.0) if result else 0.0


def _task(task: str, repeats: dict[int, dict[Arm, RunRecord]], result: TaskResult | None, a: str, b: str) -> Markup:
    difference = _difference(result)
    kind = "better" if difference > 0 else "worse" if difference < 0 else "equal"
    known = result is not None and result.difference is not None
    label = f"{difference:+.3f}" if known else "no complete pair"
    pairs = [
        Markup('<div class="pair">{}{}</div>').format(
            _side(arms.get(Arm.INCUMBENT), a), _side(arms.get(Arm.CANDIDATE), b)
        )
        for _, arms in sorted(repeats.items())
    ]
    return Markup('<details class="{}"><summary>{} · {}</summary>{}</details>').format(
        kind, task, label, Markup("").join(pairs)
    )


def _side(record: RunRecord | None, name: str) -> Markup:
    if record is None:
        return Markup('<div class="side">{}: not run yet</div>').format(name)
    outcome = "missing" if record.outcome is None else f"{record.outcome:.3f}"
    cut = ", cut short" if record.cut_short else ""
    head = Markup('<div class="role">{}: {}{} · {} tokens · seed {}</div>').format(
        name, outcome, cut, record.tokens.total, record.seed
    )
    error = Markup('<div class="error">{}</div>').format(record.error) if record.error else Markup("")
    messages = [
        Markup('<div class="message {}"><span class="role">{}</span>\n{}</div>').format(
            said.role, said.role, "\n".join(part for part in (said.text, *said.calls) if part)
        )
        for said in record.transcript
    ]
    return Markup('<div class="side">{}{}{}</div>').format(head, error, Markup("").join(messages))


__all__ = ["PAGE_NAME", "write_page"]
