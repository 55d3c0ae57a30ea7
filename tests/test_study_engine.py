"""Running a study: in pieces, in order, never twice, and every look at test results written down."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import study
from study_durations import Durations
from study_jobs import Workshop
from study_looks import Code, Looks, current_code, refusal
from study_queue import Ended, Queue, Report, Task

from reskill_agents.study.job import Job, Stage
from reskill_agents.study.plan import Plan, load_plan

PLAN = """
title = "A small study"
registered = {registered}
[budget]
rollouts = "1 x 1"
clone_updates = 7
tune_steps = 2
final_steps = 3
[tuning]
seeds = [1]
rates = [1e-5, 3e-5]
[final]
seeds = [5, 6]
[worlds.one]
title = "first"
script = "{script}"
tune = ["--no-test"]
final = ["--catalogue-seed", "9"]
[worlds.two]
title = "second"
command = ["{script}", "--method", "reskill", "--start", "{{run:one/frozen}}", "--pack", "{{run:one/reskill}}/pack",
  "--run-dir", "{{out}}", "--seed", "{{seed}}", "--steps", "{{steps}}", "--learning-rate", "3e-5"]
[arms]
grpo = {{ method = "grpo" }}
reskill = {{ method = "reskill" }}
wide = {{ method = "reskill", settings = {{ "rollout.groups" = 4, "pruning.enabled" = false }} }}
frozen = {{ method = "reskill", settings = {{ "update.frozen" = true }}, rates = [3e-5] }}
adapted = {{ method = "reskill", rates = [3e-5] }}
[[parts]]
name = "A"
world = "one"
arms = ["grpo", "reskill"]
[[parts]]
name = "B"
world = "one"
arms = ["wide", "frozen"]
seeds = 1
references = ["grpo", "reskill"]
[[parts]]
name = "C"
world = "two"
arms = ["adapted"]
seeds = 1
references = []
"""


class Bench:
    """A plan, a fake training script, and folders of their own."""

    def __init__(self, folder: Path, registered: bool = False) -> None:
        self.folder, self.results, self.runs = folder, folder / "results" / "small", folder / "runs"
        self.script = folder / "train.py"
        shutil.copyfile(Path(__file__).parent / "fake_training.py", self.script)
        self.plan_file = folder / "small.toml"
        self.plan_file.write_text(PLAN.format(script=self.script, registered=str(registered).lower()))

    def run(self, *arguments: str) -> int:
        where = ["--results", str(self.results), "--runs", str(self.runs), "--jobs", "1"]
        return study.main([str(self.plan_file), *where, *arguments])

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def trained(self) -> list[str]:
        return [Path(call[call.index("--run-dir") + 1]).name for call in self.calls if "--run-dir" in call]

    @property
    def looks(self) -> list[dict[str, str]]:
        path = self.results.parent / "looks.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def workshop(plan: Plan, tmp_path: Path, version: str = "v") -> Workshop:
    return Workshop(
        "small", plan, Path("/repository"), tmp_path, Path("/runs"), Looks(tmp_path / "looks.jsonl"), Code("c", version),
        Durations(tmp_path / "durations.jsonl", {}), python="python",
    )  # fmt: skip


def test_the_comparison_calls_what_it_always_called(repository: Path, tmp_path: Path) -> None:
    place = workshop(load_plan(repository / "tests" / "benchmarks" / "compare.toml"), tmp_path)
    common = "--threads 1 --run-dir /runs/{} --clone-updates 1700 --quiet --resume"
    script = "python /repository/examples/train_webshop.py"
    final = Job(Stage.FINAL, "reskill", 2101, 3e-5, 50)
    assert " ".join(place.arguments("shop", final)) == (
        f"{script} --method reskill --seed 2101 --learning-rate 3e-05 --steps 50 "
        f"{common.format('final-reskill-s2101-lr3e-05-n50')} --catalogue-seed 90210"
    )
    tune = Job(Stage.TUNE, "grpo", 11, 1e-5, 20)
    assert " ".join(place.arguments("shop", tune)) == (
        f"{script} --method grpo --seed 11 --learning-rate 1e-05 --steps 20 "
        f"{common.format('tune-grpo-s11-lr1e-05-n20')} --no-test"
    )
    clone = f"{script} --clone-only --seed {{}} --clone-updates 1700 --threads 1 --quiet"
    assert " ".join(place.clone_arguments("shop", Stage.TUNE, 11)) == clone.format(11)
    assert " ".join(place.clone_arguments("shop", Stage.FINAL, 2101)) == clone.format(2101) + " --catalogue-seed 90210"


def test_seeds_may_share_start_policies(bench: Bench) -> None:
    text = bench.plan_file.read_text().replace("seeds = [5, 6]", "seeds = [5, 6, 7]\nstarts = [6, 40]")
    bench.plan_file.write_text(text)
    assert bench.run("--parts", "A", "--methods", "grpo") == 0
    cloned = [call[call.index("--seed") + 1] for call in bench.calls if "--clone-only" in call]
    assert cloned == ["1", "6", "40"]
    begun = {
        call[call.index("--seed") + 1]: call[call.index("--start-seed") + 1] if "--start-seed" in call else None
        for call in bench.calls
        if "--catalogue-seed" in call and "--run-dir" in call
    }
    assert begun == {"5": "6", "6": "40", "7": "6"}


def test_a_study_runs_to_its_end_and_a_second_call_runs_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run() == 0
    assert sorted(bench.trained) == sorted(
        [
            *(f"tune-{arm}-s1-lr{rate}-n2" for arm in ("grpo", "reskill", "wide") for rate in ("1e-05", "3e-05")),
            *(f"final-{arm}-s{seed}-lr3e-05-n3" for arm in ("grpo", "reskill") for seed in (5, 6)),
            *("final-wide-s5-lr3e-05-n3", "final-frozen-s5-lr3e-05-n3", "final-two-adapted-s5-lr3e-05-n3"),
        ]
    )
    held = json.loads((bench.results / "final-wide-s5-lr3e-05-n3.json").read_text())
    assert held["job"] == {
        "stage": "final", "method": "wide", "seed": 5, "rate": 3e-5, "steps": 3,
        "settings": {"rollout.groups": 4, "pruning.enabled": False},
    }  # fmt: skip
    assert held["commit"] == study.current_code(study.ROOT).commit
    assert held["config"].startswith("sha256-")
    said = capsys.readouterr().out
    assert "| wide | 3e-05 | 1 | 70.0 | 70.0 | 50.0 | 50.0 | 0.0 | 0.0 |" in said
    assert (
        "| adapted | 1 | 10.0 | 20.0 | 60.0 | 10.0 | 20.0 | 60.0 |" in said
    )  # adapted on, seen: none, source, adapted
    count = len(bench.calls)
    assert bench.run() == 0
    assert len(bench.calls) == count


def test_variants_and_adaptations_are_called_with_their_settings(bench: Bench) -> None:
    bench.run()
    wide = next(call for call in bench.calls if "rollout.groups=4" in call)
    assert wide[wide.index("--set") :] == ["--set", "rollout.groups=4", "--set", "pruning.enabled=false"]
    adapted = next(call for call in bench.calls if "--start" in call)
    assert adapted[adapted.index("--start") + 1] == str(bench.runs / "final-frozen-s5-lr3e-05-n3")
    assert adapted[adapted.index("--pack") + 1] == str(bench.runs / "final-reskill-s5-lr3e-05-n3" / "pack")
    assert adapted[adapted.index("--seed") + 1] == "5"
    assert [call[call.index("--seed") + 1] for call in bench.calls if "--clone-only" in call] == ["1", "5", "6"]


def test_an_adaptation_repeats_runs_of_other_code_for_their_folders_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run("--parts", "A,B")
    shutil.rmtree(bench.runs)  # a fresh clone has the results, and no run folder
    before, looks = len(bench.calls), bench.looks
    assert bench.run("--parts", "C") == 0
    calls = [call for call in bench.calls[before:] if "--clone-only" not in call]
    again = {call[call.index("--method") + 1]: call for call in calls if "--start" not in call}
    assert all("--no-test" in call for call in again.values())
    adapted = next(call for call in calls if "--start" in call)
    folder = bench.runs / "final-frozen-s5-lr3e-05-n3-again"
    assert adapted[adapted.index("--start") + 1] == str(folder)
    assert adapted[adapted.index("--pack") + 1] == str(bench.runs / "final-reskill-s5-lr3e-05-n3-again" / "pack")
    assert [Path(call[call.index("--run-dir") + 1]).name for call in calls][-1] == "final-two-adapted-s5-lr3e-05-n3"
    assert len(calls) == 3
    assert {look["job"] for look in bench.looks[len(looks) :]} == {"final-two-adapted-s5-lr3e-05-n3"}
    count = len(bench.calls)
    assert bench.run("--parts", "C") == 0
    assert len(bench.calls) == count


def test_test_splits_stay_closed_until_the_end_and_every_look_is_written_down(bench: Bench) -> None:
    bench.run("--stage", "tune")
    assert bench.looks == []
    tuned = [call for call in bench.calls if "--run-dir" in call]
    assert len(tuned) == 6
    assert all("--no-test" in call and "--catalogue-seed" not in call for call in tuned)
    bench.run()
    finals = [name for name in bench.trained if name.startswith("final")]
    assert [look["job"] for look in bench.looks if look["state"] == "read"] == finals
    assert [look["job"] for look in bench.looks if look["state"] == "begun"] == finals
    held = json.loads((bench.results / f"{finals[0]}.json").read_text())
    look = next(look for look in bench.looks if look["state"] == "read")
    assert (look["plan"], look["config"], look["commit"]) == ("small", held["config"], held["commit"])
    assert look["plan_digest"] == load_plan(bench.plan_file).digest
    assert look["time"].endswith("+00:00")


def test_a_failure_is_named_and_the_rest_goes_on(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (bench.folder / "fail-grpo").touch()
    assert bench.run("--parts", "A") == 1
    said = capsys.readouterr().out
    assert "FAILED       tune-grpo-s1-lr1e-05-n2: no such thing" in said
    assert "not tuned yet, so no final run: grpo" in said
    assert "done         final-reskill-s6-lr3e-05-n3" in said
    (bench.folder / "fail-grpo").unlink()
    assert bench.run("--parts", "A") == 0


def test_a_torn_result_is_made_again_and_a_foreign_one_is_left_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.run("--parts", "A")
    torn = bench.results / "final-grpo-s5-lr3e-05-n3.json"
    whole = torn.read_text()
    torn.write_text(whole[:200])
    foreign = bench.results / "final-grpo-s6-lr3e-05-n3.json"
    foreign.write_text(whole)
    assert bench.run("--parts", "A") == 1
    said = capsys.readouterr().out
    assert torn.read_text() == whole
    assert foreign.read_text() == whole
    assert f"{foreign} is no result of this job; move it away" in said
    assert "final-grpo-s6-lr3e-05-n3.json: foreign, it holds the result of final-grpo-s5" in said


def test_the_list_says_what_is_left_and_runs_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run("--parts", "A", "--methods", "grpo")
    capsys.readouterr()
    count = len(bench.calls)
    assert bench.run("--list", "--parts", "A") == 0
    said = capsys.readouterr().out.splitlines()
    assert len(bench.calls) == count
    assert "done  A  final-grpo-s6-lr3e-05-n3" in said
    assert "open  A  tune-reskill-s1-lr1e-05-n2" in said
    assert "open  A  reskill: 2 final runs, once it is tuned" in said


def test_wrong_names_say_what_is_right(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for option, right in (("--parts", "unknown part X; choose from A, B, C"), ("--methods", "choose from grpo")):
        with pytest.raises(SystemExit):
            bench.run(option, "X")
        assert right in capsys.readouterr().err


def test_a_run_that_outlives_the_piece_is_stopped_and_goes_on_in_the_next(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.folder / "hang-grpo").touch()
    bench.plan_file.write_text(bench.plan_file.read_text() + "[minutes]\nclone = 0.001\ntune = 0.001\nfinal = 0.001\n")
    assert bench.run("--parts", "A", "--methods", "grpo", "--minutes", "0.03") == 1
    said = capsys.readouterr().out
    assert "stopped      tune-grpo-s1-lr1e-05-n2: time is up" in said
    assert "left" in said
    (bench.folder / "hang-grpo").unlink()
    assert bench.run("--parts", "A", "--methods", "grpo") == 0


# The queue by itself, on a clock that the tasks move.


class Hours:
    """A clock that tasks move on, and a log of what ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def task(self, name: str, kind: str, minutes: float, *, needs: tuple[str, ...] = (), good: bool = True) -> Task:
        def run(_: float | None) -> Report:
            self.now += 60 * minutes
            self.ran.append(name)
            return Report(Ended.DONE if good else Ended.FAILED, fresh=True)

        return Task(name, kind, run, needs)


