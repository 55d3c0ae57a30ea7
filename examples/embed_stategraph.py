"""A hand-written ``StateGraph`` with a state of its own, whose skills come when they are needed and evolve from outcomes.

    python examples/embed_stategraph.py                        offline, with a scripted chat model
    python examples/embed_stategraph.py openai:gpt-5-mini      the same with a real one (init_chat_model names)

Delete the lines marked ``# +``, bring back the two marked ``# -``, and the app runs as it did before: twelve lines are all
that embedding takes.
"""

from __future__ import annotations

import operator
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph, add_messages
from scripted_chat import ScriptedChat
from typing_extensions import TypedDict  # langgraph states are of this kind before Python 3.12

from reskill_agents.graphs import LiveSkills, SkillChannel, SkillEvolver, skill_node, with_skills  # +
from reskill_agents.packs import import_pack  # +
from reskill_agents.store import LiveStore  # +

HERE = Path(__file__).parent
STORE = LiveStore.open(Path(tempfile.mkdtemp()) / "skills.db")  # + (or a postgresql:// address)
STORE.activate(import_pack(HERE / "shop_skills"), by="shop")  # + (to start from)

TICKETS = {"parcel-1": "My parcel has status: delayed.", "wool-1": "How do I wash wool?"}


# - class Desk(TypedDict):
class Desk(SkillChannel, TypedDict):  # +
    """The state: the conversation, and which desks it went to."""

    talk: Annotated[list[AnyMessage], add_messages]
    desks: Annotated[list[str], operator.add]


def prompt(state: Desk) -> list[BaseMessage]:
    """What the model is sent."""
    return [SystemMessage("You answer tickets."), *state["talk"]]


def scripted(messages: Sequence[BaseMessage]) -> AIMessage:
    """A clerk who does what the text in front of it says, and no more."""
    refunds = "refund_shipping" in str(messages[-1].content)
    return AIMessage("Sorry! Your shipping is refunded." if refunds else "Thank you for your message.")


def build(model: BaseChatModel) -> Any:
    """The app: sort the ticket, then answer it."""

    def sort(state: Desk) -> dict[str, Any]:
        return {"desks": ["orders" if "parcel" in str(state["talk"][-1].content) else "care"]}

    def answer(state: Desk) -> dict[str, Any]:
        messages = prompt(state)
        messages = with_skills(state, messages=prompt)  # +
        return {"talk": [model.invoke(messages)]}

    graph = StateGraph(Desk)
    graph.add_node("sort", sort)
    graph.add_node("answer", answer)
    graph.add_edge(START, "sort")
    # - graph.add_edge("sort", "answer")
    graph.add_node("advise", skill_node(LiveSkills(STORE), messages="talk"))  # +
    graph.add_edge("sort", "advise")  # +
    graph.add_edge("advise", "answer")  # +
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=InMemorySaver())


def main(model_name: str = "") -> None:
    """Answer two tickets, and show what entered the prompt."""
    app = build(init_chat_model(model_name) if model_name else ScriptedChat(rule=scripted))
    SkillEvolver(STORE).start()  # + (or `reskill evolve` from cron)
    for ticket, text in TICKETS.items():
        inputs, config = {"talk": [("user", text)]}, {"configurable": {"thread_id": ticket}}
        print(f"user   {text}")
        messages: list[BaseMessage] = []
        for mode, chunk in app.stream(inputs, config, stream_mode=["custom", "values"]):
            if mode == "custom":
                print(f"skill  {chunk['skill']}")
            else:
                messages = chunk["talk"]
        happy = "delayed" not in text or "refunded" in messages[-1].text
        STORE.record_outcome(ticket, success=happy)  # + (now or days later)
        print(f"agent  {messages[-1].text}\nhappy  {happy}\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
