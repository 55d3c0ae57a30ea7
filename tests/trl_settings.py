"""TRL's settings for tests on a CPU, within the range of transformers that we admit."""

from __future__ import annotations

from dataclasses import fields

from trl import GRPOConfig

_NEW = "activation_checkpointing"
NO_CHECKPOINTING = {_NEW if _NEW in {field.name for field in fields(GRPOConfig)} else "gradient_checkpointing": False}
