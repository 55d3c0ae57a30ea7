"""``--creator langchain:SPEC``: any chat model that ``init_chat_model`` knows writes skills."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from creator_episodes import careless
from creator_models import RECORD, node_of
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field
from typer.testing import CliRunner

from reskill_agents.cli import app
from reskill_agents.creator_model import ModelRequest
from reskill_agents.episode_logs import episode_to_json
from reskill_agents.errors import ConfigError, CreatorError
from reskill_agents.graphs.creator_author import ModelAuthor, author_from_spec


class RecordedChat(BaseChatModel):
    """Answers each node from the record; ``loops`` are the event loops it was called in."""

    model_name: str = "recorded-1"
    asked: list[str] = Field(default_factory=list)
    loops: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        node = node_of({"prompt": str(messages[-1].content).rpartition("schema:")[2]})
        self.asked.append(node)
        usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        message = AIMessage(json.dumps(RECORD[node]), usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.loops.append(id(asyncio.get_running_loop()))
        return self._generate(messages)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> RecordedChat:
    """What ``init_chat_model("acme:recorded-1")`` gives."""
    made = RecordedChat()

    def init(name: str) -> RecordedChat:
        assert name == "acme:recorded-1"
        return made

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init)
    return made


def test_a_chat_model_writes_skills_on_the_command_line(chat: RecordedChat, tmp_path: Path) -> None:
    log, out = tmp_path / "log.jsonl", tmp_path / "out"
    log.write_text("\n".join(json.dumps(episode_to_json(episode)) for episode in careless(240, seed=1)))
    command = ["create", "--log", str(log), "--out", str(out), "--creator", "langchain:acme:recorded-1"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "proposed: add closest-crate-first" in done.output
    assert (out / "library" / "closest-crate-first" / "SKILL.md").is_file()
    assert json.loads((out / "report.json").read_text())["author"] == "langchain:RecordedChat:recorded-1"
    assert {"analyse", "diagnose", "recommend", "author"} == set(chat.asked)
    lines = [json.loads(line) for line in (out / "transcript.jsonl").read_text().splitlines()]
    assert {line["input_tokens"] for line in lines} == {100}
    asked = len(chat.asked)
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert len(chat.asked) == asked  # every answer is in out/answers


def test_connections_of_a_chat_model_stay_in_one_event_loop(chat: RecordedChat) -> None:
    author = author_from_spec("langchain:acme:recorded-1")
    assert isinstance(author, ModelAuthor)
    request = ModelRequest("analyse", "system", "prompt", "AnalysisAnswer", {"title": "AnalysisAnswer"})
    for _ in range(2):  # two creations, each in a loop of its own
        asyncio.run(author.client.model.complete(request))
    assert len(chat.loops) == 2
    assert len(set(chat.loops)) == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("langchain:", "names no model"),
        ("langchain:nothing", "Unable to infer model provider"),
        ("langchain:fireworks:m", "langchain-fireworks"),
    ],
)
def test_a_wrong_spec_or_a_missing_provider_says_so(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        author_from_spec(spec)


def test_without_langchain_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(ConfigError, match=r"needs langchain: pip install 'reskill-agents\[embed\]'"):
        author_from_spec("langchain:acme:recorded-1")


async def test_errors_of_a_provider_are_creator_errors(chat: RecordedChat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, *args: object, **kwargs: object) -> ChatResult:
        raise KeyError("quota")

    monkeypatch.setattr(RecordedChat, "_agenerate", fail)
    author = author_from_spec("langchain:acme:recorded-1")
    assert isinstance(author, ModelAuthor)
    with pytest.raises(CreatorError, match="quota"):
        await author.client.model.complete(ModelRequest("n", "s", "p", "AnalysisAnswer", {}))
