# Both `make demo` and `make test` set up what they need: a virtual environment in .venv, the package and its extras.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint bench switching transcript faults parity serve-demo orchestrators stack image imagebase clean
help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

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

# Four at a time on two cores: half of a test is waiting for a server. What one of them has compiled, all have, and every child that they
# start, also where Python is told to keep nothing.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev  ## run the whole suite
	$(BIN)/python -m pytest -n 4 --dist worksteal

lint: $(VENV)/.dev  ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/mypy

parity: $(VENV)/.dev  ## every encoder family against its own library, as a table
	@rm -f .connector/parity.jsonl; mkdir -p .connector
	CONNECTOR_PARITY=$(CURDIR)/.connector/parity.jsonl $(BIN)/python -m pytest -n 2 tests/encoders
	$(BIN)/python tests/encoders/parity_table.py .connector/parity.jsonl

faults: $(VENV)/.dev  ## the long kill tests, with a table of what was injected and found
	CONNECTOR_RANDOM_KILLS=50 CONNECTOR_ALL_FAILPOINTS=1 CONNECTOR_HISTORIES=60 $(BIN)/python -m pytest tests/faults tests/server tests/adoption -v

serve-demo: $(VENV)/.dev  ## an hour of schedules in a minute, on a real server that is killed in the middle
	$(BIN)/python -m tests.serve.hour

orchestrators: $(VENV)/.dev  ## the examples for Airflow, Dagster and Prefect, each with the real thing in an environment of its own
	CONNECTOR_ORCHESTRATORS=1 $(BIN)/python -m pytest tests/serve/test_recipes.py -v

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
	$(BIN)/python -m tests.bench.gpu

switching: $(VENV)/.dev  ## a new model and a new index on a real server while searches go on, with a transcript; make switching ROWS=2000
	$(BIN)/python -m tests.bench.switching $(if $(ROWS),--rows $(ROWS))

docker/.env: docker/.env.example
	@test -f $@ || $(PYTHON) -c "from pathlib import Path; from connector.commands.scaffold import stack_secrets; stack_secrets(Path('docker'))"

stack: docker/.env  ## Milvus and connector in containers, on this machine only, with a password made for them (docs/stack.md)
	docker compose -f docker/compose.yaml up --build --detach

# What buildah takes, and what docker/try_image.py takes: `make image IMAGE_ARGS="--build-arg TORCH=none" TRY=` makes the one without torch.
IMAGE_ARGS ?= --build-arg "EXTRAS=audio demo"
TRY ?= --model
image: $(VENV)/.dev  ## build the container image without an engine, and run it against a real Milvus server (buildah and podman)
	buildah bud --isolation chroot --network host --format docker --layers $(IMAGE_ARGS) -f docker/Dockerfile -t localhost/connector:try .
	$(BIN)/python docker/try_image.py localhost/connector:try $(TRY)

imagebase:  ## a base for it from Debian's packages, where no registry is in reach: then BASE=localhost/connector-base as a --build-arg
	mkdir -p .connector
	debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm .connector/base
	rm -rf .connector/base/var/cache/apt/* .connector/base/var/lib/apt/lists/*
	tar -C .connector/base -c . | podman import - localhost/connector-base
	rm -rf .connector/base

clean:  ## remove the environment and local state
	rm -rf $(VENV) .connector
