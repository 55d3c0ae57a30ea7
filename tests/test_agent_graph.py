from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.types import Command
from toy import WORDS, ButtonRoom, byte_tokenizer, word_tokenizer

from reskill_agents.action_format import ActionFormat
from reskill_agents.engine import GenerateRequest
from reskill_agents.engines.fake import FakeEngine
from reskill_agents.environment import Observation, StepResult, Task
from reskill_agents.episodes import Episode, StopReason, Suppression
from reskill_agents.errors import ConfigError, EngineError, EngineMismatch
from reskill_agents.graphs.agent import Agent, AgentConfig, AgentState, Overflow, build_agent_graph
from reskill_agents.graphs.chat_model import PolicyChatModel
from reskill_agents.graphs.chat_templates import ChatTokenizer
from reskill_agents.graphs.play import Play
from reskill_agents.graphs.recorder import CallRecorder, record_calls
from reskill_agents.graphs.rollout import Rollout, play_episode, play_many
from reskill_agents.library import SkillLibrary
from reskill_agents.skill import Skill
from reskill_agents.trials import Arm
from reskill_agents.trigger import Repeat, Trigger, TriggerKind

CHAT = ChatTokenizer(word_tokenizer())
RED = Task("t-red", "red")
CLOSED = Trigger(TriggerKind.OBSERVATION_PATTERN, "closed", Repeat.EVERY_FIRING)
LIBRARY = SkillLibrary(
    (
        Skill("be-quick", "d", "press red first"),
        Skill("closed", "d", "press green then", CLOSED),
        Skill("start-here", "d", "press blue", Trigger(TriggerKind.BEGINNING)),
        Skill("after-blue", "d", "never press blue twice", Trigger(TriggerKind.ACTION_PATTERN, r"press\[blue\]")),
    )
)


def agent(*answers: str, chat: ChatTokenizer = CHAT, **config: object) -> Agent:
    """An agent whose policy gives these answers in turn, over and over in every session."""

    def script(asked: GenerateRequest) -> Sequence[int]:
        turn = asked.rng_key[-1] if asked.rng_key else 0
        return (*chat.encode(answers[turn % len(answers)]), chat.end_id)

    engine = FakeEngine(len(chat.tokenizer), script)
    settings = AgentConfig(**{"action_format": ActionFormat.NUMBERED, "max_turns": 6, **config})  # type: ignore[arg-type]
    library = LIBRARY if settings.static_nodes else None
    return Agent(PolicyChatModel(engine=engine, tokenizer=chat), settings, "you press buttons", library)


async def play(player: Agent, library: SkillLibrary = LIBRARY, **settings: object) -> Episode:
    options = {"episode_id": "e", "rng_key": (0,), **settings}
    return await play_episode(player, ButtonRoom(), RED, player.selector(library), **options)  # type: ignore[arg-type]


def transcript(episode: Episode, chat: ChatTokenizer = CHAT) -> str:
    call = episode.turns[-1].call
    assert call is not None
    return chat.tokenizer.decode(call.prompt_ids + call.sampled_ids)


def shown(episode: Episode) -> list[list[str]]:
    return [[f.skill for f in turn.firings if f.suppressed is None] for turn in episode.turns]


async def test_plays_to_the_end_and_keeps_everything() -> None:
    player = agent("3", "2", "1")
    episode = await play(player, arm=Arm.CANDIDATE, step=4)
    assert episode.actions == ("press[blue]", "press[green]", "press[red]")
    assert (episode.score, episode.stop, episode.success) == (1.0, StopReason.DONE, True)
    assert (episode.arm, episode.step, episode.task_shown) == (Arm.CANDIDATE, 4, "red")
    assert episode.library_digest == LIBRARY.digest
    assert episode.final_observation == "room door open"
    assert [turn.observation for turn in episode.turns] == ["room start task : red", *["room door closed"] * 2]
    assert episode.turns[0].chosen is not None
    assert shown(episode) == [["be-quick", "start-here"], ["closed", "after-blue"], ["closed"]]


