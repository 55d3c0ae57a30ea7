"""The page of tables of the selection benchmark."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selection_cells import NAMED
from selection_run import Contender

Line = Mapping[str, Any]
Z_ONE_SIDED = 1.6449


def report(folder: Path) -> str:
    """Write ``selection.md`` from the JSON files of the folder; its text."""
    parts = ["# Which versions do trials promote?", INTRODUCTION]
    named, full, pruning = (
        folder / name for name in ("selection.jsonl", "selection-full.jsonl", "selection-pruning.json")
    )
    if named.exists():
        parts += ["## Named cells", "`python tests/benchmarks/selection.py`", _named_table(read_lines(named))]
    if full.exists():
        lines = read_lines(full)
        parts += ["## Full grid", f"{GRID_COMMANDS} ({len(lines)} lines)", *_grid_tables(lines)]
    if pruning.exists():
        parts += [
            "## Pruning",
            "`python tests/benchmarks/selection.py --pruning`",
            *_pruning(json.loads(pruning.read_text())),
        ]
    text = "\n\n".join(parts) + "\n"
    (folder / "selection.md").write_text(text)
    return text


INTRODUCTION = """\
Simulated GRPO steps of 16 groups (of 8, where nothing else is said) with fresh tasks whose difficulty is spread over
the logit scale (standard deviation 3, where nothing else is said) and a policy that drifts (slow: +0.05 a step, random
part 0.1; fast: +0.25, 0.3). The candidate library shifts every task by the cell's effect (logit); fading halves it
every 4 steps, reversing turns it to its opposite by step 10. Graded outcomes are (share of 4 conditions met + all
met) / 2. Ten trials in a row share a history, as in a run; standard errors (in brackets) are over these chains.
`discounted_beta` is the paper's rule (5 steps), the z-test is unpaired with 5 fixed steps.

