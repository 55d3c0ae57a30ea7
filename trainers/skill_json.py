"""Skills, libraries and proposals as JSON: where the trainer's modules find them."""

from __future__ import annotations

from reskill_agents.skill_json import (
    Json,
    library_from_json,
    library_to_json,
    proposal_from_json,
    proposal_to_json,
    skill_from_json,
    skill_to_json,
)

__all__ = [
    "Json",
    "library_from_json",
    "library_to_json",
    "proposal_from_json",
    "proposal_to_json",
    "skill_from_json",
    "skill_to_json",
]