async def test_skill_text_goes_where_templates_take_it() -> None:
    text = transcript(await play(agent("3", "1"))).replace(" ", "")
    assert text.count("system\n") == 1
    system, first, _, second, *_ = text.split("<|im_end|>")
    assert system.endswith(
        "answerwiththenumberofonechoice\n"
        '<skillname="be-quick">\npressredfirst\n</skill>\n<skillname="start-here">\npressblue\n</skill>'
    )
    assert "skill" not in first
    assert second.endswith(
        "roomdoorclosed\nsamechoices\n"
        '<skillname="closed">\npressgreenthen\n</skill>\n'
        '<skillname="after-blue">\nneverpressbluetwice\n</skill>'
    )


async def test_consecutive_prompts_are_prefixes_and_every_token_is_sampled_once() -> None:
    episode = await play(agent("3", "2", "1"))
    calls = [turn.call for turn in episode.turns if turn.call]
    for earlier, later in pairwise(calls):
        known = earlier.prompt_ids + earlier.sampled_ids
        assert later.prompt_ids[: len(known)] == known
    assert sum(len(call.sampled_ids) for call in calls) == 6  # three numbers and their ends


async def test_skill_tokens_are_counted_a_turn() -> None:
    player = agent("3", "2", "1")
    costs = player.selector(LIBRARY).costs
    episode = await play(player)
    assert [turn.call.skill_tokens for turn in episode.turns if turn.call] == [
        costs["be-quick"] + costs["start-here"],
        costs["closed"] + costs["after-blue"],
        costs["closed"],
    ]
    assert costs["be-quick"] == CHAT.count('<skill name="be-quick">\npress red first\n</skill>')


async def test_an_empty_library_leaves_no_trace() -> None:
    episode = await play(agent("1"), SkillLibrary())
    assert "skill" not in transcript(episode)
    assert episode.fired == frozenset()


async def test_fused_and_separate_nodes_give_equal_transcripts_and_events() -> None:
    episodes, events = [], []
    for config in ({"fused": True}, {"fused": False}, {"fused": False, "static_nodes": True}):
        player = agent("3", "9", "2", "1", **config)
        episodes.append(await play(player))
        with record_calls("e", rng_key=(0,)) as recorder:
            context = Play(ButtonRoom(), RED, player.selector(LIBRARY), recorder, system_prompt=player.system_prompt)
            events.append([event async for event in player.graph.astream({}, context=context, stream_mode="custom")])
    assert episodes[0] == episodes[1] == episodes[2]
    assert events[0] == events[1] == events[2]
    assert events[0][0] == {
        "event": "skill",
        "skill": "be-quick",
        "digest": LIBRARY.by_name["be-quick"].digest,
        "turn": 0,
    }


@pytest.mark.parametrize("fused", [True, False])
async def test_a_skill_is_visible_by_name_in_update_run_name_and_tags(fused: bool) -> None:
    player = agent("3", "1", fused=fused)
    runs, updates = {}, []
    with record_calls("e", rng_key=(0,)) as recorder:
        context = Play(ButtonRoom(), RED, player.selector(LIBRARY), recorder, system_prompt=player.system_prompt)
        async for event in player.graph.astream_events({}, context=context, version="v2"):
            if event["event"] == "on_chain_start" and event["name"].startswith("skill:"):
                runs[event["name"]] = event["tags"]
            if event["event"] == "on_chain_stream" and event["name"] in ("observe", "act", "skill"):
                update = event["data"]["chunk"]
                updates.append(update.update if isinstance(update, Command) else update)
    assert list(runs) == ["skill:be-quick", "skill:start-here", "skill:closed", "skill:after-blue"]
    assert {"skill", "skill:closed", LIBRARY.by_name["closed"].digest} <= set(runs["skill:closed"])
    assert LIBRARY.by_name["closed"].digest in str(updates)


async def test_static_nodes_have_the_names_of_the_skills() -> None:
    player = agent("1", fused=False, static_nodes=True)
    assert {f"skill-{skill.name}" for skill in LIBRARY} <= set(player.graph.get_graph().nodes)


