"""The test suite; `tests.<module>` is importable so that tests can share builders."""
