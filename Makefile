# Two commands work on a fresh machine with Python 3.11 or newer and make; both create .venv here:
#   make demo    sets up, repairs the bundled stems and says by how much they got better and where the reports are
#   make test    sets up with everything the tests need, checks style and types, runs the tests
# A third needs half a gigabyte more, which is why it is by itself:
#   make test-ray    installs Ray, an S3 and a GS server for tests, and runs the tests of clusters and remote files
# Two more run what is skipped where audio-separator is missing, and where no torchaudio for this PyTorch can be had:
#   make test-audio-separator    fetches audio-separator, and runs its plugin's tests with its own classes, small and seeded
#   make test-torchaudio    fetches torchaudio, leaves out its binaries, and runs its plugin's tests with its own classes
# Set-up is done again only when a pyproject.toml or constraints.txt changes; without a change no network is needed.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PROJECTS := $(patsubst %/pyproject.toml,%,$(wildcard detectors/pyproject.toml plugins/*/pyproject.toml))
KEY := $(shell { pwd; cat pyproject.toml constraints.txt $(PROJECTS:%=%/pyproject.toml); } | cksum | cut -d' ' -f1)
READY_TEST := $(VENV)/.ready-test-$(KEY)
READY_RAY := $(VENV)/.ready-ray-$(KEY)
READY_DEMO := $(or $(wildcard $(READY_TEST)),$(VENV)/.ready-demo-$(KEY))
FIND_PYTHON = for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; exit; }; done
INSTALL = $(PY) -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-ray test-audio-separator test-torchaudio lint docs chromium clean

demo: $(READY_DEMO)
	@$(VENV)/bin/stemprover enhance examples/east-bay --auto-detect -o demo --overwrite \
		--reference examples/east-bay/reference

test: $(READY_TEST) chromium lint
	$(PY) -m pytest -q

test-ray: $(READY_RAY)
	$(PY) -m pytest -q tests/test_batch_ray.py tests/test_batch_ray_alone.py tests/test_batch_ray_cluster.py \
		tests/test_batch_ray_continued.py tests/test_batch_remote.py

# PyPI's torchaudio is built for CUDA and would break every import; its networks are Python alone. It is put beside the
# environment and not into it, because PEFT imports whatever torchaudio it finds.
TORCHAUDIO := $(VENV)/torchaudio
test-torchaudio: $(READY_TEST)
	@rm -rf $(TORCHAUDIO) && mkdir -p $(TORCHAUDIO)
	@$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --dest $(TORCHAUDIO) torchaudio==2.11.0
	@$(PY) -m zipfile -e $(TORCHAUDIO)/torchaudio-*.whl $(TORCHAUDIO) && rm -r $(TORCHAUDIO)/torchaudio/lib
	PYTHONPATH=$(TORCHAUDIO) $(PY) -m pytest -q plugins/stemprover-separator-torchaudio

# Beside the environment: audio-separator asks for another ONNX, and through it for torchvision, which no test needs.
# Without hypothesis: its plugin is compiled when a session ends, which Python 3.11 refuses after beartype's imports.
AUDIO_SEPARATOR := $(VENV)/audio-separator
test-audio-separator: $(READY_TEST)
	@command -v ffmpeg >/dev/null 2>&1 || { echo "ffmpeg is needed; on Debian and Ubuntu: apt install ffmpeg" >&2; exit 1; }
	@rm -rf $(AUDIO_SEPARATOR)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target $(AUDIO_SEPARATOR) \
		audio-separator==0.47.1 absl-py==2.5.1 beartype==0.18.5 diffq==0.2.4 einops==0.8.2 julius==0.2.8 \
		ml_collections==1.1.0 ml_dtypes==0.6.0 onnx==1.23.2 onnx2torch-py313==1.6.0 protobuf==7.36.2 pydub==0.25.1 \
		resampy==0.4.3 rotary-embedding-torch==0.6.5 samplerate==0.1.0 six==1.17.0
	PYTHONPATH=$(AUDIO_SEPARATOR) $(PY) -m pytest -q -p no:hypothesispytest plugins/stemprover-separator-audio-separator

lint: $(READY_TEST)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

docs: $(READY_TEST)
	$(PY) docs/generate.py

$(PY):
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed and was not found" >&2; exit 1; fi; \
	echo "Creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); \
	echo "Python's venv module does not work; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.ready-demo-$(KEY): | $(PY)
	@echo "Installing StemProver, its detectors and plugins into $(VENV) (the first time takes some minutes)"
	@$(INSTALL) --editable . $(PROJECTS:%=--editable ./%)
	@rm -f $(VENV)/.ready-demo-* && touch $@

$(READY_TEST): | $(PY)
	@echo "Installing StemProver, its plugins and what the tests need into $(VENV) (the first time takes some minutes)"
	@$(INSTALL) --editable '.[test,train]' $(PROJECTS:%=--editable ./%)
	@rm -f $(VENV)/.ready-* && touch $@

$(READY_RAY): | $(READY_TEST)
	@echo "Installing Ray, an S3 and a GS server for tests into $(VENV)"
	@$(INSTALL) --editable '.[test-ray]'
	@touch $@

# The browser tests want Chromium; without it, and without the right to install it, they are skipped.
chromium:
	@for browser in chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$browser >/dev/null 2>&1 && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		{ timeout 120 apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends chromium; \
		} >/dev/null 2>&1 && exit 0; fi; \
	echo "Chromium was not found: the browser tests will be skipped"

clean:
	rm -rf $(VENV) demo build dist
