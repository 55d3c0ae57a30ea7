"""Training the policy of any LangGraph."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from trainer_runs import PreparedAuthor, Watcher
from transformers import AutoModelForCausalLM
from trl.trainer.grpo_config import GRPOConfig

from reskill_agents import train_graph, trl_reward
from reskill_agents.environment import Split, Task
from reskill_agents.episodes import ModelCall, StopReason, Turn
from reskill_agents.errors import ConfigError
from reskill_agents.library import SkillLibrary
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.graph_episode import GraphEpisode, reward_of
from reskill_agents.trainers.graph_rollout import GraphPlayer, GraphRun
from reskill_agents.trainers.graph_training import _served
from reskill_agents.trainers.rows import rows_of, sampled_tokens
from reskill_agents.trainers.tool_caller import CallGrammar, clone_tool_caller, load_tool_caller
from reskill_agents.trainers.trl_config import config_from_trl
from reskill_agents.trainers.trl_trainer import activation_checkpointing

GRAMMAR = CallGrammar(["a", "b", "yes", "no"], ["ask"])
TASKS = [Task(x, x, split, {"answer": "yes"}) for x in "ab" for split in (Split.TRAIN, Split.VALID)]

EMPTY = SkillLibrary()


def asking(model, *, sync: bool = False):  # type: ignore[no-untyped-def]
    """An agent whose tool is another agent."""
    clerk = create_agent(model, [])

    @tool
    async def ask(item: str) -> str:
        """Ask."""
        return str((await clerk.ainvoke({"messages": [("user", item)]}))["messages"][-1].text)

    @tool("ask")
    def ask_sync(item: str) -> str:
        """Ask."""
        return str(clerk.invoke({"messages": [("user", item)]})["messages"][-1].text)

    return create_agent(model, [ask_sync if sync else ask], system_prompt="a")


def teacher(prompt: list[str], rng) -> str:  # type: ignore[no-untyped-def]
    if prompt[0] != "<|system|>":
        return str(rng.choice(["yes", "no"]))
    return prompt[-2] if prompt[-3] == "<|tool|>" else GRAMMAR.call("ask", prompt[-2])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import asyncio

    folder = tmp_path_factory.mktemp("start")
    return asyncio.run(clone_tool_caller(folder, GRAMMAR, asking, ["a", "b"], teacher, demos=30, steps=60))


def config(**changes: object) -> RunConfig:
    settings: dict[str, object] = {
        "method": "grpo",
        "steps": 2,
        "rollout": {"groups": 2, "group_size": 4},
        "update": {"lr": 1e-3},
        "checkpoint": {"every": 1},
    }
    return RunConfig.build(**{**settings, **changes})


def right(episode: GraphEpisode) -> float:
    return float(episode.answer == "yes")


async def test_a_graph_trains_through_its_sub_agent_and_leaves_a_checkpoint_transformers_loads(
    start: Path, tmp_path: Path
) -> None:
    policy = load_tool_caller(start)
    result = await train_graph(asking(policy), TASKS, right, policy=policy, run_dir=tmp_path / "run", args=config())
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(metrics) == 2
    assert max(one["logprob_gap"] for one in metrics) < 1e-4  # invariant 1
    assert [(one.policy, one.split) for one in result.evaluations] == [("before", "valid"), ("after", "valid")]
    trained = AutoModelForCausalLM.from_pretrained(result.policy)
    begun = AutoModelForCausalLM.from_pretrained(start)
    assert any((a != b).any() for a, b in zip(trained.parameters(), begun.parameters(), strict=True))
    more = await train_graph(
        asking(policy), TASKS, right, policy=policy, run_dir=tmp_path / "run", args=config(steps=3), resume=True
    )
    assert more.steps == 3
    assert [one.policy for one in more.evaluations][:2] == ["before", "after"]


async def test_synchronous_sub_agents_do_not_starve_each_other_of_threads(start: Path) -> None:
    policy = load_tool_caller(start)
    graph = asking(policy, sync=True)
    player = GraphPlayer(lambda _: graph, policy, right)
    runs = [GraphRun(TASKS[0], SkillLibrary(), f"e{n}", (0, n)) for n in range(40)]
    episodes = await player.play(runs)
    assert all(episode.stop is StopReason.DONE for episode in episodes)
    assert sum("tools[0]" in {one.place.branch for one in episode.trace} for episode in episodes) > 5
    for episode in episodes:
        assert sum(row.trained_tokens for row in rows_of(episode)) == sampled_tokens(episode) > 0


async def test_calls_of_other_models_are_kept_in_the_trace_and_not_trained(start: Path) -> None:
    policy = load_tool_caller(start)
    judge = GenericFakeChatModel(messages=iter([AIMessage("well done"), AIMessage("well done")]))

    async def answer(state: MessagesState) -> dict[str, list[BaseMessage]]:
        said = await policy.ainvoke(state["messages"])
        return {"messages": [said, await judge.ainvoke([said])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    graph = builder.compile()
    (episode,) = await GraphPlayer(lambda _: graph, policy, lambda _: 0.5).play([GraphRun(TASKS[0], EMPTY, "e", (0,))])
    own, foreign = episode.trace
    assert (own.frozen, foreign.frozen, foreign.call) == (False, True, None)
    assert (foreign.place.node, foreign.answer.content) == ("answer", "well done")
    assert [turn.call is None for turn in episode.turns] == [False, True]
    assert (episode.reward, episode.score, episode.answer) == (0.5, 0.5, "well done")


async def test_a_broken_tool_is_a_run_without_reward_and_a_graph_that_never_works_raises(start: Path) -> None:
    policy = load_tool_caller(start)

    class Graph:
        async def astream(self, input: object, config: object = None, *, stream_mode: object = None):  # type: ignore[no-untyped-def]
            yield {"messages": []}
            if "bad" in str(input):
                raise OSError("a tool broke")

    player = GraphPlayer(lambda _: Graph(), policy, lambda _: 1.0)
    good, bad = Task("g", "good"), Task("b", "bad")
    runs = [GraphRun(task, SkillLibrary(), task.task_id, ()) for task in (good, bad)]
    assert [(e.score, e.stop) for e in await player.play(runs)] == [(1.0, StopReason.DONE), (None, StopReason.FAULT)]
    with pytest.raises(OSError, match="a tool broke"):
        await player.play(runs[1:])


async def test_a_reward_that_breaks_is_a_run_without_one(start: Path) -> None:
    def judge(episode: GraphEpisode) -> float:
        if episode.task.task_id == "b":
            raise TimeoutError("the judge is busy")
        return 1.0

    policy = load_tool_caller(start)
    player = GraphPlayer(lambda _: asking(policy), policy, judge)
    runs = [GraphRun(task, SkillLibrary(), task.task_id, (0, n)) for n, task in enumerate(TASKS[::2])]
    assert [run.task.task_id for run in runs] == ["a", "b"]
    good, bad = await player.play(runs)
    assert (good.reward, bad.reward, bad.stop) == (1.0, None, StopReason.FAULT)
    assert bad.error == "reward: TimeoutError: the judge is busy"
    with pytest.raises(TimeoutError):
        await player.play(runs[1:])
    with pytest.raises(ConfigError, match="a number or None"):
        await GraphPlayer(lambda _: asking(policy), policy, lambda _: "good").play(runs)  # type: ignore[arg-type, return-value]


async def test_several_trl_rewards_are_weighed_and_get_the_loggers_that_they_name() -> None:
    def loud(completions, trainer_state, log_metric, **_):  # type: ignore[no-untyped-def]
        log_metric("length", len(completions))
        assert trainer_state is None
        return [0.5]

    episode = GraphEpisode("e", Task("t", "what?"), (), None)
    both = trl_reward([loud, lambda **_: [1.0], lambda **_: [None]], weights=[2.0, 0.25, 9.0])
    assert await reward_of(both, episode) == 1.25
    with pytest.raises(ConfigError, match="2 reward functions need as many weights, not 1"):
        trl_reward([loud, loud], weights=[1.0])


async def test_trl_reward_functions_see_prompts_completions_and_columns() -> None:
    def function(prompts, completions, completion_ids, answer, **_):  # type: ignore[no-untyped-def]
        assert prompts == [[{"role": "user", "content": "what?"}]]
        assert completion_ids == [[5, 6]]
        return [float(completions[0][0]["content"] == answer[0])]

    turn = Turn(0, "", "", call=ModelCall((1,), (5, 6), (-1.0, -1.0), 0, 1.0))
    episode = GraphEpisode("e", Task("t", "what?", tags={"answer": ""}), (turn,), None)
    assert await reward_of(trl_reward(function), episode) == 1.0
    assert await reward_of(trl_reward(lambda **_: [None]), episode) is None


def test_trl_settings_are_translated(tmp_path: Path) -> None:
    args = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, max_steps=7, num_generations=4, learning_rate=1e-4,
        per_device_train_batch_size=8, gradient_accumulation_steps=1, beta=0.1, loss_type="grpo",
        **activation_checkpointing(),
    )  # fmt: skip
    found = config_from_trl(args)
    assert (found.steps, found.rollout.groups, found.rollout.group_size) == (7, 2, 4)
    assert (found.update.lr, found.update.kl, found.update.loss.value) == (1e-4, 0.1, "grpo")


def test_trl_settings_without_a_counterpart_are_refused_and_the_others_mean_the_same(tmp_path: Path) -> None:
    def translated(**settings: object) -> RunConfig:
        base = {
            "use_cpu": True,
            "bf16": False,
            "max_steps": 100,
            "output_dir": str(tmp_path),
            **activation_checkpointing(),
        }
        return config_from_trl(GRPOConfig(**{**base, **settings}))  # type: ignore[arg-type]

    assert translated(warmup_steps=0.1).update.warmup_steps == 10
    assert translated(loss_type="cispo", epsilon_high=5.0).update.clip_high == 4.0
    assert translated(epsilon_high=0.28).update.clip_high == 0.28
    assert translated(importance_sampling_level="sequence").update.importance_level == "sequence"
    assert translated(**activation_checkpointing(True)).update.gradient_checkpointing
    for name, value in (("num_iterations", 2), ("top_p", 0.9), ("mask_truncated_completions", True)):
        with pytest.raises(ConfigError, match=f"args.{name} is {value}, which nothing here does"):
            translated(**{name: value})


def test_a_policy_on_a_served_engine_is_trained_as_such(start: Path) -> None:
    class Served:
        run_settings: ClassVar = {"engine": "vllm", "engine_url": "http://127.0.0.1:8000"}

    found = _served(config(), Served())  # type: ignore[arg-type]
    assert (found.engine.value, found.engine_url, found.corrected) == ("vllm", "http://127.0.0.1:8000", True)
    assert _served(config(), load_tool_caller(start).engine) == config()
    assert not config().corrected


async def test_settings_that_do_not_fit_are_refused(start: Path, tmp_path: Path) -> None:
    policy = load_tool_caller(start)
    graph = asking(policy)
    with pytest.raises(ConfigError, match="skills built in"):
        await train_graph(graph, TASKS, right, policy=policy, run_dir=tmp_path, args=config(method="reskill"))
    with pytest.raises(ConfigError, match="temperature"):
        await train_graph(
            graph, TASKS, right, policy=policy, run_dir=tmp_path, args=config(rollout={"temperature": 0.5})
        )


async def test_skills_are_tried_in_the_groups_of_a_graph_that_is_a_function_of_its_library(
    start: Path, tmp_path: Path
) -> None:
    policy, seen = load_tool_caller(start), set[str]()

    def graph_with(library: SkillLibrary):  # type: ignore[no-untyped-def]
        seen.add(library.digest)
        return asking(policy)

    watcher = Watcher()
    settings = config(
        method="reskill", steps=5, trial={"max_steps": 2}, creator={"warm_up": 4, "join_after": 1},
        rollout={"groups": 4, "group_size": 4},
    )  # fmt: skip
    await train_graph(
        graph_with, TASKS, right, policy=policy, run_dir=tmp_path / "run", args=settings, author=PreparedAuthor(),
        callbacks=[watcher],
    )  # fmt: skip
    assert len(seen) >= 2
    tried = [step for step in watcher.steps if "candidate" in step.arms]
    assert tried
    assert all(step.arms["candidate"].episodes >= 2 * 4 for step in tried)  # two members of each group at least
    assert watcher.proposals


def test_the_example_runs_and_is_short(repository: Path) -> None:
    example = repository / "examples" / "train_your_graph.py"
    assert len(example.read_text("utf-8").splitlines()) <= 60
    done = subprocess.run([sys.executable, example, "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"seed 0: held-out reward 0\.\d\d before, 0\.\d\d after 2 steps\n", done.stdout)
