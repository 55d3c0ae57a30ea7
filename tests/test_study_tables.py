"""Reading a study: the plan, the result files that count, the tables and the page made of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from study_results import LEVELS, content, fate, write_result
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.errors import ConfigError, RunFolderError
from reskill_agents.study.choice import chosen_rates, final_jobs
from reskill_agents.study.fairness import unfair
from reskill_agents.study.job import Job, Stage
from reskill_agents.study.markdown import render_markdown
from reskill_agents.study.page import render_page
from reskill_agents.study.plan import Plan, load_plan
from reskill_agents.study.results import read_result, read_results
from reskill_agents.study.statistics import estimate
from reskill_agents.study.tables import lives_table
from reskill_agents.study.view import read_study

METHODS = ("grpo", "static", "decoupled", "reskill-paper", "reskill")
RATES = (1e-5, 3e-5, 1e-4)

# What the comparison's own script printed for these very files before it became a plan.
TABLES = """\
| method | rate | seeds | seen | unseen | seen - grpo | unseen - grpo |
|---|---|---|---|---|---|---|
| grpo | 0.0001 | 5 | 19.0 +- 4.6 | 19.7 +- 3.8 |  |  |
| static | - | 0 | - | - | - | - |
| decoupled | 3e-05 | 3 | 33.2 +- 7.8 | 35.4 +- 4.2 | 14.2 +- 18.2 | 13.8 +- 5.2 |
| reskill-paper | 3e-05 | 5 | 50.6 +- 4.4 | 51.3 +- 2.5 | 31.6 +- 5.4 | 31.6 +- 3.2 |
| reskill | 1e-05 | 5 | 71.5 +- 2.8 | 71.5 +- 3.5 | 52.5 +- 6.8 | 51.8 +- 2.2 |

Success on valid while tuning (mean of the tuning seeds):

| method | 1e-05 | 3e-05 | 0.0001 |
|---|---|---|---|
| grpo | 7.7 +- 14.0 | 8.5 +- 40.0 | 11.0 +- 31.8 |
| static | 16.1 +- 39.4 | 15.5 +- 14.0 | 11.8 |
| decoupled | 19.5 +- 34.3 | 20.5 +- 13.3 | 19.9 +- 10.2 |
| reskill-paper | 21.5 +- 15.9 | 25.2 +- 17.8 | 22.1 +- 24.8 |
| reskill | 37.2 +- 1.3 | 37.1 +- 1.9 | 33.1 +- 37.5 |
"""


@pytest.fixture(scope="module")
def compare(repository: Path) -> Plan:
    """The committed plan of the comparison, with final runs of the length of the files below."""
    plan = load_plan(repository / "tests" / "benchmarks" / "compare.toml")
    return plan.model_copy(update={"budget": plan.budget.model_copy(update={"final_steps": 50})})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Result files of that plan: static is not tuned to the end, decoupled has three of five seeds."""
    target = tmp_path / "results"
    target.mkdir()
    for method in METHODS:
        for seed in (11, 12):
            for rate in RATES:
                if (method, seed, rate) != ("static", 12, 1e-4):
                    write_result(target, Job(Stage.TUNE, method, seed, rate, 20), LEVELS[method] / 2)
        for seed in range(2101, 2104 if method == "decoupled" else 2106):
            for rate in RATES:
                write_result(target, Job(Stage.FINAL, method, seed, rate, 50), LEVELS[method])
    return target


