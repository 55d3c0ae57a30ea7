"""One episode while it runs, and the pure steps of a turn: select skills, compose messages, take the action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from reskill_agents.action_format import ActionFormat, ParsedAction, parse_action
from reskill_agents.environment import Choice, Environment, Observation, StepResult, Task
from reskill_agents.episodes import Firing, ModelCall, StopReason, Turn
from reskill_agents.errors import EnvironmentFault
from reskill_agents.graphs.messages import invalid_note, observation_text, split_skills, system_text
from reskill_agents.graphs.recorder import CallRecorder
from reskill_agents.graphs.skill_nodes import FiredSkill
from reskill_agents.selection import SkillSelector, TurnContext

LEFT_OUT = "(left out)"
_FIRST_OBSERVATION = 1  # its place in the conversation: after the system message; an answer stands between any two


@dataclass
class Play:
    """An episode in the making: the context of the agent graph. What was played survives when the graph raises.

    Args:
        environment: this episode's own instance.
        task: what to play.
        selector: the compiled triggers of the library.
        recorder: the exact model calls so far; names the session.
        seed: of the environment.
        system_prompt: what the agent is told about the world.
    """

    environment: Environment
    task: Task
    selector: SkillSelector
    recorder: CallRecorder
    seed: int = 0
    system_prompt: str = ""
    turns: list[Turn] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)
    observation: Observation = field(default_factory=lambda: Observation(""))
    task_shown: str = ""
    previous_choices: tuple[Choice, ...] = ()
    note: str = ""
    last_action: str = ""
    score: float = 0.0
    stop: StopReason | None = None
    shown_from: int = 0  # observations of turns 1 up to this one are left out

    def reset(self) -> None:
        """Start the task.

        Raises:
            EnvironmentFault: whatever the environment raised.
        """
        try:
            self.observation = self.environment.reset(self.task, seed=self.seed)
        except Exception as error:
            raise _fault(error, f"reset of task {self.task.task_id}") from error
        self.task_shown = self.observation.task or self.task.text

    def select(self, turn: int) -> list[FiredSkill]:
        """The skills that enter the prompt of this turn, in library order; every match is noted in ``firings``."""
        context = TurnContext(turn, self.observation.text, self.last_action)
        in_context = [firing for firing in self.firings if firing.turn == 0 or firing.turn >= self.shown_from]
        selection = self.selector.select(context, in_context)
        self.firings.extend(selection.firings)
        return [FiredSkill(name=skill.name, digest=skill.digest, turn=turn) for skill in selection.skills]

    def select_again(self, turn: int) -> list[FiredSkill]:
        """After observations were left out: the skills that enter on this turn besides those that already did."""
        before = {firing.skill for firing in self.firings if firing.turn == turn and firing.suppressed is None}
        self.firings = [firing for firing in self.firings if firing.turn < turn]
        return [skill for skill in self.select(turn) if skill["name"] not in before]

    def leave_out(self, turn: int) -> bool:
        """Leave out the older half of the observations shown since the first; whether there was one to leave out.

        The first stays, because it carries the task.
        """
        start = max(1, self.shown_from)
        if start >= turn:
            return False
        self.shown_from = (start + turn + 1) // 2
        self.previous_choices = ()  # the list that "same choices" refers to may be gone
        return True

    def view(self, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
        """The messages to send: the whole conversation, less the observations left out."""
        if not self.shown_from:
            return messages
        hidden = range(_FIRST_OBSERVATION + 2, _FIRST_OBSERVATION + 2 * self.shown_from, 2)
        return [HumanMessage(LEFT_OUT) if index in hidden else message for index, message in enumerate(messages)]

    def compose(self, turn: int, fired: Sequence[FiredSkill], action_format: ActionFormat) -> list[BaseMessage]:
        """The new messages: on turn 0 the system message, then the observation with the later skills inside."""
        library = self.selector.library.by_name
        start, later = split_skills([library[skill["name"]] for skill in fired], turn)
        text = observation_text(self.observation, action_format, self.previous_choices, later, self.note)
        messages: list[BaseMessage] = [HumanMessage(text)]
        if turn == 0:
            messages.insert(0, SystemMessage(system_text(self.system_prompt, action_format, start)))
        return messages

    def take(self, turn: int, response: str, call: ModelCall, action_format: ActionFormat, max_turns: int) -> None:
        """Parse the answer, step the environment, note the turn; sets ``stop`` when the episode is over.

        Raises:
            EnvironmentFault: whatever the environment raised.
        """
        parsed = parse_action(response, action_format, self.observation.choices)
        result = self._step(parsed)
        seen, self.observation = self.observation, result.observation
        firings = tuple(firing for firing in self.firings if firing.turn == turn)
        self.turns.append(
            Turn(turn, seen.text, parsed.action, response, result.valid, seen.choices, firings, call=call)
        )
        self.previous_choices = seen.choices
        self.note = "" if result.valid else invalid_note(parsed.problem)
        self.last_action = parsed.action
        self.score = result.score
        if result.done:
            self.stop = StopReason.DONE
        elif turn + 1 >= max_turns:
            self.stop = StopReason.TURN_LIMIT

    def _step(self, parsed: ParsedAction) -> StepResult:
        if not parsed.action:
            return StepResult(self.observation, score=self.score, valid=False)
        try:
            return self.environment.step(parsed.action)
        except Exception as error:
            raise _fault(error, f"step {parsed.action!r} of task {self.task.task_id}") from error


def _fault(error: Exception, where: str) -> EnvironmentFault:
    return error if isinstance(error, EnvironmentFault) else EnvironmentFault(f"{where}: {error!r}")
