"""Train the policy inside your own LangGraph: two tools and a sub-agent. ``python examples/train_your_graph.py [--quick]``

The policy is tiny, cloned from a clerk who can call tools but picks them at random. From the reward alone it learns which
question needs which tool, sub-agent included; the held-out questions are about things it was never rewarded for.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool

from reskill_agents import train
from reskill_agents.environment import Split, Task
from reskill_agents.trainers.config import RunConfig
from reskill_agents.trainers.tool_caller import CallGrammar, clone_tool_caller, load_tool_caller

KINDS, THINGS = ("price", "stock", "shelf"), [f"thing{n}" for n in range(24)]
FACTS = {f"{kind} {thing}": f"v{(n + 8 * k) % 24}" for k, kind in enumerate(KINDS) for n, thing in enumerate(THINGS)}
GRAMMAR = CallGrammar(["clerk", "unknown", *KINDS, *THINGS, *sorted(set(FACTS.values()))], [*KINDS, "warehouse"])


def lookup(kind):
    return tool(kind, description=kind)(lambda item: FACTS.get(f"{kind} {item}", "unknown"))


def graph_over(model):
    keeper = create_agent(model, [lookup("shelf"), lookup("stock")])

    async def ask_keeper(item: str) -> str:
        return (await keeper.ainvoke({"messages": [{"role": "user", "content": f"shelf {item}"}]}))["messages"][-1].text

    warehouse = tool("warehouse", description="Ask the keeper where something is.")(ask_keeper)
    return create_agent(model, [lookup("price"), lookup("stock"), warehouse], system_prompt="clerk")


def careless(prompt, rng):
    tools = ["price", "stock", "warehouse"] if "clerk" in prompt else ["shelf", "stock"]
    return prompt[-2] if prompt[-3] == "<|tool|>" else GRAMMAR.call(rng.choice(tools), prompt[-2])


async def main(seed, folder, *, steps=25, demos=300):
    amount = {"demos": demos, "steps": demos, "seed": seed}
    start = await clone_tool_caller(folder / "start", GRAMMAR, graph_over, [*FACTS], careless, **amount)
    tasks = [Task(q, q, Split.VALID if q[-1] in "05" else Split.TRAIN, {"answer": a}) for q, a in FACTS.items()]
    settings = {"rollout": {"groups": 8, "group_size": 8}, "update": {"lr": 1e-3}, "evaluation": {"episodes": 4}}
    args, policy = RunConfig.build(method="grpo", steps=steps, seed=seed, **settings), load_tool_caller(start)
    graph, right = graph_over(policy), lambda episode: float(episode.answer == episode.task.tags["answer"])
    result = await train(graph, tasks, right, policy=policy, run_dir=folder / "run", args=args)
    before, after = (evaluation.total.success for evaluation in result.evaluations)
    print(f"seed {seed}: held-out reward {before:.2f} before, {after:.2f} after {steps} steps", flush=True)


if __name__ == "__main__":
    quick = {"steps": 2, "demos": 40} if "--quick" in sys.argv else {}
    for number in range(1 if quick else 3):
        with tempfile.TemporaryDirectory() as temporary:
            asyncio.run(main(number, Path(temporary), **quick))