def queue(hours: Hours, durations: Durations, minutes: float | None, lines: list[str]) -> Queue:
    deadline = None if minutes is None else 60 * minutes
    return Queue(durations, 1, deadline, lines.append, lambda: hours.now)


def test_nothing_starts_that_would_not_end_in_time(tmp_path: Path) -> None:
    hours, lines = Hours(), list[str]()
    durations = Durations(tmp_path / "d.jsonl", {"final": 1800.0, "tune": 300.0})
    tasks = [hours.task(f"final-{n}", "final", 40) for n in range(4)] + [hours.task("tune-0", "tune", 5)]
    assert not queue(hours, durations, 110, lines).run(tasks)
    # after two finals 30 minutes are left: the guess would fit, the measured 40 minutes do not; a tuning run does
    assert hours.ran == ["final-0", "final-1", "tune-0"]
    assert hours.now <= 110 * 60
    assert lines[-1] == "left         2 x final"
    again = Durations(tmp_path / "d.jsonl", {})
    assert (again.expected("final"), again.expected("tune"), again.expected("other")) == (2400.0, 300.0, 0.0)
    assert queue(hours, again, None, lines).run(tasks[2:4])


def test_the_median_of_a_kind_decides(tmp_path: Path) -> None:
    durations = Durations(tmp_path / "d.jsonl", {"final": 1.0})
    for seconds in (100.0, 900.0, 120.0):
        durations.add("final", "x", seconds)
    with (tmp_path / "d.jsonl").open("a") as lines:
        lines.write('{"kind": "fin')
    assert Durations(tmp_path / "d.jsonl", {}).expected("final") == 120.0