*accepted*: share of trials that end with the candidate in force. *lost*: successes lost while testing, against giving
every rollout the better arm. *wrong accepted / rejected*: the verdict against the sign of the mean true effect over
the five steps after it. *braked*: rejected because the candidate lost significantly more outcomes."""


GRID_COMMANDS = """\
`python tests/benchmarks/selection.py --full --trials 1000`, and the null cells of the paired method once more with
`--full --only "effect +0 | paired" --seed 31 --trials 4000`; results of several seeds are pooled"""


def read_lines(path: Path) -> list[Line]:
    """The results, one line a cell and method: of several seeds the mean, weighted by trials."""
    alike: dict[tuple[str, str], dict[int, Line]] = defaultdict(dict)
    for text in path.read_text().splitlines():
        line = json.loads(text)
        alike[line["cell"], line["method"]][line["seed"]] = line  # a longer run with the same seed replaces the shorter
    return [_pooled(list(lines.values())) for lines in alike.values()]


def _pooled(lines: list[Line]) -> Line:
    total = sum(line["trials"] for line in lines)
    pooled: dict[str, Any] = {**lines[0], "trials": total}
    for name in [name for name in pooled if f"{name}_se" in pooled]:
        pooled[name] = sum(line["trials"] * line[name] for line in lines) / total
        pooled[f"{name}_se"] = sum((line["trials"] * line[f"{name}_se"]) ** 2 for line in lines) ** 0.5 / total
    return pooled


def _figure(line: Line, name: str, digits: int) -> str:
    return f"{line[name]:.{digits}f} ({line[name + '_se']:.{digits}f})"


def _named_table(lines: Iterable[Line]) -> str:
    head = ("cell", "method", "trials", "accepted", "rollouts", "lost", "wrong accepted", "wrong rejected", "braked")
    rows = [
        (
            line["cell"],
            line["method"],
            line["trials"],
            _figure(line, "accepted", 3),
            _figure(line, "rollouts", 0),
            _figure(line, "lost", 1),
            _figure(line, "wrong_accept", 3),
            _figure(line, "wrong_reject", 3),
            _figure(line, "braked", 3),
        )
        for line in sorted(lines, key=_place)
    ]
    return _table(head, rows)


def _place(line: Line) -> tuple[int, int]:
    """The order of the named table: by cell, then by method."""
    return list(NAMED).index(line["cell"]), list(Contender).index(line["method"])


def _grid_tables(lines: list[Line]) -> list[str]:
    return [
        _error_table(lines),
        "Mean over the cells of a line:",
        _power_table(lines),
        "Sign errors:",
        _sign_table(lines),
    ]


def parts_of(line: Line) -> dict[str, str]:
    """The factors of a cell of the grid, from its name."""
    spread, drift, shape, size, kind, effect = line["cell"].split(", ")
    return {
        "spread": spread.split()[1], "drift": drift.split()[1], "shape": shape,
        "size": size.split()[-1], "kind": kind, "effect": effect.split()[1],
    }  # fmt: skip


def _error_table(lines: Iterable[Line]) -> str:
    """Null and harmful cells: the worst cell of each method, and how many break the limit.

    A harmful effect that reverses is a helpful one by the time it is accepted, so harmful cells count what was
    accepted wrongly.
    """
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        parts = parts_of(line)
        if parts["effect"] == "+0":
            groups["null", line["method"]].append(line)
        elif parts["effect"] == "-0.5":
            groups[f"harmful, {parts['shape']}", line["method"]].append(line)
    rows = []
    for (kind, method), members in sorted(groups.items()):
        name, limit = ("accepted", 0.05) if kind == "null" else ("wrong_accept", 0.005)
        worst = max(members, key=lambda line: line[name])
        over = sum(line[name] - Z_ONE_SIDED * line[name + "_se"] > limit for line in members)
        trials = sum(line["trials"] for line in members)
        accepted = f"{_mean(members, 'accepted'):.4f} ({_mean_error(members, 'accepted'):.4f})"
        wrong = "" if kind == "null" else f"{_mean(members, name):.4f} ({_mean_error(members, name):.4f})"
        row = (kind, method, len(members), trials, accepted, wrong, _figure(worst, name, 4), worst["cell"], over)
        rows.append(row)
    head = (
        "cells", "method", "number", "trials", "accepted", "wrongly", "worst cell", "which", "surely over the limit",
    )  # fmt: skip
    return _table(head, rows)


def _power_table(lines: Iterable[Line]) -> str:
    """Constant effects: acceptance and rollouts by effect and method, averaged over the other factors."""
    groups: dict[tuple[float, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        parts = parts_of(line)
        if parts["shape"] == "constant":
            groups[float(parts["effect"]), f"groups of {parts['size']}, {parts['kind']}", line["method"]].append(line)
    rows = [
        (
            f"{effect:+g}",
            size,
            method,
            f"{_mean(members, 'accepted'):.3f} ({_mean_error(members, 'accepted'):.3f})",
            f"{_mean(members, 'rollouts'):.0f} ({_mean_error(members, 'rollouts'):.0f})",
            f"{_mean(members, 'lost'):.1f} ({_mean_error(members, 'lost'):.1f})",
        )
        for (effect, size, method), members in sorted(groups.items())
    ]
    return _table(("effect", "groups", "method", "accepted", "rollouts", "lost"), rows)


def _sign_table(lines: Iterable[Line]) -> str:
    """Fading and reversing effects: sign errors by method."""
    groups: dict[tuple[str, float, str], list[Line]] = defaultdict(list)
    for line in lines:
        parts = parts_of(line)
        if parts["shape"] != "constant":
            groups[parts["shape"], float(parts["effect"]), line["method"]].append(line)
    rows = [
        (
            shape,
            f"{effect:+g}",
            method,
            f"{_mean(members, 'accepted'):.3f} ({_mean_error(members, 'accepted'):.3f})",
            f"{_mean(members, 'wrong_accept'):.3f} ({_mean_error(members, 'wrong_accept'):.3f})",
            f"{_mean(members, 'wrong_reject'):.3f} ({_mean_error(members, 'wrong_reject'):.3f})",
        )
        for (shape, effect, method), members in sorted(groups.items())
    ]
    return _table(("shape", "effect", "method", "accepted", "wrong accepted", "wrong rejected"), rows)


def _mean(lines: list[Line], name: str) -> float:
    return float(sum(line[name] for line in lines) / len(lines))


def _mean_error(lines: list[Line], name: str) -> float:
    return float(sum(line[name + "_se"] ** 2 for line in lines) ** 0.5 / len(lines))


def _pruning(content: Mapping[str, Any]) -> list[str]:
    runs = content["runs"]
    right = sum(run["right"] for run in runs)
    helpful = sum(name.startswith("helpful") for run in runs for name, _ in run["removed"])
    share = max(run["screened"] for run in runs)
    text = (
        "Eight planted skills: four helpful, two useless, one harmful, one vital on 5 % of the tasks; 400 steps of "
        f"16 x 8. The useless and the harmful ones went and the vital one stayed in {right} of {len(runs)} seeds; "
        f"helpful skills removed: {helpful}. At most {share:.1%} of the rollouts were screening."
    )
    last = [max(step for _, step in run["removed"]) for run in runs if run["right"]]
    if last:
        text += f" The last of the three went at step {sorted(last)[len(last) // 2]} (median)."
    rows = [
        (
            f"{rate['spread']:g}",
            f"{rate['worth']:+.2f}",
            rate["trials"],
            f"{rate['removed']:.3f} ({rate['removed_se']:.3f})",
            f"{rate['rollouts']:.0f}",
        )
        for rate in content["removal"]
    ]
    table = _table(("spread", "worth of the skill", "trials", "removed", "rollouts"), rows)
    return [text, "Confirming trials (limit: 5 % at a worth of 0.05):", table]


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(map(str, head))]
    lines.append(["---"] * len(lines[0]))
    lines += [list(map(str, row)) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
