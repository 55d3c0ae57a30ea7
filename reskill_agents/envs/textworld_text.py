"""A cooking game in TextWorld's own words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping

from reskill_agents.environment import Choice, Observation, StepResult, Task
from reskill_agents.envs.textworld_games import Game, GameState, PlayedGame, start
from reskill_agents.envs.textworld_states import share
from reskill_agents.errors import EnvironmentFault

OBJECTIVE = (
    "You are hungry! Let's cook a delicious meal. Check the cookbook in the kitchen for the recipe. Once done, enjoy "
    "your meal!"
)
SYSTEM_PROMPT = (
    "You play a text game in a house. Write one command a turn, such as: look; inventory; go north; open fridge; "
    "examine cookbook; take carrot from fridge; take knife from counter; chop carrot with knife; slice carrot with knife; "
    "dice carrot with knife; cook carrot with stove; cook carrot with oven; prepare meal; eat meal."
)
_STATUS_LINE = re.compile(r"\n>\s*-=[^\n]*=-[^\n]*\s*\Z")
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")


def clean(feedback: str) -> str:
    """What the game says, without its title picture, status line and runs of empty lines."""
    text = _STATUS_LINE.sub("", feedback)
    where = text.find(OBJECTIVE)
    return _BLANK_LINES.sub("\n\n", text[max(0, where) :].strip())


class TextKitchen:
    """Plays the compiled games. Choices are the admissible commands; what is none of them is not sent to the game."""

    def __init__(self, games: Mapping[str, Game]) -> None:
        self._games = games
        self._game: PlayedGame | None = None
        self._path = ""
        self._shown = Observation("")
        self._done, self._score = False, 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Start the game of ``task``. It has no randomness of its own, so ``seed`` changes nothing."""
        game = self._games.get(task.task_id)
        if game is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        try:
            if self._game is None or self._path != str(game.path):
                self._close()
                self._game, self._path = start(game, prose=True), str(game.path)
            self._done, self._score = False, 0.0
            return self._see(self._game.reset())
        except Exception as error:
            self._close()
            raise EnvironmentFault(f"{task.task_id}: the game could not be started: {error!r}") from error

    def step(self, action: str) -> StepResult:
        """Take an admissible command; another one changes nothing."""
        if self._game is None:
            raise EnvironmentFault("step before reset")
        if self._done or action not in [choice.action for choice in self._shown.choices]:
            return StepResult(self._shown, self._done, self._score, valid=False)
        try:
            state, _, _ = self._game.step(action)
            self._done, self._score = state.won or state.lost, share(state)
            return StepResult(self._see(state), self._done, self._score)
        except Exception as error:
            self._close()
            raise EnvironmentFault(f"command {action!r} failed: {error!r}") from error

    def _see(self, state: GameState) -> Observation:
        commands = () if self._done else dict.fromkeys(state.admissible_commands)
        text = clean(state.feedback) or "Nothing happens."
        self._shown = Observation(text, tuple(Choice(command) for command in commands), OBJECTIVE)
        return self._shown

    def _close(self) -> None:
        game, self._game = self._game, None
        if game is not None:
            with contextlib.suppress(Exception):  # a broken game must not keep the next one from starting
                game.close()
