"""Does a skill help? ``reskill ab`` on a scripted clerk, offline: a skill that helps, and a placebo.

    python examples/ab_offline.py                 # both comparisons, about five seconds
    python examples/ab_offline.py --folder demo   # keeps tasks, packs, runs and transcripts there

The same by hand, once ``--folder demo`` has written the files::

    reskill ab --agent examples.ab_offline:graph --reward examples.ab_offline:reward \\
        --tasks demo/tasks.jsonl --a none --b demo/helpful --out demo/again

A real model instead of the script: set RESKILL_MODEL to what ``langchain.chat_models.init_chat_model`` takes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from reskill_agents import Skill, SkillLibrary, Trigger, TriggerKind
from reskill_agents.ab import AbAnswer, AbPlan, FinishedRun, read_tasks, run_ab, write_page
from reskill_agents.ab.run_log import read_records
from reskill_agents.graphs.prompt_nodes import SkillState, skill_node, with_skills
from reskill_agents.packs import export_pack

TRUE_EFFECT = 0.3  # how much oftener the clerk is right when told to count the days
DAYS = 30

HELPFUL = SkillLibrary(
    (
        Skill(
            "count-the-days",
            "How to decide about a return.",
            "Count the days between purchase and request before you answer. Up to 30 days: yes.",
            Trigger(TriggerKind.OBSERVATION_PATTERN, "(?i)return"),
        ),
    )
)
PLACEBO = SkillLibrary(
    (Skill("be-polite", "How to greet.", "Be friendly to every customer.", Trigger(TriggerKind.BEGINNING)),)
)


class ScriptedClerk(BaseChatModel):
    """Answers yes or no. Right with a chance that depends on the question, 0.3 more when told to count the days."""

    seed: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted-clerk"

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None, *_: Any, **__: Any) -> ChatResult:
        prompt = "\n".join(str(message.text) for message in messages)
        question = next(str(message.text) for message in messages if message.type == "human")
        chance = 0.1 + 0.6 * _uniform(f"difficulty {question[:60]}") + TRUE_EFFECT * ("Count the days" in prompt)
        right = _uniform(f"{self.seed} {prompt}") < chance
        answer = "yes" if right == may_return(question) else "no"
        usage = {"input_tokens": len(prompt) // 4, "output_tokens": 1, "total_tokens": len(prompt) // 4 + 1}
        message = AIMessage(answer, usage_metadata=usage)  # type: ignore[arg-type]
        return ChatResult(generations=[ChatGeneration(message=message)])


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2.0**56


def may_return(question: str) -> bool:
    """The shop's rule."""
    bought, asked = (int(day) for day in re.findall(r"day (\d+)", question)[:2])
    return asked - bought <= DAYS


def make_model(seed: int) -> BaseChatModel:
    """The script, or the model that RESKILL_MODEL names."""
    name = os.environ.get("RESKILL_MODEL")
    if not name:
        return ScriptedClerk(seed=seed)
    from langchain.chat_models import init_chat_model

    return init_chat_model(name, temperature=1.0)


def graph(library: SkillLibrary) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The agent with ``library``: what ``--agent`` names. A comparison calls it once for each arm."""

    def answer(state: SkillState, config: RunnableConfig) -> dict[str, list[BaseMessage]]:
        model = make_model(int(config.get("configurable", {}).get("seed", 0)))
        return {"messages": [model.invoke(with_skills(state))]}

    builder = StateGraph(SkillState)
    builder.add_node("skills", skill_node(library))  # pyright: ignore[reportArgumentType]
    builder.add_node("answer", answer)
    builder.add_edge(START, "skills")
    builder.add_edge("skills", "answer")
    builder.add_edge("answer", END)
    return builder.compile()


def reward(run: FinishedRun) -> bool:
    """1 for the right answer: what ``--reward`` names."""
    return str(run.messages[-1].text).strip().lower().startswith(str(run.task.data["answer"]))


def task_lines(count: int, seed: int) -> Iterator[str]:
    """Tasks as lines of a tasks file."""
    rng = random.Random(seed)
    for number in range(count):
        bought = rng.randrange(1, 200)
        asked = bought + rng.randrange(1, 2 * DAYS + 1)
        text = f"Bought on day {bought}, return asked for on day {asked} (order {seed}-{number}). Yes or no?"
        yield json.dumps({"id": f"order-{number}", "input": text, "answer": "yes" if may_return(text) else "no"})


def compare(folder: Path, library: SkillLibrary, name: str, *, count: int = 150, seed: int = 0) -> AbAnswer:
    """``library`` against none on ``count`` tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = folder / "tasks.jsonl"
    tasks.write_text("\n".join(task_lines(count, seed)) + "\n", "utf-8")
    plan = AbPlan(graph, read_tasks(tasks), SkillLibrary(), library, reward, seed=seed, margin=0.2, label="ab_offline")
    answer = asyncio.run(run_ab(plan, folder / f"runs-{name}"))
    write_page(answer, list(read_records(folder / f"runs-{name}")), folder / f"{name}.html", a="no skills", b=name)
    return answer


def main() -> None:
    """Compare both packs with no skills at all."""
    parser = argparse.ArgumentParser(description="Does a skill help? Two comparisons, offline.")
    parser.add_argument("--folder", type=Path, help="keep tasks, packs, runs and transcripts here")
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name, library in (("helpful", HELPFUL), ("placebo", PLACEBO)):
            export_pack(library, folder / name)
            answer = compare(folder, library, name, count=arguments.tasks, seed=arguments.seed)
            print(f"{name}: {answer.sentence()}")
            if answer.extra_tokens:
                print(f"  costs {answer.extra_tokens.mean:+.0f} tokens a run")


if __name__ == "__main__":
    main()
