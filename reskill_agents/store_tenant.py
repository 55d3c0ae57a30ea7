"""One tenant's part of a LangGraph ``BaseStore``: names, typed records, the lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar, cast

from langgraph.store.base import BaseStore, GetOp, Item, Op, PutOp
from pydantic import TypeAdapter, ValidationError

from reskill_agents.coordination import Clock, Coordinator
from reskill_agents.errors import ConfigError, StoreError
from reskill_agents.live_records import Capture, Namespace
from reskill_agents.redaction import (
    NEEDS_LANGCHAIN,
    Redactor,
    TextRedactor,
    redact_pii,
    redact_text,
    redaction_available,
)

Record = TypeVar("Record")
Path = tuple[str, ...]

ROOT = "reskill"
_ALL = 10_000_000  # a BaseStore lists by update time, which pages badly while others write: always read in one go
_BATCH = 500
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


def _nothing() -> None:
    """No need."""


@lru_cache(maxsize=4096)
def label(text: str) -> str:
    """``text`` as one label of a store's namespace, reversibly: no dots, no wildcards of any database.

    Raises:
        StoreError: for an empty label or one that is no text.
    """
    if not isinstance(text, str) or not text:
        raise StoreError(f"a name must be text and not empty, got {text!r}")
    if _SAFE.issuperset(text):
        return text
    return "".join(c if c in _SAFE else "".join(f"~{byte:02x}" for byte in c.encode()) for c in text)


def tenant_label(namespace: Namespace) -> str:
    """The whole namespace as one label, so that no tenant's is a prefix of another's."""
    given: object = namespace
    if isinstance(given, str):
        raise StoreError(f"a namespace is a tuple of labels, got the text {namespace!r}")
    return "/".join(label(part) for part in namespace) or "~"


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def to_json(record: object) -> dict[str, Any]:
    """A record of ``live_records`` as JSON values."""
    value = _adapter(cast("Hashable", type(record))).dump_python(record, mode="json")
    assert isinstance(value, dict)
    return value


def from_json(kind: type[Record], value: Mapping[str, object]) -> Record:
    """The inverse of :func:`to_json`.

    Raises:
        StoreError: when it is no such record.
    """
    try:
        record: Record = _adapter(cast("Hashable", kind)).validate_python(value)
    except ValidationError as error:
        raise StoreError(f"a damaged {kind.__name__} in the store: {error}") from error
    return record


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How a live store behaves, for all its tenants.

    Args:
        capture: whether conversations are kept.
        redact: applied to every episode before anything of it is written; ``None`` writes it as it is.
        redact_metadata: the same for texts in the metadata of outcomes.
        retention_days: age at which ``sweep`` deletes runs, outcomes, episodes and pins; ``None``: never.
        share_from: namespaces whose libraries are readable here, and served while there is no own one. Runs,
            outcomes and episodes are never shared.
        refresh_s: how old memory may be when a library is served; half of the second within which every process
            must see a promotion.
    """

    capture: Capture = Capture.EPISODES
    redact: Redactor | None = redact_pii
    redact_metadata: TextRedactor | None = redact_text
    retention_days: float | None = None
    share_from: tuple[Namespace, ...] = ()
    refresh_s: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "capture", Capture(self.capture))
        if self.retention_days is not None and self.retention_days <= 0:
            raise ConfigError(f"retention_days is {self.retention_days}; it must be above 0, or None")
        if self.capture is Capture.EPISODES and self.redact is redact_pii and not redaction_available():
            raise ConfigError(NEEDS_LANGCHAIN)


@dataclass(frozen=True)
class Database:
    """What the tenants of one store share. ``scrub`` removes deleted bytes from disk; ``close`` lets go of it."""

    base: BaseStore
    coordinator: Coordinator
    settings: StoreSettings
    clock: Clock = time.time
    scrub: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing


class Tenant:
    """Reads and writes under one namespace; nothing here can name another."""

    def __init__(self, database: Database, namespace: Namespace) -> None:
        self._database = database
        self._settings = database.settings
        self._namespace = tuple(namespace)
        self._label = tenant_label(namespace)
        self._root: Path = (ROOT, self._label)
        self._lock_name = f"{ROOT}/{self._label}"

    @property
    def namespace(self) -> Namespace:
        """The tenant."""
        return self._namespace

    def _now(self) -> float:
        return self._database.clock()

    def _locked(self) -> AbstractContextManager[None]:
        return self._database.coordinator.exclusive(self._lock_name)

    def _path(self, *parts: str) -> Path:
        return (*self._root, *(label(part) for part in parts))

    def _batch(self, ops: Sequence[Op]) -> list[Any]:
        try:
            return list(self._database.base.batch(ops))
        except StoreError:
            raise
        except Exception as error:  # every database has its own errors
            raise StoreError(f"the store failed: {type(error).__name__}: {error}") from error

    def _get_items(self, keys: Sequence[tuple[Path, str]]) -> list[Item | None]:
        return self._batch([GetOp(path, key) for path, key in keys])

    def _get(self, kind: type[Record], path: Path, key: str) -> Record | None:
        [item] = self._get_items([(path, key)])
        return None if item is None else from_json(kind, item.value)

    def _put(self, *entries: tuple[Path, str, dict[str, Any]]) -> None:
        """One transaction, where the database has them."""
        self._batch([PutOp(path, key, value, index=False) for path, key, value in entries])

    def _delete(self, keys: Iterable[tuple[Path, str]]) -> None:
        ops = [PutOp(path, key, None) for path, key in keys]
        for start in range(0, len(ops), _BATCH):
            self._batch(ops[start : start + _BATCH])

    def _items(self, path: Path, only: Mapping[str, object] | None = None) -> list[Item]:
        """Everything under ``path``; databases that match prefixes loosely are corrected here."""
        try:
            found = self._database.base.search(path, filter=dict(only) if only else None, limit=_ALL)
        except Exception as error:
            raise StoreError(f"the store failed: {type(error).__name__}: {error}") from error
        return [item for item in found if item.namespace[: len(path)] == path]

    def _list(self, kind: type[Record], path: Path, only: Mapping[str, object] | None = None) -> list[Record]:
        return [from_json(kind, item.value) for item in self._items(path, only)]