async def test_the_model_is_streamed_and_recorded_when_somebody_listens() -> None:
    player = agent("3", "1")
    with record_calls("e", rng_key=(0,)) as recorder:
        context = Play(ButtonRoom(), RED, player.selector(LIBRARY), recorder, system_prompt=player.system_prompt)
        seen = [chunk async for chunk, _ in player.graph.astream({}, context=context, stream_mode="messages")]
    assert [message.content for message in seen if message.type == "AIMessageChunk" and message.content] == ["3", "1"]
    assert [turn.call.sampled_ids for turn in context.turns if turn.call] == [
        turn.call.sampled_ids for turn in (await play(player)).turns if turn.call
    ]


async def test_the_state_holds_the_conversation() -> None:
    player = agent("3", "1")
    with record_calls("e", rng_key=(0,)) as recorder:
        context = Play(ButtonRoom(), RED, player.selector(LIBRARY), recorder, system_prompt=player.system_prompt)
        state: AgentState = await player.graph.ainvoke({}, context=context)  # type: ignore[assignment]
    kinds = [type(message).__name__ for message in state["messages"]]
    assert kinds == ["SystemMessage", "HumanMessage", "AIMessage", "HumanMessage", "AIMessage"]
    assert [skill["name"] for skill in state["skills"]] == ["be-quick", "start-here", "closed", "after-blue"]


async def test_an_answer_without_an_action_is_an_invalid_turn_and_the_agent_is_told() -> None:
    episode = await play(agent("press", "9", "1"), SkillLibrary())
    assert [(turn.action, turn.valid) for turn in episode.turns] == [("", False), ("", False), ("press[red]", True)]
    text = transcript(episode).replace(" ", "")
    assert "invalidaction:theanswerholdsnonumber\nroomstarttask:red\nsamechoices" in text
    assert "invalidaction:9isnotoneofthe3choices" in text
    assert episode.turns[0].response == "press"


async def test_an_action_the_environment_does_not_take_is_told_too() -> None:
    chat = ChatTokenizer(byte_tokenizer("gemma"))
    answers = ["I try <action>press[lamp]</action>", "<action> press[red] </action>"]
    engine = FakeEngine(len(chat.tokenizer), lambda asked: (*chat.encode(answers[asked.rng_key[-1]]), chat.end_id))
    player = Agent(PolicyChatModel(engine=engine, tokenizer=chat), AgentConfig())
    episode = await play(player, SkillLibrary())
    assert [(turn.action, turn.valid) for turn in episode.turns] == [("press[lamp]", False), ("press[red]", True)]
    assert episode.turns[0].response == answers[0]
    assert "user\ninvalid action\nroom door closed" in transcript(episode, chat)


async def test_the_turn_limit_scores_as_it_stands() -> None:
    episode = await play(agent("2", max_turns=3))
    assert (len(episode.turns), episode.stop, episode.score) == (3, StopReason.TURN_LIMIT, 0.25)


async def test_the_context_limit_scores_as_it_stands() -> None:
    episode = await play(agent("2", max_turns=50, max_context=200, max_tokens=4))
    assert (episode.stop, episode.score) == (StopReason.CONTEXT_LIMIT, 0.25)
    assert 1 < len(episode.turns) < 50
    assert max(len(turn.call.prompt_ids) for turn in episode.turns if turn.call) <= 196


async def test_a_full_context_can_go_on_without_the_older_observations() -> None:
    words = [*WORDS, "(", "left", "out", ")"]
    player = agent("2", chat=ChatTokenizer(word_tokenizer(words)), max_turns=12, max_context=300, max_tokens=4,
                   on_overflow=Overflow.FORK)  # fmt: skip
    events = []
    with record_calls("e", rng_key=(0,)) as recorder:
        context = Play(ButtonRoom(), RED, player.selector(LIBRARY), recorder, system_prompt="you press buttons")
        async for event in player.graph.astream({}, {"recursion_limit": 99}, context=context, stream_mode="custom"):
            events.append(event)
    assert (context.stop, len(context.turns)) == (StopReason.TURN_LIMIT, 12)
    rows = 1 + sum(
        later.prompt_ids[: len(earlier.prompt_ids)] != earlier.prompt_ids for earlier, later in pairwise(recorder.calls)
    )
    assert rows == 1 + recorder.forks > 2
    last = player.model.tokenizer.tokenizer.decode(recorder.calls[-1].prompt_ids)
    assert "room start task : red" in last  # the first observation carries the task
    assert "( left out )" in last
    assert last.count("< skill") >= 2  # the active skills are in what is left
    assert [event["turn"] for event in events if event["skill"] == "be-quick"] == [0]
    assert max(len(call.prompt_ids) for call in recorder.calls) <= 296


