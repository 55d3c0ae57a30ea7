"""``reskill_agents.train``: one door for graphs and worlds, with a store of a live app behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from live_stores import sqlite_store
from tiny_policy import tiny_policy
from toy_world import ToyWorld
from trainer_runs import Watcher, skill, small_config
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig
from trl_settings import NO_CHECKPOINTING

from reskill_agents import SkillLibrary, train
from reskill_agents.engines.transformers import TransformersEngine
from reskill_agents.environment import Split, Task
from reskill_agents.errors import ConfigError
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.live_records import ActivationKind
from reskill_agents.store import LiveStore
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.graph_episode import GraphEpisode

TASKS = [Task(f"t{n}", "gate page", Split.TRAIN) for n in range(4)]
ADVICE = SkillLibrary((skill("advice"),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policy(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def policy(folder: Path) -> PolicyChatModel:
    tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(folder))
    return PolicyChatModel(engine=TransformersEngine(folder), tokenizer=tokenizer, max_tokens=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LiveStore]:
    with sqlite_store(tmp_path) as found:
        yield found


def config(**changes: object) -> RunConfig:
    settings: dict[str, object] = {"method": "grpo", "steps": 2, "rollout": {"groups": 2, "group_size": 4}}
    return RunConfig.build(**{**settings, **changes})


def answering(model: PolicyChatModel):  # type: ignore[no-untyped-def]
    async def answer(state: MessagesState) -> dict[str, object]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()


def odd(episode: GraphEpisode) -> float:
    return float(episode.answer in ("1", "3", "5"))


async def test_a_compiled_graph_is_trained_by_the_signature_of_the_readme(
    policy: PolicyChatModel, tmp_path: Path
) -> None:
    watcher = Watcher()
    result = await train(
        answering(policy), TASKS, odd, policy=policy, args=config(), callbacks=[watcher], run_dir=tmp_path / "run"
    )
    assert (result.steps, len(watcher.steps)) == (2, 2)
    assert sum(step.rows for step in watcher.steps) > 0
    assert AutoModelForCausalLM.from_pretrained(result.policy).config.model_type == "qwen3"


def test_a_world_is_trained_by_the_same_name(folder: Path, tmp_path: Path) -> None:
    work = train(ToyWorld(), small_config(method="grpo", steps=1), policy=folder, run_dir=tmp_path / "run")
    assert asyncio.run(work).steps == 1


async def test_a_run_without_a_folder_goes_where_its_settings_say(
    policy: PolicyChatModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = answering(policy)
    first, second = [await train(graph, TASKS, odd, policy=policy, args=config(steps=1)) for _ in range(2)]
    assert [run.run_dir for run in (first, second)] == [Path("runs/graph"), Path("runs/graph-2")]
    args = GRPOConfig(
        output_dir="elsewhere", use_cpu=True, bf16=False, max_steps=1, num_generations=4,
        per_device_train_batch_size=8, **NO_CHECKPOINTING,
    )  # fmt: skip
    assert (await train(graph, TASKS, odd, policy=policy, args=args)).run_dir == Path("elsewhere")


async def test_a_store_serves_what_training_ended_with_and_says_what_it_starts_with(
    policy: PolicyChatModel, store: LiveStore, tmp_path: Path
) -> None:
    seen: list[str] = []

    def graph_with(library: SkillLibrary):  # type: ignore[no-untyped-def]
        seen.append(library.digest)
        return answering(policy)

    await train(
        graph_with, TASKS, odd, policy=policy, args=config(), library=ADVICE, store=store, run_dir=tmp_path / "one"
    )
    [entry] = store.history()
    assert (entry.library, entry.kind) == (ADVICE.digest, ActivationKind.IMPORT)
    assert "2 steps, one" in entry.reason
    seen.clear()
    await train(graph_with, TASKS, odd, policy=policy, args=config(), store=store, run_dir=tmp_path / "two")
    assert ADVICE.digest in seen
    assert len(store.history()) == 1  # nothing changed, so nothing is entered


async def test_a_store_needs_a_graph_that_can_take_other_skills(
    policy: PolicyChatModel, store: LiveStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="skills built in"):
        await train(answering(policy), TASKS, odd, policy=policy, args=config(), store=store, run_dir=tmp_path / "run")
