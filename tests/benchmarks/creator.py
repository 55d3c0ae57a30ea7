"""Does the creator find what separates good from poor episodes, and nothing where there is nothing?

    python tests/benchmarks/creator.py                 # everything, about 15 minutes on one core
    python tests/benchmarks/creator.py --part shop     # shop | early | within | planted | shuffled
    python tests/benchmarks/creator.py --part planted --seeds 3    # fewer seeds; --splits for early and within
    python tests/benchmarks/creator.py --part planted --first-seed 900001 --sizes 1600    # seeds nothing was tuned on
    python tests/benchmarks/creator.py --part shuffled --first-seed 900001

Parts:

- ``shop``: careless episodes of the compact shop (the job's world): which pieces of advice the offline creator proposes
  first, over seeds. Which four are useful is known from the world's make, and used here only.
- ``early``: AUC for success on ``../shared/data/failure_logs/intercode_sql.jsonl`` from the first three turns only, on
  held-out tasks, over fixed splits with bootstrap intervals over tasks, against three baselines: turn count, model
  identity, and a short miner of templates, repeats and errors.
- ``within``: the same against the turn count inside models that have both outcomes, paired; for WebShop also all of
  these models together, over pairs of episodes of one model.
- ``planted``: logs with eight known causes and decoys that go with length and model (``tests/planted_logs.py``).
- ``shuffled``: outcomes shuffled within model; nothing may survive.

Results go to ``tests/benchmarks/results/creator.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from creator_episodes import play
from planted_logs import HABITS, PlantedLog, planted_log

from reskill_agents.environment import Split
from reskill_agents.envs.webshop import WebShopWorld
from reskill_agents.episode_logs import read_logs
from reskill_agents.episodes import Episode
from reskill_agents.graphs.creator import CreationConfig, PastVerdict, create
from reskill_agents.induction import Induced, InductionConfig, induce
from reskill_agents.induction_log import TextInduction, enumerate_checks, tabulate_landmarks
from reskill_agents.induction_templates import learn_templates
from reskill_agents.library import SkillLibrary

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT.parent / "shared" / "data" / "failure_logs"
RESULTS = Path(__file__).parent / "results" / "creator.md"
EARLY_TURNS = 3
SPLITS = 50  # fixed splits of tasks (--splits)
SEEDS = 10  # planted logs of each size (--seeds)
SIZES = (1600, 3200)  # episodes of a planted log (--sizes)
FIRST_SEED: int | None = None  # of planted logs and shuffles (--first-seed); default: those of the published page
RIDGE = 30.0
STATES = 0.2  # correlation with a planted habit from which on a check states it
Floats = npt.NDArray[np.float64]


# --- the shop -------------------------------------------------------------------------------------------------------

USEFUL = (
    "among-search-most-task-words",
    "among-item-most-task-words",
    "before-buy-now-take-named-option",
    "avoid-item-marked-above",
)


def careless_shop(count: int, seed: int, group: int = 8) -> list[Episode]:
    """``count`` careless episodes in groups of the same task, as training makes them."""
    world = WebShopWorld(catalogue_seed=11)
    rng = random.Random(seed)
    tasks = list(world.tasks(Split.TRAIN))
    episodes: list[Episode] = []
    while len(episodes) < count:
        task, step = rng.choice(tasks), len(episodes) // (16 * group)
        episodes += [play(world, task, rng.randrange(1 << 30), step=step) for _ in range(group)]
    return episodes


def shop() -> list[str]:
    """When each useful piece of advice is proposed, if every proposal were accepted."""
    lines = ["| episodes | seed | round 1 | round 2 | useful in 2 rounds | CPU s |", "|---|---|---|---|---|---|"]
    for count in (256, 400, 800):
        for seed in range(5):
            episodes = careless_shop(count, 1000 + seed)
            library, verdicts, rounds = SkillLibrary(), list[PastVerdict](), list[list[str]]()
            started = time.process_time()
            for number in range(2):
                made = create(episodes, library, verdicts=verdicts, seed=number, config=CreationConfig(explore=0))
                proposal = asyncio.run(made).proposal
                rounds.append([operation.name for operation in proposal.operations] if proposal else [])
                if proposal:
                    library = proposal.apply(library)
                    verdicts.append(PastVerdict(proposal, accepted=True, step=number))
            spent = (time.process_time() - started) / 2
            found = sum(name in {name for some in rounds for name in some} for name in USEFUL)
            told = [", ".join(some) or "none" for some in rounds]
            lines.append(f"| {count} | {seed} | {told[0]} | {told[1]} | {found} of 4 | {spent:.2f} |")
    return lines


# --- prediction from the first turns ---------------------------------------------------------------------------------


def auc(scores: Floats, success: Floats) -> float:
    """Area under the ROC curve, ties count half."""
    good, poor = scores[success == 1], scores[success == 0]
    if not len(good) or not len(poor):
        return float("nan")
    order = np.sort(poor)
    below = np.searchsorted(order, good, "left") + np.searchsorted(order, good, "right")
    return float(below.mean() / 2 / len(poor))


def ridge(features: Floats, success: Floats, train: Floats) -> Floats:
    """(E,) predictions of a ridge regression fitted on the rows in ``train`` (dual form)."""
    rows = train.astype(bool)
    centre = features[rows].mean(axis=0)
    seen = features[rows] - centre
    weights = np.linalg.solve(seen @ seen.T + RIDGE * np.eye(len(seen)), success[rows] - success[rows].mean())
    return (features - centre) @ (seen.T @ weights)


def check_features(episodes: Sequence[Episode], train: Floats) -> Floats:
    """Doses of every candidate check on the first turns; the vocabulary comes from the train tasks only."""
    cut = [dataclasses.replace(episode, turns=episode.turns[:EARLY_TURNS]) for episode in episodes]
    known = [episode for episode, row in zip(episodes, train, strict=True) if row]
    table = tabulate_landmarks(cut, learn_templates(known, min_tasks=5), EARLY_TURNS)
    seen = np.array([max(1, min(len(episode.turns), EARLY_TURNS)) for episode in episodes])
    table = dataclasses.replace(table, episode=np.arange(len(episodes)), landmark=seen)
    doses = np.stack([candidate.dose for candidate in enumerate_checks(table)], axis=1)
    missing = np.isnan(doses)
    counts = np.maximum((~missing[train.astype(bool)]).sum(axis=0), 1)
    means = np.where(missing, 0.0, doses)[train.astype(bool)].sum(axis=0) / counts
    return np.concatenate([np.where(missing, 0.0, doses - means), missing.astype(float)], axis=1)


def turn_count(episodes: Sequence[Episode], train: Floats) -> Floats:
    """Baseline: how many of the first turns there are."""
    return np.array([[float(min(len(episode.turns), EARLY_TURNS))] for episode in episodes])


def final_length(episodes: Sequence[Episode], train: Floats) -> Floats:
    """For comparison only: the length of the whole episode, which nobody knows after three turns."""
    return np.array([[float(len(episode.turns))] for episode in episodes])


def model_identity(episodes: Sequence[Episode], train: Floats) -> Floats:
    """Baseline: which model it was."""
    models = sorted({episode.model for episode in episodes})
    return np.array([[float(episode.model == model) for model in models] for episode in episodes])


def miner(episodes: Sequence[Episode], train: Floats) -> Floats:
    """Baseline, kept under 40 lines: frequent first words of actions by turn, repeats, errors, counts."""
    rows: list[Counter[str]] = []
    for episode in episodes:
        found: Counter[str] = Counter()
        last = ""
        for turn in episode.turns[:EARLY_TURNS]:
            words = turn.action.lower().split() or ["nothing"]
            found[f"{turn.index} {words[0]}"] = 1
            found[f"any {words[0]}"] += 1
            found[f"two {' '.join(words[:2])}"] = 1
            found["repeats"] += turn.action == last
            failed = turn.index > 0 and "error" in turn.observation.lower()
            found["errors"] += failed
            found[f"after error {words[0]}"] += failed
            found["turns"] += 1
            last = turn.action
        rows.append(found)
    spread = Counter(name for row, used in zip(rows, train, strict=True) if used for name in row)
    names = [name for name, count in spread.items() if count >= 5]
    return np.array([[float(row[name]) for name in names] for row in rows])


FEATURES: dict[str, Callable[[Sequence[Episode], Floats], Floats]] = {
    "checks": check_features,
    "turn count": turn_count,
    "final length (knows the end)": final_length,
    "model": model_identity,
    "miner": miner,
}


def halves(episodes: Sequence[Episode], seed: int) -> Floats:
    """(E,) 1 where the episode's task is in the train half of a fixed split."""
    tasks = sorted({episode.task.task_id for episode in episodes})
    chosen = set(random.Random(seed).sample(tasks, len(tasks) // 2))
    return np.array([float(episode.task.task_id in chosen) for episode in episodes])


def bootstrap(episodes: Sequence[Episode], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows of a bootstrap sample over tasks."""
    by_task: dict[str, list[int]] = {}
    for row, episode in enumerate(episodes):
        by_task.setdefault(episode.task.task_id, []).append(row)
    tasks = list(by_task.values())
    return np.array([row for pick in rng.integers(len(tasks), size=len(tasks)) for row in tasks[pick]], dtype=np.int64)


def predictions(episodes: Sequence[Episode], names: Sequence[str]) -> dict[str, Floats]:
    """(splits, E) predictions on held-out tasks by name; NaN on train tasks."""
    success = np.array([float(episode.success) for episode in episodes])
    found: dict[str, list[Floats]] = {name: [] for name in names}
    for seed in range(SPLITS):
        train = halves(episodes, seed)
        for name in names:
            scores = ridge(FEATURES[name](episodes, train), success, train)
            found[name].append(np.where(train == 1, np.nan, scores))
    return {name: np.array(scores) for name, scores in found.items()}


def mean_auc(
    scores: Floats, success: Floats, rows: npt.NDArray[np.int64], models: npt.NDArray[np.int64] | None = None
) -> float:
    """Mean over splits of the AUC on the held-out rows among ``rows``; over pairs of the same model if given."""
    values = []
    for split in scores:
        held = rows[~np.isnan(split[rows])]
        groups = [held] if models is None else [held[models[held] == model] for model in np.unique(models[held])]
        pairs = [float(success[some].sum() * (1 - success[some]).sum()) for some in groups]
        if sum(pairs):
            won = [n * auc(split[some], success[some]) for n, some in zip(pairs, groups, strict=True) if n]
            values.append(sum(won) / sum(pairs))
    return float(np.mean(values)) if values else float("nan")


def early() -> list[str]:
    """AUC from the first three turns."""
    episodes = read_logs([LOGS / "intercode_sql.jsonl"]).episodes
    return auc_table(episodes, ["checks", "turn count", "model", "miner", "final length (knows the end)"])


def within() -> list[str]:
    """The same inside the models that have both outcomes."""
    lines: list[str] = []
    for name in ("intercode_sql", "webshop"):
        everything = read_logs([LOGS / f"{name}.jsonl"]).episodes
        outcomes = {
            model: {e.success for e in everything if e.model == model} for model in {e.model for e in everything}
        }
        for model in sorted(model for model, seen in outcomes.items() if len(seen) == 2):
            episodes = [episode for episode in everything if episode.model == model]
            if min(Counter(episode.success for episode in episodes).values()) < 5:
                lines += ["", f"{name}, {model}: too few of one outcome ({len(episodes)} episodes)"]
                continue
            lines += ["", f"{name}, {model}, {len(episodes)} episodes:", ""]
            lines += auc_table(episodes, ["checks", "turn count", "final length (knows the end)"])
    return lines + pooled()


def pooled() -> list[str]:
    """All WebShop models with both outcomes together; only pairs of episodes of one model are compared."""
    everything = read_logs([LOGS / "webshop.jsonl"]).episodes
    counts = Counter((episode.model, episode.success) for episode in everything)
    models = {model for model, _ in counts if counts[model, True] and counts[model, False]}
    episodes = [episode for episode in everything if episode.model in models]
    title = f"webshop, {len(models)} models with both outcomes, pairs within a model, {len(episodes)} episodes:"
    return ["", title, "", *auc_table(episodes, ["checks", "turn count", "final length (knows the end)"])]


def auc_table(episodes: Sequence[Episode], names: Sequence[str]) -> list[str]:
    """AUC with 95 % bootstrap intervals over tasks, and the paired difference of the first to the others.

    Over pairs of episodes of one model, unless the model itself is asked about.
    """
    success = np.array([float(episode.success) for episode in episodes])
    scores = predictions(episodes, names)
    everyone = np.arange(len(episodes))
    rng = np.random.default_rng(0)
    samples = [bootstrap(episodes, rng) for _ in range(200)]
    numbered = {model: number for number, model in enumerate(sorted({episode.model for episode in episodes}))}
    models = None if "model" in names else np.array([numbered[episode.model] for episode in episodes])
    drawn = {name: np.array([mean_auc(scores[name], success, rows, models) for rows in samples]) for name in names}
    lines = [f"| from the first {EARLY_TURNS} turns | AUC | 95 % | first minus this, 95 % |", "|---|---|---|---|"]
    for name in names:
        low, high = np.nanpercentile(drawn[name], [2.5, 97.5])
        gap_low, gap_high = np.nanpercentile(drawn[names[0]] - drawn[name], [2.5, 97.5])
        gap = "" if name == names[0] else f"{gap_low:+.3f} to {gap_high:+.3f}"
        lines.append(
            f"| {name} | {mean_auc(scores[name], success, everyone, models):.3f} | {low:.3f} to {high:.3f} | {gap} |"
        )
    return lines


# --- planted causes and shuffled outcomes ----------------------------------------------------------------------------


def habits_of(induction: TextInduction, found: Induced, log: PlantedLog) -> dict[str, float]:
    """How much keeping ``found`` goes with each planted habit inside strata of model and landmark (|correlation|).

    Given habits and model, success does not depend on what is done, so a check that goes with no habit is false.
    """
    dose = induction.row_doses(found.advice)
    rows = ~np.isnan(dose)
    strata = induction.comparison.strata[rows]
    kept = _centred(dose[rows], strata)
    correlations: dict[str, float] = {}
    for habit in HABITS:
        had = np.array([float(habit in habits) for habits in log.habits])[induction.table.episode][rows]
        had = _centred(had, strata)
        scale = float(np.sqrt((kept**2).sum() * (had**2).sum()))
        correlations[habit] = abs(float((kept * had).sum()) / scale) if scale else 0.0
    return correlations


def _centred(values: Floats, strata: npt.NDArray[np.int64]) -> Floats:
    counts = np.maximum(np.bincount(strata), 1)
    return values - (np.bincount(strata, weights=values) / counts)[strata]


def planted() -> list[str]:
    """Recall of the eight planted causes and the share of findings that state none (correlation below 0.2)."""
    lines = ["| episodes | seeds | recall | false discovery rate | findings | CPU s |", "|---|---|---|---|---|---|"]
    first = 100 if FIRST_SEED is None else FIRST_SEED
    for count in SIZES:
        recalled, false, findings, spent = 0, 0, 0, 0.0
        for seed in range(SEEDS):
            log = planted_log(count, tasks=count // 4, seed=first + seed)
            started = time.process_time()
            drawn = random.Random(seed if FIRST_SEED is None else first + seed)
            induction = induce(log.episodes, rng=drawn, config=InductionConfig(rate=0.05))
            spent += time.process_time() - started
            assert isinstance(induction, TextInduction)
            stated = [habits_of(induction, found, log) for found in induction.confirmed]
            recalled += sum(any(found[habit] >= STATES for found in stated) for habit in HABITS)
            false += sum(max(found.values()) < STATES for found in stated)
            findings += len(stated)
        lines.append(
            f"| {count} | {SEEDS} | {recalled / SEEDS / len(HABITS):.2f} | {false / max(findings, 1):.3f} "
            f"| {findings / SEEDS:.1f} | {spent / SEEDS:.1f} |"
        )
    return lines


def shuffled() -> list[str]:
    """Outcomes shuffled within model: how often anything survives."""
    lines = ["| log | shuffles | with a finding |", "|---|---|---|"]
    for name in ("intercode_sql", "webshop"):
        episodes = read_logs([LOGS / f"{name}.jsonl"]).episodes
        found = 0
        first = FIRST_SEED or 0
        for seed in range(first, first + 20):
            rng = random.Random(seed)
            scores: list[float | None] = [None] * len(episodes)
            for model in sorted({episode.model for episode in episodes}):
                rows = [row for row, episode in enumerate(episodes) if episode.model == model]
                drawn = rng.sample([episodes[row].score for row in rows], len(rows))
                for row, score in zip(rows, drawn, strict=True):
                    scores[row] = score
            mixed = [dataclasses.replace(e, score=score) for e, score in zip(episodes, scores, strict=True)]
            found += bool(induce(mixed, rng=random.Random(seed), config=InductionConfig(rate=0.05)).confirmed)
        lines.append(f"| {name} | 20 | {found} |")
    return lines


PARTS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "shop": ("What the offline creator proposes first in the compact shop", shop),
    "early": ("Success on InterCode-SQL from the first three turns", early),
    "within": ("Within models that have both outcomes", within),
    "planted": ("Planted causes", planted),
    "shuffled": ("Outcomes shuffled within model", shuffled),
}


def main() -> None:
    """Run the parts asked for and write the page."""
    global SPLITS, SEEDS, SIZES, FIRST_SEED
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*PARTS], help="only this part; the page is then printed, not written")
    parser.add_argument("--splits", type=int, default=SPLITS, help="of tasks, for early and within (default 50)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="planted logs of each size (default 10)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="episodes of a planted log")
    parser.add_argument("--first-seed", type=int, help="of planted logs and shuffles; only with --part")
    asked = parser.parse_args()
    part, SPLITS, SEEDS, SIZES, FIRST_SEED = asked.part, asked.splits, asked.seeds, asked.sizes, asked.first_seed
    if FIRST_SEED is not None and part is None:
        parser.error("--first-seed is for one --part: the page is made with its own seeds")
    page = ["# The skill creator: measurements", "", "Made by `python tests/benchmarks/creator.py`.", ""]
    for name in [part] if part else PARTS:
        title, run = PARTS[name]
        skipped = name in ("early", "within", "shuffled") and not LOGS.is_dir()
        section = [f"## {title}", "", *(["skipped: the real logs are not here"] if skipped else run()), ""]
        print("\n".join(section), flush=True)
        page += section
        if part is None:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
