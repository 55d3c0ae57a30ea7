"""Training episodes as lines of ``episodes.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reskill_agents.episode_logs import episode_to_json
from reskill_agents.episodes import Episode
from reskill_agents.trainers.groups import Member, PlayedGroup
from reskill_agents.trainers.run_folder import Log, RunFolder


def log_episodes(
    run: RunFolder, played: Sequence[PlayedGroup], *, advantages: Mapping[str, float] | None = None, tokens: bool
) -> None:
    """Append a step's episodes: compact (without the choices offered), or with every call's token ids and log-probs.

    Either way ``versions`` says turn by turn which weights sampled it (``null`` for a turn without a call).
    ``advantages``: by episode id; ``null`` is written for an episode that trained nothing.
    """
    for one in played:
        for member, episode in one.pairs:
            advantage = (advantages or {}).get(episode.episode_id)
            run.append(Log.EPISODES, _entry(member, episode, advantage, tokens))


def _entry(member: Member, episode: Episode, advantage: float | None, tokens: bool) -> dict[str, object]:
    entry = episode_to_json(episode)
    entry["role"] = member.role.value
    entry["without"] = list(member.without)
    entry["advantage"] = advantage
    entry["versions"] = [None if turn.call is None else turn.call.version for turn in episode.turns]
    if tokens:
        calls = [turn.call for turn in episode.turns if turn.call is not None]
        entry["calls"] = [[list(c.prompt_ids), list(c.sampled_ids), list(c.logprobs), c.version] for c in calls]
    elif isinstance(entry["turns"], list):
        for turn in entry["turns"]:
            turn.pop("choices", None)
    return entry
