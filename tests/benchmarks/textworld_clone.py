"""What a stand-in cloned in TextWorld can do, with and without advice, while it is cloned and after; puts it into textworld.md.

    python examples/train_textworld.py --clone-only --clone-curve 200 --threads 1      # needs [train,textworld]
    python tests/benchmarks/textworld_clone.py .cache/standins/textworld-cooking-... [--run runs/textworld-...]

Reads what the first command left: the curve, the report of the examination, and of ``--run`` the scores of a training run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from reskill_agents.run_summary import CONDITIONS, fates
from reskill_agents.run_view import RunView, read_run
from reskill_agents.trainers.clone_curve import CURVE_FILE, CurvePoint, read_curve
from reskill_agents.trainers.standin import StandinReport
from reskill_agents.trainers.standin_gate import Measurement

RESULTS = Path(__file__).parent / "results" / "textworld.md"
HEADING = "## A stand-in cloned on compact pages"


def percent(share: float, error: float) -> str:
    """A share with its standard error, in points."""
    return f"{100 * share:.1f} % (+- {100 * error:.1f})"


def curve_rows(points: list[CurvePoint]) -> Iterator[str]:
    """One line for each time the clone was measured."""
    for none, best in zip(points[::2], points[1::2], strict=True):
        shares = (percent(one.measured.success, one.measured.success_se) for one in (none, best))
        scores = (f"{one.measured.score:.2f}" for one in (none, best))
        yield "| " + " | ".join([f"{none.updates}", f"{none.loss:.3f}", *shares, *scores]) + " |"


def exam_row(one: Measurement) -> str:
    """One line of the examination."""
    told = {"none": "nothing", "best": "all of the best advice"}.get(one.role, f"{one.role}: {' '.join(one.advice)}")
    return f"| {told} | {percent(one.success, one.success_se)} | {one.score:.2f} | {one.turns:.1f} | {one.tokens:.0f} |"


def section(folder: Path, runs: Sequence[Path] = ()) -> str:
    """The whole section as Markdown."""
    report, points = StandinReport.read(folder), read_curve(folder / CURVE_FILE)
    world, clone = report.world, report.clone
    lines = [
        HEADING,
        "",
        f"`python examples/train_textworld.py --clone-only --clone-updates {clone.step} --clone-curve "
        f"{points[0].updates if points else 0} --threads 1`, then `python tests/benchmarks/textworld_clone.py FOLDER`: "
        f"{world['kitchen_go']} room, {report.parameters / 1e6:.2f} M parameters, {report.vocabulary} words, "
        f"{report.grammar} sentences of advice, {report.tokens_per_episode:.0f} tokens an episode, {clone.step} updates of "
        f"{clone.tokens / clone.step:.0f} tokens. Success in validation games (foods never trained on), sampled at "
        "temperature 1, standard errors in brackets.",
        "",
        "The best advice, found by playing the scripted cook on training games:",
        "",
        *(f"- {sentence}" for sentence in report.best),
        "",
        "| updates | loss | success, no advice | success, best advice | score, no advice | score, best advice |",
        "|---|---|---|---|---|---|",
        *curve_rows(points),
        "",
        f"The finished clone ({report.measurements[0].episodes} episodes a line):",
        "",
        "| advice | success | score | turns | tokens |",
        "|---|---|---|---|---|",
        *map(exam_row, report.measurements),
        "",
        *([f"Missed: {'; '.join(report.problems)}."] if report.problems else ["The gate is passed."]),
    ]
    return "\n".join([*lines, *(line for run in runs for line in run_rows(run))]) + "\n"


def run_rows(run: Path) -> Iterator[str]:
    """The scores of a training run."""
    view = read_run(run)
    yield from ("", f"A training run from there, {len(view.steps)} steps, `{_command(view)}`:", "")
    yield from ("| | train foods: success, score | foods never trained on: success, score |", "|---|---|---|")
    for policy, library, name in CONDITIONS:
        found = [view.evaluation(policy, library, split) for split in ("seen_test", "unseen_test")]
        if all(found):
            cells = (f"{percent(e.total.success, e.total.success_se)}, {e.total.score:.2f}" for e in found if e)
            yield f"| {name} | {' | '.join(cells)} |"
    outcomes = Counter(str(fate.outcome) for fate in fates(view))
    if outcomes:
        yield from ("", f"Changes of skills: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}.")


def _command(view: RunView) -> str:
    """What was asked for, as far as it is not the stand-in's own."""
    settings = {"method": view.method, "learning-rate": view.config["update.lr"], "seed": view.config["seed"]}
    chosen = [f"--{name} {value}" for name, value in settings.items()]
    if view.config["trial_outcome"] != "graded":
        chosen.append(f"--set trial_outcome={view.config['trial_outcome']}")
    return " ".join(["python examples/train_textworld.py", *chosen])


def main() -> None:
    """Replace the section in the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the stand-in")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], help="folder of a training run; may be repeated"
    )
    arguments = parser.parse_args()
    before = RESULTS.read_text(encoding="utf-8").split(HEADING)[0].rstrip()
    text = section(arguments.folder, arguments.run)
    RESULTS.write_text(f"{before}\n\n{text}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