def change(path: Path, **fields: object) -> None:
    """Overwrite fields of a result file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_comparison_has_the_tables_it_always_had(compare: Plan, folder: Path) -> None:
    assert TABLES in render_markdown(read_study(folder, compare))


def test_the_comparison_knows_its_result_files_by_the_names_they_always_had(compare: Plan, folder: Path) -> None:
    tuning = [job.name for job in compare.tuning_jobs("shop", "reskill-paper")]
    assert tuning == [
        f"tune-reskill-paper-s{seed}-lr{rate}-n20" for seed in (11, 12) for rate in ("1e-05", "3e-05", "0.0001")
    ]
    rates = chosen_rates(compare, read_results(folder, compare))
    names = [job.name for _, job in final_jobs(compare, rates)]
    assert names[:5] == [
        "final-grpo-s2101-lr0.0001-n50",
        "final-decoupled-s2101-lr3e-05-n50",
        "final-reskill-paper-s2101-lr3e-05-n50",
        "final-reskill-s2101-lr1e-05-n50",
        "final-grpo-s2102-lr0.0001-n50",
    ]
    assert compare.job(Stage.FINAL, "shop", "reskill", 2101, 3e-5).line() == {
        "stage": "final", "method": "reskill", "seed": 2101, "rate": 3e-5, "steps": 50,
    }  # fmt: skip


def test_equal_success_while_tuning_is_decided_by_the_score(compare: Plan, folder: Path) -> None:
    for seed in (11, 12):
        for rate, score in ((1e-5, 0.3), (3e-5, 0.5), (1e-4, 0.4)):
            path = folder / f"tune-grpo-s{seed}-lr{rate:g}-n20.json"
            played = json.loads(path.read_text())["evaluation"]
            for one in played["results"]:
                one["total"] |= {"success": 0.1, "score": score}
            change(path, evaluation=played)
    assert chosen_rates(compare, read_results(folder, compare))["shop", "grpo"] == 3e-5


def test_a_test_split_has_no_say_in_the_choice(compare: Plan, folder: Path) -> None:
    before = chosen_rates(compare, read_results(folder, compare))
    for path in folder.glob("*.json"):
        played = json.loads(path.read_text())["evaluation"]
        for one in played["results"]:
            if one["split"] != "valid":
                one["total"]["success"] = 1.0 - one["total"]["success"]
        change(path, evaluation=played)
    assert chosen_rates(compare, read_results(folder, compare)) == before


def test_torn_and_foreign_files_are_named_and_not_counted(compare: Plan, folder: Path) -> None:
    whole = len(read_results(folder, compare).found)
    torn = folder / "final-reskill-s2101-lr1e-05-n50.json"
    torn.write_text(torn.read_text()[:400])
    renamed = folder / "final-reskill-s2102-lr1e-05-n50.json"
    (folder / "final-reskill-s2103-lr1e-05-n50.json").write_text(renamed.read_text())
    short = folder / "final-reskill-s2104-lr1e-05-n50.json"
    change(short, course=json.loads(short.read_text())["course"][:30])
    write_result(folder, Job(Stage.FINAL, "ppo", 2101, 1e-5, 50), 0.9)
    write_result(folder, Job(Stage.FINAL, "reskill", 7, 1e-5, 50), 0.9)
    write_result(folder, Job(Stage.FINAL, "reskill", 2105, 1e-5, 75), 0.9)
    results = read_results(folder, compare)
    assert len(results.found) == whole - 3
    said = "\n".join(results.problems)
    assert "final-reskill-s2101-lr1e-05-n50.json: torn or no result file" in said
    assert "final-reskill-s2103-lr1e-05-n50.json: foreign, it holds the result of final-reskill-s2102" in said
    assert (
        "final-reskill-s2104-lr1e-05-n50.json: torn or no result file (file: Value error, the course has 30 of 50"
        in said
    )
    assert "the plan has no arm 'ppo'" in said
    assert "seed 7 is none of the plan's" in said
    assert "final-reskill-s2105-lr1e-05-n75.json: foreign, steps or settings are not the plan's" in said
    assert "| reskill | 1e-05 | 2 |" in render_markdown(read_study(folder, compare))


def test_a_result_of_other_settings_is_foreign(compare: Plan, tmp_path: Path) -> None:
    job = Job(Stage.FINAL, "reskill", 2101, 1e-5, 50, settings={"update.kl": 0.1})
    write_result(tmp_path, job, 0.5)
    assert read_results(tmp_path).problems == ()
    assert "steps or settings" in read_results(tmp_path, compare).problems[0]


def test_no_folder_and_no_plan_are_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is no folder of result files"):
        read_results(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"plan\.toml: No such file"):
        read_study(tmp_path)


def test_unequal_rollouts_and_starts_are_said(compare: Plan, folder: Path) -> None:
    rates = chosen_rates(compare, read_results(folder, compare))
    assert unfair(compare, read_results(folder, compare), rates) == []
    path = folder / "final-reskill-s2101-lr1e-05-n50.json"
    held = json.loads(path.read_text())
    held["course"][0][1] = 64
    held["commit"] = "0" * 40
    held["evaluation"]["results"][0]["total"]["success"] = 0.4
    change(path, **held)
    said = unfair(compare, read_results(folder, compare), rates)
    assert said[0].startswith("part methods: runs were made with several commits (")
    assert said[0].endswith(", 1 with 0000000000)")
    assert said[1] == "part methods: not all had 6400 rollouts: reskill (seed 2101): 6336"
    assert said[2].startswith("part methods: seed 2101 did not start alike on seen_test (")
    assert "40.0 %: reskill" in said[2]


def test_students_interval_by_hand() -> None:
    found = estimate([0.1, 0.2, 0.6])
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    assert found.half == pytest.approx(4.302653 * 0.264575 / 3**0.5, rel=1e-5)  # t(0.975, 2), sd
    assert (found.clear, found.count) == (False, 3)
    assert estimate([]) is None


def test_the_life_of_the_skills_by_hand(compare: Plan, tmp_path: Path) -> None:
    plan = compare.model_copy(
        update={"parts": (compare.parts[0].model_copy(update={"arms": ("reskill",), "seeds": 2}),)}
    )
    for seed, fates in (
        (2101, [fate("a", "accepted", 1), fate("b", "rejected", 4), fate("c", "undecided", 9, probability=None)]),
        (2102, [fate("a", "pruned", 1, removed=8), fate("a", "accepted", 6, change="delete", purpose="pruning")]),
    ):
        job = Job(Stage.FINAL, "reskill", seed, 3e-5, 50)
        (tmp_path / f"{job.name}.json").write_text(json.dumps(content(job, 0.5) | {"fates": fates}))
    table = lives_table(plan, read_results(tmp_path, plan), {("shop", "reskill"): 3e-5}, plan.parts[0])
    assert table is not None
    life = dict(zip(table.head, table.rows[0], strict=True))
    assert life == {
        "method": "reskill", "runs": "2", "proposed": "2.0", "accepted": "1.0", "rejected": "0.5", "untested": "0.0",
        "undecided": "0.5", "pruned": "0.5", "held": "50 %", "episodes a trial": "256", "skills at the end": "1.0",
    }  # fmt: skip


def test_cost_stands_beside_what_it_bought(compare: Plan, folder: Path) -> None:
    text = render_markdown(read_study(folder, compare))
    assert "| grpo | 100 | 1.00 | 0 | 7.0 | 1.50 | 1.00 | 19.7 +- 3.8 |" in text
    assert "| reskill | 100 | 1.00 | 10 | 7.0 | 2.00 | 1.33 | 71.5 +- 3.5 |" in text


def test_the_page_stands_alone_and_escapes_what_it_shows(compare: Plan, folder: Path) -> None:
    noted = compare.model_copy(update={"note": "<b>bold</b> & more"})
    page = render_page(read_study(folder, noted))
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert not re.search(r"<script|https?://|<link|<img", page)
    assert page.count("<svg") == 6  # success, training, validation, skills in force, cost in tokens and in seconds
    assert "reskill solves 71.5 ± 3.5 % of the unseen test tasks, grpo 19.7 ± 3.8 %." in page
    assert page.count('class="band') == 2 * 4


def test_an_empty_study_has_a_page_too(compare: Plan, tmp_path: Path) -> None:
    view = read_study(tmp_path, compare)
    assert "Not finished: 0 of 25 runs so far." in render_page(view)
    assert "| reskill | - | 0 | - | - | - | - |" in render_markdown(view)


def test_the_command_writes_what_is_asked_for(repository: Path, folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "compare.toml"
    committed = (repository / "tests" / "benchmarks" / "compare.toml").read_text("utf-8")
    plan.write_text(re.sub("final_steps = [0-9]+", "final_steps = 50", committed))
    (folder / "final-grpo-s1-lr1e-05-n50.json").write_text("{")
    page, tables = tmp_path / "out" / "page.html", tmp_path / "tables.md"
    command = ["study", str(folder), "--plan", str(plan), "--out", str(page), "--markdown", str(tables)]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    assert "final-grpo-s1-lr1e-05-n50.json: torn" in said.output
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert TABLES in tables.read_text("utf-8")
    (folder / "plan.toml").write_text(plan.read_text("utf-8"))
    assert CliRunner().invoke(app, ["study", str(folder)]).exit_code == 0
    assert (folder / "study.html").is_file()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("seeds = [11, 12]", "seeds = [11, 2101]", "seed 2101 is used for tuning and for the end"),
        ('"reskill"]', '"reskil"]', "part methods: there is no arm 'reskil'"),
        ('world = "shop"', 'world = "ship"', "part methods: there is no world 'ship'"),
        ("tune_steps = 20", "tune_steps = 0", "budget.tune_steps: Input should be greater than 0"),
        ("tune_steps = 20", "tune_step = 20", "budget.tune_step: Extra inputs are not permitted"),
        ("[budget]", "[budget", "Expected"),
        ('script = "examples/train_webshop.py"', "", "world shop: needs either a script or a command"),
        (
            'script = "examples/train_webshop.py"',
            'command = ["{run:shop/ppo}/pack"]',
            "world shop: no part runs shop/ppo; arm grpo in world shop: an adaptation has one learning rate",
        ),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(repository: Path, tmp_path: Path, old: str, new: str, problem: str) -> None:
    text = (repository / "tests" / "benchmarks" / "compare.toml").read_text("utf-8")
    assert old in text
    path = tmp_path / "plan.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load_plan(path)


def test_a_plan_may_grow_but_not_change(compare: Plan) -> None:
    part = compare.parts[0]
    grown = compare.model_copy(update={"parts": (part, part.model_copy(update={"name": "more"}))})
    assert grown.changed_from(compare) == []
    assert compare.changed_from(grown) == ["part more"]
    budget = compare.budget.model_copy(update={"final_steps": 51})
    arms = {**compare.arms, "reskill": compare.arms["grpo"]}
    assert compare.model_copy(update={"budget": budget, "arms": arms}).changed_from(compare) == [
        "budget",
        "arm reskill",
    ]


def test_the_registered_study_is_as_the_issue_of_it_says(repository: Path, compare: Plan) -> None:
    plan = load_plan(repository / "tests" / "benchmarks" / "study.toml")
    assert plan.registered
    seeds = {part.name: len(plan.seeds(part)) for part in plan.parts}
    assert seeds == {"A": 8, "A-pairs": 8, "B": 5, "C": 5, "C-adapt": 5}
    assert plan.parts[0].arms == ("grpo", "decoupled", "reskill-paper", "reskill")
    for part in plan.parts:
        if part.name not in ("A-pairs", "C-adapt"):
            assert part.references[0] == "grpo"
            tuned = {len(plan.tuning_jobs(part.world, arm)) for arm in part.arms}
            assert tuned <= {6, 0}  # an equal tuning budget; none where there is no learning rate
    assert plan.budget.rollouts == compare.budget.rollouts
    assert not {*plan.final.starts} & {
        *plan.tuning.starts,
        *plan.tuning.seeds,
    }  # nothing was chosen on the final starts
    fresh = {*plan.final.seeds, 61803}
    known = {*compare.final.seeds, *compare.tuning.seeds, 90210, 7}
    assert not fresh & known
    for world in plan.worlds.values():
        assert "--catalogue-seed" not in world.tune
        assert "61803" in " ".join([*world.final, *world.command])


def test_result_files_are_read_by_name(folder: Path) -> None:
    result = read_result(folder / "final-reskill-s2101-lr1e-05-n50.json")
    assert (result.job.method, result.rollouts, result.skills) == ("reskill", 6400, ("match",))
    after, none = result.after("unseen_test"), result.start("valid")
    assert after is not None
    assert (after.library, none) == ("skills", None)
