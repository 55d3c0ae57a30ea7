"""Search-QA: answer a question by searching a corpus, often over several hops.

Search is local BM25, answers are judged by exact match and F1 as in SQuAD (Rajpurkar et al., 2016) and HotpotQA. Without
files, corpus and questions are generated: a small made-up land in which one page seldom holds the whole answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from reskill_agents.environment import Observation, Split, StepResult, Task
from reskill_agents.envs.bm25 import SearchIndex
from reskill_agents.envs.search_qa_generate import generate_questions
from reskill_agents.envs.search_qa_load import Passage, Question, QuestionSet, load_questions
from reskill_agents.envs.search_qa_score import exact_match, f1_score
from reskill_agents.errors import ConfigError, EnvironmentFault

__all__ = ["AnswerScore", "Passage", "Question", "SearchQAEnvironment", "SearchQAWorld"]

MAX_TURNS = 8
HITS = 3  # passages a search, as Search-R1 shows
SHOWN_CHARACTERS = 400  # of a passage
SYSTEM_PROMPT = (
    "You answer questions with the help of a search engine. Actions: search[words] shows the passages that fit best; "
    "answer[text] gives your answer, as short as possible, and ends the episode. You may search several times."
)
_ACTION = re.compile(r"(search|answer)\[(.*\S.*)\]", re.DOTALL | re.IGNORECASE)


class AnswerScore(StrEnum):
    """What an answer earns, 0..1: 1 for an exact match and else 0, or the F1 of its words."""

    EXACT_MATCH = "exact_match"
    F1 = "f1"


class SearchQAWorld:
    """Questions in splits; see :class:`reskill_agents.environment.World`.

    Args:
        corpus: a JSONL file of passages; ``None`` (with ``questions`` ``None``): the generated land.
        questions: a JSONL file of questions. See :mod:`reskill_agents.envs.search_qa_load` for both formats.
        seed: of the generated land, and of splits where the file gives none.
        score: what an answer earns.
        hits: passages a search shows.
        max_turns: turns an episode may take.

    Raises:
        ConfigError: a file is unusable (named with line and field), or only one of the two is given.
    """

    name = "search-qa"

    def __init__(
        self,
        corpus: Path | None = None,
        questions: Path | None = None,
        *,
        seed: int = 7,
        score: AnswerScore = AnswerScore.EXACT_MATCH,
        hits: int = HITS,
        max_turns: int = MAX_TURNS,
    ) -> None:
        if (corpus is None) is not (questions is None):
            raise ConfigError("corpus and questions belong together: give both files or neither")
        if hits < 1 or max_turns < 1:
            raise ConfigError(f"hits ({hits}) and max_turns ({max_turns}) must be at least 1")
        self.max_turns = max_turns
        self._seed, self._score, self._hits = seed, score, hits
        self._set: QuestionSet
        if corpus is None or questions is None:
            self._set = generate_questions(seed)
        else:
            self._set = load_questions(corpus, questions, seed=seed)
        self._index = SearchIndex(f"{passage.title} {passage.text}" for passage in self._set.passages)
        self._questions = {question.question_id: question for question in self._set.questions}
        self._tasks = {split: self._make_tasks(split) for split in Split}

    def _make_tasks(self, split: Split) -> tuple[Task, ...]:
        chosen = [question for question in self._set.questions if question.split is split]
        return tuple(
            Task(q.question_id, q.text, split, {"type": q.kind, **({"hops": str(q.hops)} if q.hops else {})})
            for q in chosen
        )

    def tasks(self, split: Split) -> Sequence[Task]:
        """The tasks of a split, always in the same order."""
        return self._tasks[split]

    def question(self, task: Task) -> Question:
        """The question behind ``task`` with its answers; for tests and oracles, never for agents."""
        return self._questions[task.task_id]

    def make(self) -> SearchQAEnvironment:
        """A new environment over the shared index."""
        return SearchQAEnvironment(self._set.passages, self._index, self._questions, self._score, self._hits)

    def describe(self) -> Mapping[str, str | int | float | bool]:
        """Data source, settings, and tasks per split."""
        return {
            "world": self.name,
            "data": self._set.source,
            "split_rule": self._set.split_rule,
            "seed": self._seed,
            "score": self._score.value,
            "hits": self._hits,
            "max_turns": self.max_turns,
            "passages": len(self._set.passages),
            **{f"tasks_{split.value}": len(tasks) for split, tasks in self._tasks.items()},
        }

    def system_prompt(self) -> str:
        """What the agent is told before the first observation."""
        return SYSTEM_PROMPT


class SearchQAEnvironment:
    """One question; see :class:`reskill_agents.environment.Environment`. Actions: ``search[words]``, ``answer[text]``."""

    def __init__(
        self,
        passages: Sequence[Passage],
        index: SearchIndex,
        questions: Mapping[str, Question],
        score: AnswerScore = AnswerScore.EXACT_MATCH,
        hits: int = HITS,
    ) -> None:
        self._passages = passages
        self._index = index
        self._questions = questions
        self._rule = score
        self._hits = hits
        self._question: Question | None = None
        self._shown = Observation("")
        self._done, self._score = False, 0.0

    def reset(self, task: Task, *, seed: int) -> Observation:
        """Show the question. ``seed`` changes nothing: the corpus is the same for everybody."""
        question = self._questions.get(task.task_id)
        if question is None:
            raise EnvironmentFault(f"no task {task.task_id!r} in this world")
        self._question, self._done, self._score = question, False, 0.0
        self._shown = Observation(f"Question: {question.text}", task=question.text)
        return self._shown

    def step(self, action: str) -> StepResult:
        """Search or answer; anything else is invalid and changes nothing."""
        if self._question is None:
            raise EnvironmentFault("step before reset")
        match = _ACTION.fullmatch(action.strip())
        if match is None or self._done:
            return StepResult(self._shown, self._done, self._score, valid=False)
        verb, text = match[1].lower(), " ".join(match[2].split())
        if verb == "search":
            self._shown = Observation(self._results(text), task=self._question.text)
        else:
            judge = exact_match if self._rule is AnswerScore.EXACT_MATCH else f1_score
            self._done, self._score = True, max(judge(text, answer) for answer in self._question.answers)
            self._shown = Observation(f"You answered: {text}", task=self._question.text)
        return StepResult(self._shown, self._done, self._score)

    def _results(self, query: str) -> str:
        hits = self._index.search(query, self._hits)
        if not hits:
            return f"No passage shares a word with: {query}"
        lines = [f"{number}. {_shortened(self._passages[hit])}" for number, hit in enumerate(hits, 1)]
        return "\n".join([f"Passages for: {query}", *lines])


def _shortened(passage: Passage) -> str:
    text = " ".join(passage.text.split())
    if len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS].rsplit(" ", 1)[0] + " ..."
    return f"{passage.title}: {text}" if passage.title else text
