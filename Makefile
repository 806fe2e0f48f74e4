# Both `make demo` and `make test` set up what they need: a virtual environment in .venv, the package and its extras.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint bench faults transcript parity clean
help:  ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# pip, not uv: it takes a torch that is already on disk, and a CPU build where an index offers one.
$(VENV)/.demo: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing connector and the demo model into $(VENV) (torch is large: the first time takes minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	@touch $@

demo: $(VENV)/.demo  ## run the main job on the READMEs of the installed packages, search it, run it again; then pictures
	@$(MAKE) --no-print-directory _demo SITE_PACKAGES=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

.PHONY: _demo
_demo: export SITE_PACKAGES := $(SITE_PACKAGES)
_demo:
	$(BIN)/connector run docker/jobs/readmes.yaml
	$(BIN)/connector search docker/jobs/readmes.yaml "retry a function when it fails" --limit 3
	$(BIN)/connector run docker/jobs/readmes.yaml
	@test -f .connector/models/tf_efficientnet_lite0/model.safetensors || $(BIN)/python docker/models/efficientnet_lite0.py
	$(BIN)/connector run docker/jobs/pictures.yaml
	@$(BIN)/python docker/models/query_picture.py tests/data/pictures/guitars/guitar-4.png .connector/query.jpg
	$(BIN)/connector search docker/jobs/pictures.yaml --image .connector/query.jpg --limit 3

test: $(VENV)/.dev  ## run the whole suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.dev  ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/mypy

parity: $(VENV)/.dev  ## every encoder family against its own library, as a table
	@rm -f .connector/parity.jsonl; mkdir -p .connector
	CONNECTOR_PARITY=$(CURDIR)/.connector/parity.jsonl $(BIN)/python -m pytest -n 2 tests/encoders
	$(BIN)/python tests/encoders/parity_table.py .connector/parity.jsonl

faults: $(VENV)/.dev  ## the long kill tests, with a table of what was injected and found
	CONNECTOR_RANDOM_KILLS=50 CONNECTOR_ALL_FAILPOINTS=1 CONNECTOR_HISTORIES=60 $(BIN)/python -m pytest tests/faults tests/server -v

transcript: $(VENV)/.dev  ## a job killed three times and its server once, finished by the same command, compared with its source
	$(BIN)/python -m tests.faults.transcript

$(VENV)/.bench: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench  ## against the scripts that people write, and the limit; an hour or more: five rounds of each
	$(BIN)/python -m tests.bench.text
	for model in tf_efficientnet_lite0 resnet50 vit_small_patch16_224; do \
	  $(BIN)/python -m tests.bench.images --model $$model --out bench-images-$$model.json || exit 1; done
	$(BIN)/python -m tests.bench.vectors
	$(BIN)/python -m tests.bench.unchanged
	$(BIN)/python -m tests.bench.bookkeeping
	$(BIN)/python -m tests.bench.memory

clean:  ## remove the environment and local state
	rm -rf $(VENV) .connector
