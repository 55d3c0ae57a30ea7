"""Search-QA: a generated land that can be solved hop by hop, judged as SQuAD does, and any files of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from reskill_agents.environment import Split, Task
from reskill_agents.envs.search_qa import SHOWN_CHARACTERS, AnswerScore, SearchQAWorld
from reskill_agents.envs.search_qa_generate import CHAINS
from reskill_agents.envs.search_qa_score import exact_match, f1_score, normalise
from reskill_agents.errors import ConfigError
from reskill_agents.testing import check_world

PASSAGES = [
    {"id": "0", "title": "Oak", "text": "The oak is a tree. It grows in Norvale."},
    {"id": "1", "contents": '"Norvale"\nNorvale lies on the river Tam.'},
    {"text": "A passage without a title."},
]
QUESTIONS = [
    {"id": "q1", "question": "Where does the oak grow?", "answers": ["Norvale", "in Norvale"], "type": "place"},
    {"id": "q2", "question": "Which river?", "golden_answers": ["the Tam"], "hops": 2},
    {"question": "Is it a tree?", "answer": "yes"},
]


@cache
def land() -> SearchQAWorld:
    return SearchQAWorld()


def files(folder: Path, passages: Sequence[object], questions: Sequence[object]) -> tuple[Path, Path]:
    corpus, asked = folder / "corpus.jsonl", folder / "questions.jsonl"
    corpus.write_text("".join(json.dumps(item) + "\n" for item in passages))
    asked.write_text("".join(json.dumps(item) + "\n" for item in questions))
    return corpus, asked


def test_it_keeps_the_contract() -> None:
    check_world(land(), free_actions=["search[river town]", "search[zzz]", "answer[nobody]"])


def test_the_way_to_an_answer() -> None:
    world = land()
    task = next(task for task in world.tasks(Split.TRAIN) if task.tags["hops"] == "1")
    env = world.make()
    assert env.reset(task, seed=0).text == f"Question: {task.text}"
    found = env.step(f"search[{task.text}]")
    assert found.observation.text.startswith(f"Passages for: {task.text}\n1. ")
    assert world.question(task).answers[0] in found.observation.text
    assert env.step("search[qqq]").observation.text == "No passage shares a word with: qqq"
    right = env.step(f"Answer[the {world.question(task).answers[0]}!]")
    assert (right.valid, right.done, right.score) == (True, True, 1.0)
    late = env.step("search[more]")
    assert (late.valid, late.done, late.score) == (False, True, 1.0)


@pytest.mark.parametrize("action", ["", "search", "search[]", "search[ ]", "look[tree]", "answer[x] and more"])
def test_other_actions_change_nothing(action: str) -> None:
    world = land()
    env = world.make()
    start = env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    result = env.step(action)
    assert (result.valid, result.done, result.observation) == (False, False, start)


def test_every_answer_is_found_by_searching_for_the_names_met_on_the_way() -> None:
    """All questions can be answered within the turns by a searcher who knows which of the names to take."""
    world = land()
    by_title = {passage.title: passage.text for passage in world._set.passages}
    hops = {chain.name: len(chain.links) for chain in CHAINS}
    for split in Split:
        for task in world.tasks(split)[:30]:
            env = world.make()
            env.reset(task, seed=0)
            names, shown = {world.question(task).subject}, ""
            for _ in range(hops[task.tags["type"]]):
                pages = [env.step(f"search[{name}]").observation.text for name in names]
                assert all(by_title[name] in page for name, page in zip(names, pages, strict=True))
                shown = " ".join(by_title[name] for name in names)
                names = {title for title in by_title if title in shown} - names
            assert world.question(task).answers[0] in shown


def test_most_questions_need_more_than_the_first_search() -> None:
    world = land()
    several = [task for task in world.tasks(Split.TRAIN) if int(task.tags["hops"]) > 1]
    env = world.make()
    lucky = 0
    for task in several:
        env.reset(task, seed=0)
        lucky += world.question(task).answers[0] in env.step(f"search[{task.text}]").observation.text
    assert len(several) > len(world.tasks(Split.TRAIN)) / 2
    assert lucky / len(several) < 0.35


def test_types_and_subjects_never_cross_splits() -> None:
    world = land()
    kinds = {split: {task.tags["type"] for task in world.tasks(split)} for split in Split}
    seen = kinds[Split.TRAIN] | kinds[Split.VALID] | kinds[Split.SEEN_TEST]
    assert len(kinds[Split.UNSEEN_TEST]) == 3
    assert not kinds[Split.UNSEEN_TEST] & seen
    subjects = [{world.question(task).subject for task in world.tasks(split)} for split in list(Split)[:3]]
    assert sum(map(len, subjects)) == len(set.union(*subjects))
    assert min(len(world.tasks(split)) for split in Split) >= 40


def test_the_land_is_a_function_of_its_seed() -> None:
    first, again, other = (SearchQAWorld(seed=seed) for seed in (1, 1, 2))
    assert first.tasks(Split.TRAIN) == again.tasks(Split.TRAIN) != other.tasks(Split.TRAIN)
    assert first.describe() == again.describe()
    assert first.describe()["data"] == "generated"


@pytest.mark.parametrize(
    ("answer", "wanted", "exact", "f1"),
    [
        ("The Tam.", "tam", 1.0, 1.0),
        ("river Tam", "the Tam", 0.0, 2 / 3),  # precision 1/2, recall 1
        ("one two three four", "two three five", 0.0, 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)),
        ("Tam river", "river Tam", 0.0, 1.0),
        ("nothing", "Tam", 0.0, 0.0),
        ("yes", "yes it is", 0.0, 0.0),
        ("the", "a", 1.0, 1.0),
    ],
)
def test_answers_are_judged_as_in_squad(answer: str, wanted: str, exact: float, f1: float) -> None:
    assert exact_match(answer, wanted) == exact
    assert f1_score(answer, wanted) == pytest.approx(f1)


def test_normalising() -> None:
    assert normalise("  An  Apple, a day: THE end ") == "apple day end"


def task_of(world: SearchQAWorld, name: str) -> Task:
    return next(task for split in Split for task in world.tasks(split) if task.task_id == f"search-qa-{name}")


def test_files_of_ones_own_are_read(tmp_path: Path) -> None:
    asked = [{**question, "split": "train"} for question in QUESTIONS]
    world = SearchQAWorld(*files(tmp_path, PASSAGES, asked), score=AnswerScore.F1)
    assert world.describe() | {"split_rule": "file", "passages": 3, "tasks_train": 3} == world.describe()
    assert [question.answers for question in map(world.question, world.tasks(Split.TRAIN))] == [
        *(("Norvale", "in Norvale"), ("the Tam",), ("yes",)),
    ]
    env = world.make()
    env.reset(task_of(world, "q2"), seed=0)
    assert env.step("search[norvale river]").observation.text == (
        "Passages for: norvale river\n1. Norvale: Norvale lies on the river Tam.\n"
        "2. Oak: The oak is a tree. It grows in Norvale."
    )
    assert env.step("answer[river tam]").score == pytest.approx(2 / 3)
    env.reset(task_of(world, "q1"), seed=0)
    assert env.step("answer[In Norvale]").score == 1.0  # any of the answers


def test_long_passages_are_cut_at_a_word(tmp_path: Path) -> None:
    corpus, asked = files(tmp_path, [{"title": "Long", "text": "word " * 300}], QUESTIONS[:1] * 1)
    world = SearchQAWorld(corpus, asked)
    env = world.make()
    env.reset(world.tasks(Split.TRAIN)[0], seed=0)
    line = env.step("search[word]").observation.text.splitlines()[1]
    assert line.endswith("word ...")
    assert len(line) < SHOWN_CHARACTERS + 20


def test_questions_without_splits_are_split_by_type(tmp_path: Path) -> None:
    asked = [{"question": f"q {n}?", "answer": "x", "type": f"type{n % 5}"} for n in range(100)]
    world = SearchQAWorld(*files(tmp_path, PASSAGES, asked))
    assert [len(world.tasks(split)) for split in Split] == [48, 16, 16, 20]
    assert len({task.tags["type"] for task in world.tasks(Split.UNSEEN_TEST)}) == 1
    untyped = SearchQAWorld(*files(tmp_path, PASSAGES, [{"question": "q?", "answer": "x"} for _ in range(10)]))
    assert [len(untyped.tasks(split)) for split in Split] == [6, 2, 2, 0]


@pytest.mark.parametrize(
    ("passage", "question", "message"),
    [
        ({"title": "x"}, {}, r"corpus\.jsonl: line 4: 'text' is missing"),
        ({"text": 7}, {}, r"corpus\.jsonl: line 4: 'text' must be text, not 7"),
        ({"text": "x", "title": 7}, {}, r"corpus\.jsonl: line 4: 'title' must be text"),
        ([1], {}, r"corpus\.jsonl: line 4: must be an object, not list"),
        ({"text": "x"}, {"answer": "x"}, r"questions\.jsonl: line 4: 'question' is missing"),
        ({"text": "x"}, {"question": "x?"}, "line 4: 'answers' is missing"),
        ({"text": "x"}, {"question": "x?", "answers": []}, "'answers' must be a text or a list of texts"),
        ({"text": "x"}, {"question": "x?", "answer": 3}, "'answer' must be a text or a list of texts"),
        ({"text": "x"}, {"question": "x?", "answer": "x", "id": "q1"}, "'id' 'search-qa-q1' was used before"),
        ({"text": "x"}, {"question": "x?", "answer": "x", "id": [1]}, "'id' must be a text or a number, not list"),
        ({"text": "x"}, {"question": "x?", "answer": "x", "hops": "two"}, "'hops' must be a whole number"),
        ({"text": "x"}, {"question": "x?", "answer": "x", "split": "dev"}, "'split' must be one of train, valid"),
        ({"text": "x"}, {"question": "x?", "answer": "x", "split": "train"}, "line 1 has no 'split' but others do"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, passage: object, question: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchQAWorld(*files(tmp_path, [*PASSAGES, passage], [*QUESTIONS, question]))


def test_missing_broken_and_empty_files_are_named(tmp_path: Path) -> None:
    corpus, asked = files(tmp_path, PASSAGES, QUESTIONS)
    with pytest.raises(ConfigError, match="give both files or neither"):
        SearchQAWorld(corpus)
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: cannot be read"):
        SearchQAWorld(tmp_path / "nowhere.jsonl", asked)
    with pytest.raises(ConfigError, match=r"hits \(0\)"):
        SearchQAWorld(corpus, asked, hits=0)
    asked.write_text('{"question": "x?"')
    with pytest.raises(ConfigError, match=r"questions\.jsonl: line 1: is no JSON"):
        SearchQAWorld(corpus, asked)
    asked.write_text("\n")
    with pytest.raises(ConfigError, match=r"questions\.jsonl: holds nothing"):
        SearchQAWorld(corpus, asked)
    with pytest.raises(ConfigError, match="no question is for training"):
        SearchQAWorld(*files(tmp_path, PASSAGES, [{**QUESTIONS[0], "split": "valid"}]))