@dataclass
class Broken(ButtonRoom):
    """Crashes on reset, or on a step."""

    on_reset: bool = False

    def reset(self, task: Task, *, seed: int) -> Observation:
        if self.on_reset:
            raise RuntimeError("no game today")
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        if self.presses == 1:
            raise OSError("connection lost")
        return super().step(action)


async def test_a_crash_of_the_environment_is_a_fault_with_what_was_played() -> None:
    player = agent("2")
    selector = player.selector(LIBRARY)
    episode = await play_episode(player, Broken(), RED, selector, episode_id="e", rng_key=(0,))
    assert (episode.score, episode.stop, len(episode.turns)) == (None, StopReason.FAULT, 1)
    assert episode.error == "EnvironmentFault: step 'press[green]' of task t-red: OSError('connection lost')"
    reset = await play_episode(player, Broken(on_reset=True), RED, selector, episode_id="e", rng_key=(0,))
    assert reset.error == "EnvironmentFault: reset of task t-red: RuntimeError('no game today')"
    assert player.model.engine.sessions == set()  # type: ignore[attr-defined]


async def test_a_failing_engine_is_a_fault_but_a_mismatch_stops_everything() -> None:
    def fail(error: Exception) -> Agent:
        def script(asked: GenerateRequest) -> Sequence[int]:
            raise error

        return Agent(PolicyChatModel(engine=FakeEngine(99, script), tokenizer=CHAT), AgentConfig())

    episode = await play(fail(EngineError("server down")))
    assert (episode.score, episode.stop, episode.error) == (None, StopReason.FAULT, "EngineError: server down")
    with pytest.raises(EngineMismatch):
        await play(fail(EngineMismatch("other weights")))


async def test_suppressed_firings_are_recorded_and_budgets_hold() -> None:
    episode = await play(agent("2", max_turns=3, max_skill_tokens_turn=20))
    reasons = [(f.skill, f.suppressed) for f in episode.turns[0].firings]
    assert reasons == [("be-quick", None), ("start-here", Suppression.BUDGET)]


async def test_results_are_in_the_order_of_the_rollouts_and_episodes_do_not_mix() -> None:
    player = agent("3", "2", "1")
    selectors = [player.selector(LIBRARY), player.selector(SkillLibrary())]
    rollouts = [
        Rollout(ButtonRoom(), Task(f"t{n}", color), selectors[n % 2], f"e{n}", rng_key=(0, n))
        for n, color in enumerate(["red", "green", "blue"] * 10)
    ]
    episodes = await play_many(player, rollouts)
    assert [episode.episode_id for episode in episodes] == [f"e{n}" for n in range(30)]
    assert [len(episode.turns) for episode in episodes] == [3, 2, 1] * 10
    assert await play_many(player, rollouts, concurrency=4) == episodes


async def test_a_model_in_training_can_be_told_apart_by_its_session() -> None:
    player = agent("1")
    await play(player, episode_id="one")
    await play(player, episode_id="two")
    assert [request.session for request in player.model.engine.requests] == ["one", "two"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_turns": 0}, "max_turns must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"static_nodes": True}, "static_nodes needs fused=False"),
    ],
)
def test_wrong_settings_say_what_is_right(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AgentConfig(**settings)  # type: ignore[arg-type]


def test_static_nodes_need_a_library() -> None:
    player = agent("1")
    with pytest.raises(ConfigError, match="needs the library"):
        build_agent_graph(player.model, AgentConfig(fused=False, static_nodes=True))


def test_messages_of_the_first_turn() -> None:
    player = agent("1")
    play = Play(ButtonRoom(), RED, player.selector(LIBRARY), CallRecorder("e"), system_prompt="hello")
    play.reset()
    messages = play.compose(0, play.select(0), ActionFormat.NUMBERED)
    assert [type(message) for message in messages] == [SystemMessage, HumanMessage]
