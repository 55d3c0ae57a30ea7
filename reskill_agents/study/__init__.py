"""A comparison of methods over seeds: its plan, its result files, and the tables and figures made of them.

A study is a folder of result files, one a training run, and the plan that was registered before the first of them. Reading
needs neither torch nor langchain; running is ``tests/benchmarks/study.py``.
"""
