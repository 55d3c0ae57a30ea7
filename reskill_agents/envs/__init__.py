"""Worlds that ship with the library. Nothing outside this folder knows their vocabulary."""
