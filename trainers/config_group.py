"""A group of settings, and a setting with its meaning."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(default: object, meaning: str) -> Any:
    """A field: its default, then unit and source in words."""
    return Field(default=default, description=meaning)


class Settings(BaseModel):
    """Immutable, and nothing unknown gets in."""

    model_config = ConfigDict(extra="forbid", frozen=True)
