"""Reading run folders, summing them up, and the page made of them."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folders import BETTER_MATCH, MATCH, OPTIONS, SKIP, write_run

from reskill_agents import SkillLibrary
from reskill_agents.charts import Axes, Series, line_chart, smooth, timeline
from reskill_agents.charts.canvas import nice_ticks, number, percent, scale
from reskill_agents.errors import RunFolderError
from reskill_agents.packs import read_pack, validate_pack
from reskill_agents.report import render_report, skill_diffs, write_report
from reskill_agents.run_pack import export_run
from reskill_agents.run_summary import Outcome, blocks, fates, headline
from reskill_agents.run_view import read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished simulated run; tests do not write to it."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "line", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_run_reads_back_as_it_was_written(run: Path) -> None:
    view = read_run(run)
    assert view.method == "reskill"
    assert view.config["rollout.group_size"] == 8
    assert len(view.steps) == 60
    assert [step.step for step in view.steps] == list(range(60))
    assert view.libraries[0].library == SkillLibrary()
    assert view.libraries[1].library == SkillLibrary((OPTIONS, MATCH))
    assert view.library.library.by_name["best-match"].body == BETTER_MATCH
    assert view.library.lineage["best-match"].version == 2
    assert view.library.lineage["best-match"].parent == MATCH.digest
    assert [trial.purpose for trial in view.trials] == ["creation", "creation", "creation", "pruning"]
    assert all(len(trial.points) == trial.ending.steps for trial in view.trials if trial.ending)


def test_the_fate_of_every_skill_is_told(run: Path) -> None:
    view = read_run(run)
    told = {(fate.skill, fate.change): fate for fate in fates(view)}
    assert told["best-match", "add"].outcome is Outcome.ACCEPTED
    assert told["best-match", "modify"].outcome is Outcome.ACCEPTED
    assert told["finish-at-once", "add"].outcome is Outcome.REJECTED
    removal = told["take-named-options", "delete"]
    assert (removal.purpose, removal.outcome) == ("pruning", Outcome.ACCEPTED)
    assert told["take-named-options", "add"].outcome is Outcome.PRUNED
    assert told["take-named-options", "add"].removed == removal.ended


def test_the_headline_and_blocks_hold_the_numbers(run: Path) -> None:
    view = read_run(run)
    assert headline(view) == (
        "The agent began by solving 3 % on kinds of tasks it never trained on. "
        "It now solves 66 % with its library of 1 skill, and 7 % without it."
    )
    assert [(block.split, block.tag) for block in blocks(view)][:3] == [
        ("seen_test", ""),
        ("seen_test", "goals=human"),
        ("seen_test", "goals=made"),
    ]
    best = blocks(view)[0].score("after", "skills")
    assert best is not None
    assert best.success == 0.71


def test_the_page_is_one_well_formed_file_without_script_or_network(run: Path) -> None:
    text = render_report(read_run(run))
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "form", "image", "use"}
    for _, attributes in page.tags:
        assert not any(name in ("src", "href", "xlink:href", "action") or name.startswith("on") for name in attributes)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_the_page_shows_curves_trials_lives_diffs_and_settings(run: Path) -> None:
    page = Page(render_report(read_run(run)))
    for expected in (
        "It now solves 66 %",
        "in force",
        "on trial",
        "rewrite best-match",
        "pruned at step",
        "take the one listed first.",
        "take the one that shares the most words with the task.",
        "group_size",
        "goals: human",
        "61 of 80",
        "rollout 54 s",
    ):
        assert expected in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) >= 4 + 4


def test_texts_of_a_run_cannot_become_markup_or_templates(copied: Path) -> None:
    text = render_report(read_run(copied))
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in text  # the rejected skill says <b>&</b>
    assert "<b>&" not in text
    hostile = "<script>alert(1)</script>{{ 7 * 7 }}"
    for name in ("config.json", "world.json"):
        content = json.loads((copied / name).read_text())
        content[hostile] = hostile
        (copied / name).write_text(json.dumps(content))
    log = (copied / "trials.jsonl").read_text().replace("Episodes are long.", hostile.replace('"', ""))
    (copied / "trials.jsonl").write_text(log)
    text = render_report(read_run(copied))
    assert "<script" not in text
    assert text.count("{{ 7 * 7 }}") >= 5


def test_a_run_that_goes_on_can_be_read(copied: Path) -> None:
    (copied / "evaluation.json").unlink()
    with (copied / "metrics.jsonl").open("a") as log:
        log.write('{"step": 60, "arms": {"act')
    view = read_run(copied)
    assert dict(view.damaged) == {"metrics.jsonl": 1}
    assert headline(view).startswith("Not finished: 60 of 60 steps")
    assert "metrics.jsonl 1" in Page(render_report(view)).text


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"method": "grpo", "steps": 5}')
    page = Page(render_report(read_run(tmp_path)))
    assert "Not finished: 0 of 5 steps" in page.text


def test_a_trial_cut_short_by_the_end_of_the_run_is_undecided(tmp_path: Path) -> None:
    view = read_run(write_run(tmp_path / "short", steps=4, finished=False, gain=0.0))
    assert view.trials[-1].ending is None
    assert fates(view)[-1].outcome is Outcome.UNDECIDED
    assert "undecided" in Page(render_report(view)).text


def test_what_is_no_run_folder_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no run folder: it holds no config\.json"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"config\.json cannot be read"):
        read_run(tmp_path)


def test_a_log_of_another_version_is_named(copied: Path) -> None:
    (copied / "metrics.jsonl").write_text('{"step": "five"}\n')
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl was written by another version"):
        read_run(copied)


def test_the_report_is_written_beside_or_where_asked(copied: Path, tmp_path: Path) -> None:
    assert write_report(copied) == copied / "report.html"
    target = write_report(copied, tmp_path / "out" / "page.html")
    assert target.read_text() == (copied / "report.html").read_text()


def test_diffs_say_added_removed_rewritten_line_by_line() -> None:
    changed = SkillLibrary((OPTIONS, MATCH.__class__(MATCH.name, MATCH.description, BETTER_MATCH, MATCH.trigger)))
    diffs = {diff.name: diff for diff in skill_diffs(SkillLibrary((MATCH, SKIP)), changed)}
    assert {name: diff.change for name, diff in diffs.items()} == {
        "take-named-options": "added",
        "best-match": "rewritten",
        "finish-at-once": "removed",
    }
    signs = [line.sign for line in diffs["best-match"].lines]
    assert signs == [" ", " ", " ", " ", "-", "+"]
    assert {line.sign for line in diffs["finish-at-once"].lines} == {"-"}


def test_a_run_exports_its_library_with_lineage_and_cases_from_its_own_episodes(run: Path, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "pack")
    assert validate_pack(folder) == []
    pack = read_pack(folder)
    assert pack.library == read_run(run).library.library
    assert pack.lineage["best-match"].evidence["trial"] == "trial-003"
    assert any(case.fires == ("best-match",) for case in pack.cases)
    older = read_pack(export_run(run, tmp_path / "older", version=1)).library
    assert older == SkillLibrary((OPTIONS, MATCH))
    with pytest.raises(RunFolderError, match="no library version 9; it has 0, 1, 2, 3"):
        export_run(run, tmp_path / "none", version=9)


def test_scales_and_ticks() -> None:
    to_x = scale((0, 10), (100, 200))
    assert [to_x(value) for value in (0, 5, 10, 99, -1)] == [100, 150, 200, 200, 100]
    assert nice_ticks(0, 75, 8) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert nice_ticks(0, 1, 4) == [0, 0.5, 1.0]
    assert nice_ticks(3, 3, 4) == [3]
    assert [percent(value) for value in (0, 0.034, 0.5, 1)] == ["0 %", "3.4 %", "50 %", "100 %"]
    assert [number(value) for value in (3.0, 0.12345)] == ["3", "0.123"]


def test_smoothing_averages_neighbours_and_passes_over_gaps() -> None:
    nan = float("nan")
    assert smooth([(0, 0.0), (1, 3.0), (2, nan), (3, 5.0)], 3) == [(0, 1.5), (1, 1.5), (2, 4.0), (3, 5.0)]


def test_a_gap_breaks_a_line_and_labels_are_escaped() -> None:
    svg = line_chart(Axes((0, 3)), [Series("<a>", [(0, 0.1), (1, 0.2), (2, float("nan")), (3, 0.4)])], label='"x"')
    assert svg.count("M") == 2
    assert "&lt;a&gt;" in svg
    assert "&quot;x&quot;" in svg
    assert timeline([], (0, 1)).startswith("<svg")
