"""``reskill ab``: pairs are the same task and seed, nothing is paid for twice, and the answer is honest."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from typer.testing import CliRunner

from reskill_agents import Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.ab import AbPlan, AbTask, Budget, Finding, FinishedRun, Injection, current_library, run_ab
from reskill_agents.ab.answer import answer
from reskill_agents.ab.effect import look_confidence, paired_effect, tasks_needed
from reskill_agents.ab.page import write_page
from reskill_agents.ab.run_log import RunRecord, Said, read_records
from reskill_agents.ab.student import t_cdf, t_quantile
from reskill_agents.ab.tasks import read_tasks
from reskill_agents.cli import app
from reskill_agents.errors import ConfigError, ReSkillError, RunFolderError
from reskill_agents.packs import export_pack
from reskill_agents.trials.arm import Arm

NONE = SkillLibrary()
HINT = SkillLibrary((Skill("hint", "A hint.", "Say seven.", Trigger(TriggerKind.BEGINNING)),))
LATE = SkillLibrary((Skill("late", "Late.", "Say seven.", Trigger(TriggerKind.ACTION_PATTERN, "x")),))

Model = Callable[[list[BaseMessage], RunnableConfig], str]


def agent(model: Model) -> Any:
    """A graph of one node that knows nothing of skills."""

    def answer_node(state: MessagesState, config: RunnableConfig) -> dict[str, list[BaseMessage]]:
        return {"messages": [AIMessage(model(state["messages"], config))]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer_node)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile()


def obedient(messages: list[BaseMessage], config: RunnableConfig) -> str:
    """Says seven when told to."""
    return "seven" if any("Say seven" in str(m.text) for m in messages) else "six"


def tasks(count: int) -> tuple[AbTask, ...]:
    return tuple(
        AbTask(f"t{i}", ({"role": "user", "content": f"question {i}"},), {"answer": "seven"}) for i in range(count)
    )


def right(run: FinishedRun) -> bool:
    return str(run.messages[-1].text) == run.task.data["answer"]


def plan(model: Model = obedient, count: int = 12, **settings: Any) -> AbPlan:
    return AbPlan(**{"agent": agent(model), "tasks": tasks(count), "a": NONE, "b": HINT, "reward": right} | settings)


def outcomes(folder: Path) -> dict[tuple[str, int, Arm], float | None]:
    return {record.key: record.outcome for record in read_records(folder)}


def record(task: str, arm: Arm, outcome: float | None, **fields: Any) -> RunRecord:
    return RunRecord(task=task, task_digest="d", repeat=0, arm=arm, seed=1, outcome=outcome, **fields)


def results(a: list[float | None], b: list[float | None]) -> list[RunRecord]:
    return [
        record(f"t{i}", arm, value) for arm, values in zip(Arm, (a, b), strict=True) for i, value in enumerate(values)
    ]


async def test_a_skill_that_makes_every_answer_right_is_found(tmp_path: Path) -> None:
    found = await run_ab(plan(), tmp_path)
    assert found.finding is Finding.HELPS
    assert found.effect is not None
    assert (found.effect.mean, found.effect.wins, found.effect.losses, found.effect.ties) == (1.0, 12, 0, 0)
    assert (found.a.mean, found.b.mean, found.a.runs, found.b.missing) == (0.0, 1.0, 12, 0)
    assert "B helps: effect +1.000, 97.5% interval" in found.sentence()


async def test_both_runs_of_a_pair_get_the_same_task_and_seed(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def note(messages: list[BaseMessage], config: RunnableConfig) -> str:
        seen.append((str(messages[-1].text), config["configurable"]["seed"]))
        return "six"

    await run_ab(plan(note, repeats=2), tmp_path)
    assert set(Counter(seen).values()) == {2}
    assert len(set(seen)) == 24


async def test_no_more_agents_run_at_once_than_allowed(tmp_path: Path) -> None:
    running = most = 0

    async def slow(state: MessagesState) -> dict[str, list[BaseMessage]]:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.002)
        running -= 1
        return {"messages": [AIMessage("six")]}

    builder = StateGraph(MessagesState)
    builder.add_node("slow", slow)
    builder.add_edge(START, "slow")
    await run_ab(plan(agent=builder.compile(), concurrency=3), tmp_path / "three")
    assert most == 3
    most = 0
    await run_ab(plan(agent=builder.compile(), concurrency=1), tmp_path / "one")
    assert most == 1


@pytest.mark.parametrize("kill_at", [1, 7, 18])
async def test_a_killed_comparison_goes_on_and_ends_like_an_unbroken_one(kill_at: int, tmp_path: Path) -> None:
    calls = 0

    async def reward(run: FinishedRun) -> bool:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            killed.cancel()
            await asyncio.sleep(5)
        return right(run)

    killed = asyncio.create_task(run_ab(plan(reward=reward, concurrency=2), tmp_path / "killed"))
    with pytest.raises(asyncio.CancelledError):
        await killed
    log = tmp_path / "killed" / "runs.jsonl"
    log.write_bytes(log.read_bytes() + b'{"kind":"run","task":"t1"')  # a torn line
    before = len(outcomes(tmp_path / "killed"))
    resumed = await run_ab(plan(reward=reward, concurrency=2), tmp_path / "killed")
    whole = await run_ab(plan(), tmp_path / "whole")
    assert outcomes(tmp_path / "killed") == outcomes(tmp_path / "whole")
    assert resumed.effect == whole.effect
    assert calls <= 24 - before + kill_at + 1  # what was written is not run again
    assert (tmp_path / "killed" / "runs.jsonl.orphan").read_bytes() == b'{"kind":"run","task":"t1"\n'
    again = calls
    await run_ab(plan(reward=reward, concurrency=2), tmp_path / "killed")
    assert calls == again


async def test_more_tasks_go_on_in_the_same_folder_and_a_second_look_is_wider(tmp_path: Path) -> None:
    first = await run_ab(plan(count=6), tmp_path)
    same = await run_ab(plan(count=6), tmp_path)
    second = await run_ab(plan(count=12), tmp_path)
    assert [first.look, same.look, second.look] == [1, 1, 2]
    assert second.effect is not None
    assert second.effect.confidence == look_confidence(2) == 1 - 0.05 / 4
    assert len(outcomes(tmp_path)) == 24


async def test_another_comparison_or_a_changed_task_is_refused(tmp_path: Path) -> None:
    await run_ab(plan(count=6), tmp_path)
    with pytest.raises(RunFolderError, match="holds another comparison"):
        await run_ab(plan(count=6, b=NONE), tmp_path)
    changed = (AbTask("t0", ({"role": "user", "content": "other"},)), *tasks(6)[1:])
    with pytest.raises(RunFolderError, match="changed or taken out since: t0"):
        await run_ab(plan(tasks=changed), tmp_path)


async def test_two_processes_cannot_write_one_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    async def slow(run: FinishedRun) -> bool:
        await asyncio.sleep(0.2)
        return True

    first = asyncio.create_task(run_ab(plan(count=2, reward=slow), tmp_path / "x"))
    await asyncio.sleep(0.05)
    with pytest.raises(RunFolderError, match="in use"):
        await run_ab(plan(count=2, reward=slow), tmp_path / "x")
    await first


@pytest.mark.parametrize(
    ("budget", "said", "runs"),
    [
        (Budget(runs=7), "7 runs", 6),
        (Budget(tokens=40), "40 tokens", None),
        (Budget(money=0.5, price_answer=1e4), "0.5 of money", None),
    ],
)
async def test_a_budget_ends_with_whole_pairs_and_more_budget_goes_on(
    budget: Budget, said: str, runs: int | None, tmp_path: Path
) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("six seven eight nine") for _ in range(200)]))

    def ask(messages: list[BaseMessage], config: RunnableConfig) -> str:
        return str(model.invoke(messages, config).text)

    found = await run_ab(plan(ask, concurrency=4, budget=budget), tmp_path)
    assert found.stopped == said
    assert found.a.runs == found.b.runs
    spent = found.a.tokens + found.b.tokens
    assert spent.estimated
    assert runs is None or found.a.runs + found.b.runs == runs
    assert budget.tokens is None or 0 < spent.total <= budget.tokens
    assert budget.money is None or 0 < budget.price(spent) <= budget.money
    assert found.open_tasks == 12 - found.a.runs
    rest = await run_ab(plan(ask), tmp_path)
    assert (rest.stopped, rest.a.runs) == ("", 12)


async def test_a_budget_of_seconds_leaves_what_was_under_way_to_the_next_call(tmp_path: Path) -> None:
    async def slow(run: FinishedRun) -> bool:
        await asyncio.sleep(0.1)
        return True

    found = await run_ab(plan(reward=slow, concurrency=2, budget=Budget(seconds=0.25)), tmp_path)
    assert found.stopped == "0.25 seconds"
    assert found.a.runs + found.b.runs < 24
    assert None not in outcomes(tmp_path).values()


async def test_faults_are_missing_outcomes_counted_for_their_arm(tmp_path: Path) -> None:
    def reward(run: FinishedRun) -> float | None:
        if run.task.task_id == "t1":
            raise RuntimeError("grader down")
        return {"t2": None, "t3": float("nan")}.get(run.task.task_id, 1.0)

    def breaks(messages: list[BaseMessage], config: RunnableConfig) -> str:
        if str(messages[-1].text) == "question 4" and len(messages) == 2:
            raise ConnectionError("engine down")
        return "six"

    found = await run_ab(plan(breaks, reward=reward), tmp_path)
    assert (found.a.missing, found.b.missing) == (3, 4)
    assert found.effect is not None
    assert found.effect.tasks == 8
    errors = {r.error for r in read_records(tmp_path) if r.outcome is None}
    assert errors == {
        "RuntimeError: grader down",
        "the reward is None",
        "ValueError: the reward is nan",
        "ConnectionError: engine down",
    }


async def test_an_endless_agent_is_scored_as_it_stands_and_a_slow_one_is_missing(tmp_path: Path) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("turn", lambda state: {"messages": [AIMessage("turn")]})
    builder.add_edge(START, "turn")
    builder.add_edge("turn", "turn")
    endless = builder.compile().with_config({"recursion_limit": 5})
    found = await run_ab(plan(agent=endless, reward=lambda run: 0.25 * run.cut_short), tmp_path / "a")
    assert (found.a.cut_short, found.a.mean) == (12, 0.25)

    async def hangs(run: FinishedRun) -> bool:
        await asyncio.sleep(5)
        return True

    found = await run_ab(plan(count=2, reward=hangs, run_seconds=0.05), tmp_path / "b")
    assert (found.a.missing, found.b.missing, found.finding) == (2, 2, Finding.CANNOT_TELL)


async def test_a_broken_agent_is_not_paid_for_to_the_end(tmp_path: Path) -> None:
    found = await run_ab(plan(lambda *_: 1 / 0, count=100, concurrency=2), tmp_path)  # type: ignore[arg-type,return-value]
    assert found.stopped.startswith("10 runs in a row without an outcome; the last: ZeroDivisionError")
    assert found.a.runs + found.b.runs <= 12
    assert found.sentence().startswith("Cannot tell yet")


async def test_skills_reach_agents_in_four_ways(tmp_path: Path) -> None:
    class Context(dict[str, object]):
        skill_library: SkillLibrary

    def reads_config(messages: list[BaseMessage], config: RunnableConfig) -> str:
        return "seven" if current_library().skills else "six"

    def by_context(state: MessagesState, runtime: Any) -> dict[str, list[BaseMessage]]:
        return {"messages": [AIMessage("seven" if runtime.context["skill_library"].skills else "six")]}

    from langgraph.runtime import Runtime

    by_context.__annotations__["runtime"] = Runtime[Context]
    builder = StateGraph(MessagesState, context_schema=Context)
    builder.add_node("answer", by_context)
    builder.add_edge(START, "answer")
    ways = {
        Injection.INPUT: plan(b=HINT),
        Injection.CONFIG: plan(reads_config, b=LATE, injection=Injection.CONFIG),
        Injection.CONTEXT: plan(agent=builder.compile(), b=LATE),
        Injection.FACTORY: plan(agent=lambda lib: agent(lambda *_: "seven" if lib.skills else "six"), b=LATE),
    }
    for way, made in ways.items():
        found = await run_ab(made, tmp_path / way)
        assert (found.a.mean, found.b.mean) == (0.0, 1.0), way
        assert json.loads((tmp_path / way / "ab.json").read_text())["injection"] == way


async def test_skills_that_could_never_reach_the_agent_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="late fire in mid-conversation"):
        await run_ab(plan(b=LATE), tmp_path)
    with pytest.raises(ConfigError, match="must be a compiled LangGraph graph"):
        await run_ab(plan(agent=lambda library: None), tmp_path)


async def test_the_system_message_of_a_task_stays_one_message(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def note(messages: list[BaseMessage], config: RunnableConfig) -> str:
        seen.append([m.type for m in messages])
        return "six"

    task = AbTask("t", ({"role": "system", "content": "Be short."}, {"role": "user", "content": "q"}))
    await run_ab(plan(note, tasks=(task,)), tmp_path)
    assert seen == [["system", "human"]] * 2


def test_the_effect_is_that_of_bonett_and_price_for_yes_or_no() -> None:
    pairs = {f"t{i}": [(0.0, 1.0)] for i in range(6)} | {f"u{i}": [(1.0, 1.0)] for i in range(4)}
    effect = paired_effect(pairs)
    assert effect is not None
    assert (effect.mean, effect.wins, effect.ties) == (0.6, 6, 4)
    # by hand: (7 - 1) / 12 = 0.5; sum of squares 8 - 12 * 0.25 = 5, sd sqrt(5 / 11), t(0.975; 11) = 2.200985
    assert (effect.low + effect.high) / 2 == pytest.approx(0.5)
    assert effect.high - 0.5 == pytest.approx(2.200985 * (5 / 11) ** 0.5 / 12**0.5, rel=1e-6)


def test_tied_tasks_do_not_give_an_interval_without_width() -> None:
    effect = paired_effect({f"t{i}": [(1.0, 1.0)] for i in range(10)})
    assert effect is not None
    assert -0.3 < effect.low < -0.2
    assert effect.low == -effect.high


def test_a_constant_cost_is_known_exactly() -> None:
    tokens = {Arm.INCUMBENT: 10, Arm.CANDIDATE: 41}
    runs = [record(f"t{i}", arm, 1.0, prompt_tokens=tokens[arm]) for arm in Arm for i in range(6)]
    extra = answer(runs, margin=0.1).extra_tokens
    assert extra is not None
    assert (extra.mean, extra.low, extra.high) == (31.0, 31.0, 31.0)


def test_repeats_of_a_task_count_as_one_task() -> None:
    once = {f"t{i}": [(0.0, float(i % 2))] for i in range(8)}
    many = {name: values * 50 for name, values in once.items()}
    one, more = paired_effect(once), paired_effect(many)
    assert one is not None
    assert more is not None
    assert (more.tasks, more.pairs, more.mean) == (8, 400, one.mean)
    assert more.high - more.low > 0.5 * (one.high - one.low)


def test_quantiles_of_t() -> None:
    assert t_quantile(0.975, 1) == pytest.approx(12.706205, rel=1e-6)
    assert t_quantile(0.975, 10) == pytest.approx(2.228139, rel=1e-6)
    assert t_quantile(0.025, 10) == pytest.approx(-2.228139, rel=1e-6)
    assert t_quantile(0.975, 40) == pytest.approx(2.021075, rel=1e-6)
    assert t_cdf(0.0, 7) == 0.5


def test_cannot_tell_says_how_many_tasks_are_missing_and_that_many_decide() -> None:
    values: list[float | None] = [float(i % 10 < 6) for i in range(20)]
    other: list[float | None] = [float(i % 10 < 7) for i in range(20)]
    found = answer(results(values, list(reversed(other))), margin=0.02)
    assert found.finding is Finding.CANNOT_TELL
    assert found.effect is not None
    assert found.more_tasks == tasks_needed(found.effect, 0.02, look_confidence(2))
    assert f"about {found.more_tasks} more tasks needed" in found.sentence()
    factor = (found.more_tasks + 20) // 20 + 1
    enough = answer(results(values * factor, list(reversed(other)) * factor), margin=0.02, look=2)
    assert enough.finding is not Finding.CANNOT_TELL


def test_no_difference_hurts_and_too_few_tasks() -> None:
    same: list[float | None] = [0.5] * 200
    assert answer(results(same, same), margin=0.1).finding is Finding.NO_DIFFERENCE
    assert answer(results([1.0] * 12, [0.0] * 12), margin=0.1).finding is Finding.HURTS
    few = answer(results([0.0] * 4, [1.0] * 4), margin=0.1)
    assert (few.finding, few.reasons) == (Finding.CANNOT_TELL, ("fewer than 5 tasks",))
    assert answer(results([0.0], [1.0]), margin=0.1).effect is None


def test_an_arm_that_loses_outcomes_gets_no_finding() -> None:
    found = answer(results([0.0] * 40, [1.0] * 30 + [None] * 10), margin=0.1)
    assert found.missing_p < 0.01
    assert found.finding is Finding.CANNOT_TELL
    assert "miss outcomes unequally" in found.reasons[0]


def test_the_answer_does_not_depend_on_the_order_of_runs() -> None:
    runs = results([0.0, 1.0, 0.0, 1.0, 0.5, 0.25], [1.0] * 6)
    assert answer(runs, margin=0.1) == answer(runs[::-1], margin=0.1)


def test_the_page_escapes_everything_and_shows_both_sides(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    runs = [
        record(evil, arm, 1.0, transcript=(Said(role="assistant", text=evil, calls=(f"call({evil})",)),), error=evil)
        for arm in Arm
    ]
    text = write_page(answer(runs, margin=0.1), runs, tmp_path / "p.html", a=evil, b=evil, title=evil).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 8


def test_task_files_name_every_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"id": 1, "input": "a"}\n[]\n{"id": "1", "input": "b"}\n{"id": 2}\n{"messages": [{}]}\n\nx')
    with pytest.raises(ConfigError) as error:
        read_tasks(path)
    assert [f"line {n}:" in str(error.value) for n in range(1, 8)] == [False, True, True, True, True, False, True]
    path.write_text('{"input": "a", "answer": [1]}\n{"id": 7, "messages": [{"role": "user", "content": "b"}]}\n')
    first, second = read_tasks(path)
    assert (first.text, dict(first.data), second.task_id) == ("a", {"answer": [1]}, "7")


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"concurrency": 0}, {"margin": 0.0}, {"tasks": tasks(1) * 2}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ReSkillError):
        plan(**wrong)
    for budget in ({"runs": 0}, {"money": 1.0}, {"price_prompt": -1.0}):
        with pytest.raises(ConfigError):
            Budget(**budget)  # type: ignore[arg-type]


def test_the_command_runs_and_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ab_agent_for_test.py").write_text(
        "from langgraph.graph import START, MessagesState, StateGraph\n"
        "def say(state):\n"
        "    told = any('Say seven' in m.text for m in state['messages'])\n"
        "    return {'messages': [('ai', 'seven' if told else 'six')]}\n"
        "builder = StateGraph(MessagesState)\n"
        "builder.add_node('say', say)\n"
        "builder.add_edge(START, 'say')\n"
        "graph = builder.compile()\n"
        "def reward(run): return run.messages[-1].text == run.task.data['answer']\n"
    )
    lines = [json.dumps({"id": i, "input": f"q{i}", "answer": "seven"}) for i in range(8)]
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines))
    export_pack(HINT, tmp_path / "hint")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    common = "ab --agent ab_agent_for_test:graph --reward ab_agent_for_test:reward --tasks tasks.jsonl --b hint".split()
    result = CliRunner().invoke(app, common)
    assert result.exit_code == 0, result.exception
    assert "B helps: effect +1.000" in result.output
    assert (tmp_path / "ab-runs" / "ab.html").is_file()
    as_json = json.loads(CliRunner().invoke(app, [*common, "--json"]).output)
    assert (as_json["finding"], as_json["look"]) == ("helps", 1)
    wrong = CliRunner().invoke(app, ["ab", "--agent", "nowhere:graph", *common[3:]])
    assert isinstance(wrong.exception, ConfigError)


@pytest.mark.slow
def test_a_planted_skill_is_found_a_placebo_is_not_and_intervals_hold_the_truth() -> None:
    path = Path(__file__).resolve().parent / "benchmarks" / "ab_coverage.py"
    spec = importlib.util.spec_from_file_location("ab_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["ab_coverage"] = benchmark
    spec.loader.exec_module(benchmark)
    result = benchmark.run_example(20, tasks=80)
    assert result.found >= 18
    assert result.held >= 18
    assert result.placebo_held >= 18
    assert result.placebo_helps <= 2
