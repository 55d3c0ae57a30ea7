"""Episodes from LangGraph checkpoints: one a thread, from the messages of its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_core.messages import BaseMessage, messages_to_dict
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from reskill_agents.episode_logs import LogError, LogProblem, LogReading, read_logs
from reskill_agents.episodes import Episode
from reskill_agents.errors import ConfigError
from reskill_agents.transcripts import episode_from_transcript

SUFFIXES = frozenset({".sqlite", ".sqlite3", ".db"})  # files that are read as checkpoints
_OUTCOMES = ("reward", "score", "success")  # channels of the state, or keys of the checkpoint's metadata


def read_checkpoints(
    saver: BaseCheckpointSaver[str],
    *,
    outcomes: Mapping[str, float] | None = None,
    channel: str = "messages",
    source: str = "checkpoints",
    need_outcome: bool = True,
) -> LogReading:
    """One episode for each thread of ``saver``, named after it.

    Args:
        saver: any checkpointer with the synchronous interface; all threads it lists are read, subgraphs left out.
        outcomes: by thread, 0..1; else ``reward``, ``score`` or ``success`` in the state or in the metadata.
        channel: of the state that holds the messages.
        source: name of the log in problems; their ``line`` is the number of the thread in the order listed.
        need_outcome: a thread without an outcome is a problem.
    """
    last: dict[str, CheckpointTuple] = {}
    for entry in saver.list(None):  # the newest of a thread comes first
        settings = entry.config.get("configurable", {})
        if not settings.get("checkpoint_ns"):
            last.setdefault(str(settings.get("thread_id", "")), entry)
    episodes: list[Episode] = []
    problems: list[LogProblem] = []
    for number, (thread, entry) in enumerate(last.items(), 1):
        try:
            episode = _episode(thread, entry, channel, (outcomes or {}).get(thread))
            if need_outcome and episode.score is None:
                raise LogError("there is no outcome: neither reward, score nor success in state or metadata")
            episodes.append(episode)
        except LogError as error:
            problems.append(LogProblem(source, number, f"thread {thread!r}: {error}"))
    return LogReading(tuple(episodes), tuple(problems))


def _episode(thread: str, entry: CheckpointTuple, channel: str, outcome: float | None) -> Episode:
    values = entry.checkpoint["channel_values"]
    messages = values.get(channel)
    if not isinstance(messages, list) or not all(isinstance(message, BaseMessage) for message in messages):
        raise LogError(f"its state holds no messages under {channel!r}")
    fields: dict[str, object] = {"episode_id": thread, "messages": messages_to_dict(messages)}
    sources: tuple[Mapping[str, object], ...] = (values, dict(entry.metadata))
    for name in _OUTCOMES:
        found = [held[name] for held in sources if isinstance(held.get(name), bool | int | float)]
        if found:
            fields[name] = found[0]
    if outcome is not None:
        fields["reward"] = outcome
    task = values.get("task_id")
    if isinstance(task, str):
        fields["task_id"] = task
    return episode_from_transcript(fields, thread)


def read_log_files(files: Sequence[Path], *, need_outcome: bool = True) -> LogReading:
    """Episodes from files of any kind: checkpoint databases by their suffix, JSON logs otherwise.

    Raises:
        LogError: when a file cannot be read at all.
        ConfigError: a checkpoint database without langgraph-checkpoint-sqlite installed.
    """
    episodes: list[Episode] = []
    problems: list[LogProblem] = []
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            reading = _read_database(path, need_outcome)
        else:
            reading = read_logs([path], need_outcome=need_outcome)
        episodes += reading.episodes
        problems += reading.problems
    return LogReading(tuple(episodes), tuple(problems))


def _read_database(path: Path, need_outcome: bool) -> LogReading:
    import sqlite3

    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError as error:
        raise ConfigError("reading checkpoints needs langgraph-checkpoint-sqlite: reskill-agents[embed]") from error
    if not path.is_file():
        raise LogError(f"{path}: no such file")
    try:
        with SqliteSaver.from_conn_string(str(path)) as saver:
            return read_checkpoints(saver, source=path.name, need_outcome=need_outcome)
    except sqlite3.DatabaseError as error:
        raise LogError(f"{path}: not a database of checkpoints ({error})") from error
