"""A prefix trie of model calls: one row per root-to-leaf path, every sampled token trained in exactly one of them.

Prompts are walked down from the root and share what they have in common; what a call sampled hangs below its prompt as an
edge of its own, even where another call sampled the same tokens (a retry is a second sample). So linear histories are
one path, parallel branches of one history share it, and sub-agents, which start anew, are paths of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reskill_agents.episodes import ModelCall


@dataclass(slots=True)
class TokenPath:
    """A root-to-leaf path: ids, which of them this path trains, their log-probs (nats, 0 where not trained), and the
    versions of the weights that sampled them (-1 where not trained)."""

    token_ids: list[int] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Node:
    """A run of tokens without a branch inside. ``logprobs`` is ``None`` where they are prompt."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    children: list[_Node] = field(default_factory=list)
    version: int = -1
    given: bool = False  # a path that trains these tokens was handed out

    def split(self, at: int) -> None:
        """Cut in two before token ``at``; the first part stays this node."""
        tail = _Node(self.ids[at:], None if self.logprobs is None else self.logprobs[at:], self.children, self.version)
        self.ids, self.children = self.ids[:at], [tail]
        if self.logprobs is not None:
            self.logprobs = self.logprobs[:at]


class CallTrie:
    """Grows by calls, in the order in which they were answered (a call that extends another comes after it)."""

    def __init__(self) -> None:
        self._root = _Node(())

    def add(self, call: ModelCall) -> None:
        """Take in a call; one that sampled nothing is ignored."""
        if not call.sampled_ids:
            return
        matching = _longest_match(self._root, call.prompt_ids)
        (node, at), matched = matching[-1], sum(agreed for _, agreed in matching)
        if at < len(node.ids):
            node.split(at)
        if matched < len(call.prompt_ids):
            rest = _Node(call.prompt_ids[matched:])
            node.children.append(rest)
            node = rest
        node.children.append(_Node(call.sampled_ids, call.logprobs, version=call.version))

    def paths(self) -> list[TokenPath]:
        """All root-to-leaf paths, depth first, older branches first; the first to pass a sampled token trains it."""
        found = list(_leaves(self._root))
        for nodes in found:
            for node in nodes:
                node.given = False
        return [_path(nodes) for nodes in found]


def paths_of(calls: Sequence[ModelCall]) -> list[TokenPath]:
    """The paths of ``calls``."""
    trie = CallTrie()
    for call in calls:
        trie.add(call)
    return trie.paths()


def _longest_match(root: _Node, prompt: Sequence[int]) -> list[tuple[_Node, int]]:
    """The nodes from ``root`` down along ``prompt``, each with how many of its tokens agree.

    Several children may begin alike (retries): the one that agrees longest is taken, the oldest of equals.
    """
    best: list[tuple[_Node, int]] = [(root, 0)]
    best_total = 0
    open_paths: list[tuple[list[tuple[_Node, int]], int]] = [(best, 0)]
    while open_paths:
        path, total = open_paths.pop()
        if total > best_total:
            best, best_total = path, total
        node, at = path[-1]
        if at < len(node.ids):
            continue
        for child in reversed(node.children):
            agreed = _agreed(child.ids, prompt, total)
            if agreed:
                open_paths.append(([*path, (child, agreed)], total + agreed))
    return best


def _agreed(ids: Sequence[int], prompt: Sequence[int], start: int) -> int:
    """How many first tokens of ``ids`` stand in ``prompt`` from ``start`` on."""
    window = prompt[start : start + len(ids)]
    if window == ids:
        return len(ids)
    return next((n for n, (a, b) in enumerate(zip(ids, window, strict=False)) if a != b), len(window))


def _leaves(root: _Node) -> Iterator[tuple[_Node, ...]]:
    """The nodes of every root-to-leaf path, without recursion (histories can be thousands of calls deep)."""
    stack: list[tuple[_Node, ...]] = [(child,) for child in reversed(root.children)]
    while stack:
        nodes = stack.pop()
        if not nodes[-1].children:
            yield nodes
        stack += [(*nodes, child) for child in reversed(nodes[-1].children)]


def _path(nodes: Sequence[_Node]) -> TokenPath:
    path = TokenPath()
    for node in nodes:
        trained = node.logprobs is not None and not node.given
        path.token_ids += node.ids
        path.trained += [trained] * len(node.ids)
        path.logprobs += node.logprobs if trained and node.logprobs is not None else [0.0] * len(node.ids)
        path.versions += [node.version if trained else -1] * len(node.ids)
        node.given = True
    return path