def test_what_needs_a_failed_task_is_left(tmp_path: Path) -> None:
    hours, lines = Hours(), list[str]()
    tasks = [
        hours.task("late", "final", 1, needs=("clone-2",)),
        hours.task("clone-1", "clone", 1, good=False),
        hours.task("clone-2", "clone", 1),
        hours.task("never", "final", 1, needs=("clone-1",)),
    ]
    assert not queue(hours, Durations(tmp_path / "d.jsonl", {}), None, lines).run(tasks)
    assert hours.ran == ["clone-1", "clone-2", "late"]
    assert lines[-1] == "left         1 x final"


def test_a_task_that_breaks_does_not_take_the_others_along(tmp_path: Path) -> None:
    hours, lines = Hours(), list[str]()

    def broken(_: float | None) -> Report:
        raise OSError("disk full")

    tasks = [Task("a", "final", broken), hours.task("b", "final", 1)]
    assert not queue(hours, Durations(tmp_path / "d.jsonl", {}), None, lines).run(tasks)
    assert lines[0] == "FAILED       a: OSError: disk full"
    assert hours.ran == ["b"]


# Registered studies.


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """A repository with one committed code file; calls git in it."""
    root = tmp_path / "repository"
    (root / "trainers").mkdir(parents=True)
    (root / "trainers" / "loop.py").write_text("one\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]

    def call(*arguments: str) -> str:
        done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    call("init", "--quiet")
    call("add", ".")
    call("commit", "--quiet", "-m", "code")
    return call


def test_the_version_of_the_code_does_not_change_with_results(git: Callable[..., str], tmp_path: Path) -> None:
    root = tmp_path / "repository"
    first = current_code(root)
    assert (first.version, first.changed) == (first.commit, ())
    assert first.commit == git("rev-parse", "HEAD")
    (root / "results").mkdir()
    (root / "results" / "a.json").write_text("{}")
    git("add", ".")
    git("commit", "--quiet", "-m", "results")
    second = current_code(root)
    assert second.commit != first.commit
    assert second.version == first.version
    (root / "trainers" / "loop.py").write_text("two\n")
    assert current_code(root).changed == ("trainers/loop.py",)


def test_committing_a_piece_takes_its_results_and_nothing_else(
    git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    (root / "results").mkdir()
    (root / "results" / "a.json").write_text("{}")
    (root / "trainers" / "loop.py").write_text("two\n")
    git("add", "trainers")
    study.commit_results(root, [root / "results", root / "looks.jsonl"], "test: results")
    assert git("show", "--name-only", "--format=%s").split() == ["test:", "results", "results/a.json"]
    assert git("status", "--porcelain") == "M  trainers/loop.py"
    head = git("rev-parse", "HEAD")
    study.commit_results(root, [root / "results"], "test: results")
    assert git("rev-parse", "HEAD") == head


def test_a_commit_opens_a_final_run_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, registered=True)
    plan, job = load_plan(bench.plan_file), Job(Stage.FINAL, "grpo", 5, 3e-5, 3)
    looks, code = Looks(tmp_path / "looks.jsonl"), Code("head", "version-1")
    assert refusal(plan, "small", job, code, looks, played=False) == ""
    looks.append(code, "small", plan, job, "sha256-a")
    looks.append(code, "small", plan, job, "sha256-a")
    assert len(looks.lines()) == 1
    assert "opened before with the code of version-1" in refusal(plan, "small", job, code, looks, played=False)
    assert refusal(plan, "small", job, code, looks, played=True) == ""  # its record was lost, its run was not
    assert refusal(plan, "small", job, Code("head", "version-2"), looks, played=False) == ""
    tune = Job(Stage.TUNE, "grpo", 1, 3e-5, 2)
    assert refusal(plan, "small", tune, Code("", ""), looks, played=False) == ""
    assert "in a git repository" in refusal(plan, "small", job, Code("", ""), looks, played=False)
    changed = Code("head", "version-3", ("trainers/loop.py",))
    assert "commit the code first" in refusal(plan, "small", job, changed, looks, played=False)
    assert refusal(load_plan(Bench(tmp_path).plan_file), "small", job, changed, looks, played=False) == ""


def test_new_code_does_not_go_on_with_a_run_of_old_code(tmp_path: Path) -> None:
    plan, job = load_plan(Bench(tmp_path, registered=True).plan_file), Job(Stage.FINAL, "grpo", 5, 3e-5, 3)
    folders = {workshop(plan, tmp_path, version).run_folder(job) for version in ("v1", "v2")}
    assert folders == {Path("/runs") / version / job.name for version in ("v1", "v2")}


def test_a_registered_plan_may_not_change_once_it_has_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path, registered=True)
    text = bench.plan_file.read_text()
    assert bench.run("--stage", "tune", "--parts", "A") == 0
    assert (bench.results / "plan.toml").read_text() == text
    bench.plan_file.write_text(text.replace("final_steps = 3", "final_steps = 4"))
    with pytest.raises(SystemExit):
        bench.run("--stage", "tune")
    assert "it may grow, but budget changed" in capsys.readouterr().err
    assert (bench.results / "plan.toml").read_text() == text
    more = text + '[[parts]]\nname = "D"\nworld = "one"\narms = ["wide"]\n'
    bench.plan_file.write_text(more)
    assert bench.run("--stage", "tune", "--parts", "A") == 0
    assert (bench.results / "plan.toml").read_text() == more
