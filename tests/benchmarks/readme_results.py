"""Put what committed result files say into the README, between ``<!-- results:NAME -->`` and ``<!-- /results -->``.

    python tests/benchmarks/readme_results.py            # rewrite the README (`make results`)
    python tests/benchmarks/readme_results.py --check    # say which blocks are out of date

A new block is a function in ``BLOCKS`` and a pair of markers in the README. Tables of single runs come from records that
``run_record.py`` makes of run folders.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import selection_tables
from selection_tables import Line

from reskill_agents.run_lines import Evaluation, Score
from reskill_agents.run_summary import CONDITIONS, SPLITS
from reskill_agents.study.markdown import conditions
from reskill_agents.study.plan import load_plan
from reskill_agents.study.tables import Table
from reskill_agents.study.view import read_study

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
RESULTS = HERE / "results"
_BLOCK = re.compile(r"(<!-- results:(?P<name>[a-z0-9-]+) -->\n)(?P<text>.*?)(<!-- /results -->)", re.DOTALL)
_MARK = re.compile(r"<!-- (?:results:[^>]*|/results) -->")
_PAIRED, _PAPER = "paired", "discounted_beta"


def study_block(name: str, command: str, results: Path = RESULTS) -> str:
    """The success of every arm of a study, part by part."""
    plan, folder = load_plan(HERE / f"{name}.toml"), results / name
    view = read_study(folder, plan) if folder.is_dir() else None
    if view is None or not view.done:
        return f"No final run of `{command}` is committed yet."
    text = [f"`{command}`, {view.done} of {view.expected} final runs: {conditions(plan)}"]
    for one in view.parts:
        seeds = 1 if plan.worlds[one.part.world].adapts else 2  # the column
        table = one.accuracy
        run = tuple(row for row in table.rows if row[seeds] != "0")
        if run:
            text += [
                *([f"{one.part.title}, {one.where}:"] if len(view.parts) > 1 else []),
                Table(table.head, run).markdown(),
            ]
        if open_arms := [row[0] for row in table.rows if row not in run]:
            text.append(f"{one.part.title}, not run yet: {', '.join(open_arms)}.")
    return "\n\n".join([*text, *(f"- {warning}" for warning in view.warnings)])


def selection_block(results: Path = RESULTS) -> str:
    """Acceptance of both rules in the named cells of the simulated trials."""
    lines = {(line["cell"], line["method"]): line for line in selection_tables.read_lines(results / "selection.jsonl")}
    cells = {"null": "none", "harmful -0.5": "harmful, -0.5", "+0.5": "+0.5", "+0.8": "+0.8"}
    rows = []
    for cell, shown in cells.items():
        paired, paper = lines[cell, _PAIRED], lines[cell, _PAPER]
        rows.append((shown, _accepted(paired), _accepted(paper)))
    head = ("true effect (logit)", "paired (ours): accepted, rollouts", "the paper's rule: accepted, rollouts")
    return Table(head, tuple(rows)).markdown()


def _accepted(line: Line) -> str:
    return f"{100 * line['accepted']:.1f} %, {line['rollouts']:.0f}"


def selection_grid_block(results: Path = RESULTS) -> str:
    """The larger grid in a sentence."""
    lines = selection_tables.read_lines(results / "selection-full.jsonl")
    kinds = [(line, selection_tables.parts_of(line)) for line in lines]

    def of(method: str, effect: str, *shapes: str) -> list[Line]:
        return [
            line
            for line, parts in kinds
            if (line["method"], parts["effect"]) == (method, effect) and (not shapes or parts["shape"] in shapes)
        ]

    null, paper = of(_PAIRED, "+0"), of(_PAPER, "+0")
    harmful = of(_PAIRED, "-0.5", "constant", "fading")
    trials = sum(line["trials"] for line in null)
    return (
        f"{len({line['cell'] for line in lines})} cells: over the {len(null)} null ones, {trials:,} trials, the paired "
        f"method accepts {_mean(null)}, {_worst(null)} in the worst cell (the paper's rule {_mean(paper)} and "
        f"{_worst(paper)}); it accepts {_mean(harmful)} of the harmful candidates, {_worst(harmful)} in the worst cell, "
        "unless their effect turns to its opposite."
    )


def _mean(lines: list[Line]) -> str:
    return f"{100 * sum(line['accepted'] for line in lines) / len(lines):.2g} %"


def _worst(lines: list[Line]) -> str:
    return f"{100 * max(line['accepted'] for line in lines):.2g} %"


def run_block(name: str, split: str = "", results: Path = RESULTS) -> str:
    """Success and mean score of one recorded run; by split, or with ``split`` by the tags of its tasks."""
    content = json.loads((results / f"{name}.json").read_text("utf-8"))
    played = [Evaluation.model_validate(one) for one in content["evaluation"]["results"]]
    by_place = {(one.policy, one.library, one.split): one for one in played}
    splits = [split] if split else [one for one in SPLITS if one != "valid" and any(e.split == one for e in played)]
    tags = sorted({tag for one in played if one.split == split for tag in one.by_tag})
    rows = []
    for policy, library, shown in CONDITIONS:
        found = [by_place.get((policy, library, one)) for one in splits]
        if not any(found):
            continue
        scores = [score for one in found for score in _scores(one, tags)]
        rows.append((shown, *(_score(score) for score in scores)))
    names = [*(tag.partition("=")[2] for tag in tags), "all"] if split else [SPLITS[one] for one in splits]
    return Table(("success, mean score", *names), tuple(rows)).markdown()


def _scores(one: Evaluation | None, tags: list[str]) -> list[Score | None]:
    return [*((one.by_tag.get(tag) if one else None) for tag in tags), one.total if one else None]


def _score(score: Score | None) -> str:
    if score is None:
        return ""
    error = f" (+- {100 * score.success_se:.1f})" if score.success_se else ""
    return f"{100 * score.success:.1f} %{error}, {score.score:.2f}"


BLOCKS: Mapping[str, Callable[[], str]] = {
    "compare": partial(study_block, "compare", "make compare"),
    "study": partial(study_block, "study", "make study"),
    "selection": selection_block,
    "selection-grid": selection_grid_block,
    "main-job": partial(run_block, "main-job"),
    "real-products": partial(run_block, "real-products", "unseen_test"),
    "renamed": partial(run_block, "renamed"),
}


def regenerate(text: str, blocks: Mapping[str, Callable[[], str]] = BLOCKS) -> str:
    """``text`` with every block made anew.

    Raises:
        ValueError: a marker without its pair, or a block that nobody makes.
    """
    found = list(_BLOCK.finditer(text))
    if 2 * len(found) != len(_MARK.findall(text)) or any(_MARK.search(one["text"]) for one in found):
        raise ValueError("every <!-- results:NAME --> needs its <!-- /results -->, each on a line of its own")
    if unknown := [one["name"] for one in found if one["name"] not in blocks]:
        raise ValueError(f"no block is called {', '.join(unknown)}; there are {', '.join(blocks)}")
    return _BLOCK.sub(lambda one: f"{one[1]}{blocks[one['name']]().strip()}\n{one[4]}", text)


def stale(text: str, blocks: Mapping[str, Callable[[], str]] = BLOCKS) -> list[str]:
    """Names of the blocks that the result files no longer bear out."""
    fresh = {one["name"]: one["text"] for one in _BLOCK.finditer(regenerate(text, blocks))}
    return [one["name"] for one in _BLOCK.finditer(text) if one["text"] != fresh[one["name"]]]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a block is out of date")
    options = parser.parse_args()
    text = README.read_text("utf-8")
    names = stale(text)
    if names:
        print(f"out of date: {', '.join(names)}")
    if options.check:
        return 1 if names else 0
    README.write_text(regenerate(text), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
