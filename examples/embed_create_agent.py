"""A shop's support agent made with ``create_agent``, whose skills come when they are needed and evolve from outcomes.

    python examples/embed_create_agent.py                        offline, with a scripted chat model
    python examples/embed_create_agent.py openai:gpt-5-mini      the same with a real one (init_chat_model names)

Delete the lines marked ``# +`` and the app runs as it did before: they are all that embedding takes (eight).
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from scripted_chat import ScriptedChat, tool_call

from reskill_agents.graphs import LiveSkills, ReSkillMiddleware, SkillEvolver  # +
from reskill_agents.packs import import_pack  # +
from reskill_agents.store import LiveStore  # +

HERE = Path(__file__).parent
STORE = LiveStore.open(Path(tempfile.mkdtemp()) / "skills.db")  # + (or a postgresql:// address)
STORE.activate(import_pack(HERE / "shop_skills"), by="shop")  # + (to start from)

ORDERS = {"17": "status: delayed", "18": "status: delivered"}
REQUESTS = {"customer-1": "Where is order 17?", "customer-2": "Where is order 18?"}


@tool
def order_status(order: str) -> str:
    """Look an order up."""
    return ORDERS.get(order, "no such order")


@tool
def refund_shipping(order: str) -> str:
    """Refund what shipping cost."""
    return f"shipping of order {order} refunded"


def scripted(messages: Sequence[BaseMessage]) -> AIMessage:
    """A clerk who does what the text in front of it says, and no more."""
    last = messages[-1]
    made = sum(len(message.tool_calls) for message in messages if isinstance(message, AIMessage))
    order = re.findall(r"\d+", next(str(m.content) for m in reversed(messages) if m.type == "human"))[0]
    if not isinstance(last, ToolMessage):
        return tool_call("order_status", made, order=order)
    if "call refund_shipping" in str(last.content):
        return tool_call("refund_shipping", made, order=order)
    return AIMessage(f"Order {order}: {str(last.content).splitlines()[0]}.")


def build(model: BaseChatModel) -> Any:
    """The app."""
    return create_agent(
        model,
        tools=[order_status, refund_shipping],
        system_prompt="You are a friendly clerk of a small shop.",
        checkpointer=InMemorySaver(),
        middleware=[ReSkillMiddleware(LiveSkills(STORE))],  # +
    )


def main(model_name: str = "") -> None:
    """Serve two customers, and show what entered the prompt."""
    app = build(init_chat_model(model_name) if model_name else ScriptedChat(rule=scripted))
    SkillEvolver(STORE).start()  # + (or `reskill evolve` from cron)
    for customer, request in REQUESTS.items():
        inputs, config = {"messages": [("user", request)]}, {"configurable": {"thread_id": customer}}
        print(f"user   {request}")
        messages: list[BaseMessage] = []
        for mode, chunk in app.stream(inputs, config, stream_mode=["custom", "values"]):
            if mode == "custom":
                print(f"skill  {chunk['skill']}")
            else:
                messages = chunk["messages"]
        tools = [message.name for message in messages if isinstance(message, ToolMessage)]
        happy = "delayed" not in str(messages) or "refund_shipping" in tools
        STORE.record_outcome(customer, success=happy)  # + (now or days later)
        print(f"tools  {', '.join(map(str, tools))}\nagent  {messages[-1].text}\nhappy  {happy}\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
