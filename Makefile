PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro report test demo verify bench bench-full lock

# Run what has changed of the pipeline, then show its results.
repro: .venv/installed
	dvc repro
	python -m tools.show_results

# Bring metrics/report.html up to date: a page to open in a browser.
report: .venv/installed
	dvc repro report

test: .venv/installed
	python -m pytest -n 2 --dist worksteal

# Show on a local page what a trained model (make repro) sees in an image.
demo: .venv/installed
	python -m tools.demo

# Run the last commit's pipeline again in a clone without any cache, and compare its outputs with dvc.lock.
verify: .venv/installed
	python -m tools.verify

# Measure speed on images of two classes, and put it into README.md. SIZES="--validation 250 --test 250" where
# there are fewer than the notebook's 1000, 500 and 500 of each.
IMAGES ?= data/raw/elpv
LABELS_FROM ?= folder
bench: .venv/installed
	python -m bench $(IMAGES) --labels-from $(LABELS_FROM)
	python -m bench.report

bench-full: .venv/installed
	python -m bench $(IMAGES) --labels-from $(LABELS_FROM) --full $(SIZES)
	python -m bench.report

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  (3, 11) <= v <= (3, 13) or sys.exit("Freezepoint needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12 repro" % v)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.txt
	touch $@

# Renew requirements.txt from pyproject.toml (needs uv).
lock:
	uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --upgrade --quiet \
	  --custom-compile-command "make lock" --output-file requirements.txt
