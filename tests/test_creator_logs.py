"""Logs of any agent in; skills, assertions and grades out."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from creator_episodes import careless
from planted_logs import planted_log

from reskill_agents import TriggerKind
from reskill_agents.assertions import load_assertions
from reskill_agents.episode_logs import LogError, episode_from_json, episode_to_json, read_logs
from reskill_agents.graphs.creator_logs import create_from_logs, grade_logs
from reskill_agents.induction import InductionConfig, induce
from reskill_agents.induction_log import TextInduction
from reskill_agents.linter import lint_skill
from reskill_agents.packs import read_pack

PLAIN = {
    "episode_id": "e1",
    "task_id": "t1",
    "task": "count singers",
    "model": "m",
    "turns": [{"observation": "ask", "action": "SHOW TABLES"}, {"observation": "[]", "action": "SELECT 1"}],
    "final_observation": "[(1,)]",
    "reward": 1.0,
    "success": True,
}
CHAT = {
    "id": "c1",
    "messages": [
        {"role": "system", "content": "be good"},
        {"role": "user", "content": "count singers"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "query", "arguments": '{"sql": "x", "db": "d"}'}},
                {"id": "2", "type": "function", "function": {"name": "list", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "3"},
        {"role": "tool", "tool_call_id": "2", "content": "singer"},
        {"role": "assistant", "content": "There are\n3."},
    ],
    "reward": 0.5,
}
LANGSMITH = {
    "id": "run-1",
    "run_type": "chain",
    "extra": {"metadata": {}},
    "inputs": {"messages": [{"type": "human", "content": "hello"}]},
    "outputs": {
        "messages": [
            {"id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "hello"}},
            {
                "id": ["langchain", "schema", "messages", "AIMessage"],
                "kwargs": {"content": "", "tool_calls": [{"name": "look", "args": {"at": "sky"}, "id": "1"}]},
            },
            {"id": ["langchain", "schema", "messages", "ToolMessage"], "kwargs": {"content": "blue", "name": "look"}},
            {"id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": "Blue."}},
        ]
    },
    "feedback_stats": {"correct": {"n": 2, "avg": 0.75}},
}


def write(path: Path, *entries: object) -> Path:
    path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries), encoding="utf-8")
    return path


def test_every_format_becomes_an_episode(tmp_path: Path) -> None:
    plain, chat, run = read_logs([write(tmp_path / "log.jsonl", PLAIN, CHAT, LANGSMITH)]).episodes
    assert plain.actions == ("SHOW TABLES", "SELECT 1")
    assert (plain.score, plain.success, plain.final_observation, plain.model) == (1.0, True, "[(1,)]", "m")
    assert chat.actions == ('query({"db":"d","sql":"x"})', "list({})", "There are 3.")
    assert [turn.observation for turn in chat.turns] == ["count singers", "", "3\nsinger"]
    assert chat.turns[2].tools == ("query", "list")
    assert (chat.score, chat.episode_id, chat.task.text) == (0.5, "c1", "count singers")
    assert run.actions == ('look({"at":"sky"})', "Blue.")
    assert run.turns[1].tools == ("look",)
    assert run.score == 0.75


def test_a_list_of_entries_is_a_log_too(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps([PLAIN, CHAT], indent=1))
    assert len(read_logs([tmp_path / "log.json"]).episodes) == 2


def test_malformed_lines_are_reported_with_their_number_and_nothing_else_is_lost(tmp_path: Path) -> None:
    bad: list[object] = [
        "{broken",
        "[1, 2]",
        {"episode_id": "x", "turns": 3},
        {**PLAIN, "reward": 7},
        {**PLAIN, "turns": [{"observation": {}, "action": "x"}]},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}], "reward": 1},
        {key: value for key, value in CHAT.items() if key != "reward"},
        "[" * 100_000,
    ]
    reading = read_logs([write(tmp_path / "log.jsonl", PLAIN, *bad, "", CHAT)])
    assert len(reading.episodes) == 2
    assert [problem.line for problem in reading.problems] == list(range(2, 2 + len(bad)))
    assert str(reading.problems[0]).startswith("log.jsonl:2: not JSON")


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="none"):
        read_logs([tmp_path / "none.jsonl"])


def test_our_own_episodes_survive_json() -> None:
    for episode in careless(16):
        assert episode_from_json(json.loads(json.dumps(episode_to_json(episode)))) == episode


async def test_create_writes_what_grade_reads(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", *(episode_to_json(episode) for episode in careless(320)))
    creation = await create_from_logs([log], tmp_path / "out")
    assert creation.episodes == 320
    assert creation.library.skills
    assert read_pack(tmp_path / "out" / "library").library == creation.library
    assert load_assertions(tmp_path / "out" / "assertions.json") == creation.result.assertions
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["proposal"]["reason"] == "confirmed"
    graded = grade_logs(tmp_path / "out" / "assertions.json", [log])
    line = json.loads(graded.lines()[0])
    assert set(line) == {"episode_id", "pass_rate", "grades"}
    assert len(line["grades"]) == len(creation.result.assertions)


async def test_without_evidence_nothing_is_proposed(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", *({**PLAIN, "episode_id": f"e{n}", "task_id": f"t{n}"} for n in range(30)))
    creation = await create_from_logs([log])
    assert creation.result.proposal is None
    assert creation.library.skills == ()


def test_texts_teach_planted_causes_and_not_length_or_model() -> None:
    log = planted_log(1200, tasks=300, seed=0)
    induction = induce(log.episodes, rng=random.Random(0), config=InductionConfig(rate=0.05))
    assert isinstance(induction, TextInduction)
    said = " ".join(found.evidence for found in induction.confirmed)
    for command in ("help", "widen", "plan"):
        assert f"`{command}" in said
    assert "zap" not in said
    error = next(found for found in induction.confirmed if "after an error, use `help`" in found.evidence)
    assert induction.trigger_for(error.advice).trigger.kind is TriggerKind.OBSERVATION_PATTERN
    statistics = induction.statistics(error)
    assert statistics.low > 0
    assert statistics.within_length is not None
    assert statistics.within_length > 0


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["intercode_sql", "webshop"])
async def test_real_logs_end_in_time_with_clean_skills(name: str, shared_data: Path, tmp_path: Path) -> None:
    started = time.process_time()
    creation = await create_from_logs([shared_data / "failure_logs" / f"{name}.jsonl"], tmp_path / "out")
    assert time.process_time() - started < 20
    assert creation.library.skills
    assert all(lint_skill(skill).clean for skill in creation.library)
    if name == "intercode_sql":
        assert "after-error-use-show-tables" in creation.library.by_name
    else:
        assert "not confirmed" in (creation.result.proposal or pytest.fail("no proposal")).reason
