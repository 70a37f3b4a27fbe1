# `make search` and `make test` are all that a fresh machine needs; both install into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_CORE := $(VENV)/.installed-core
STUDY := studies/quickstart
ON_ALL_CORES := $(BIN)/python -m pytest --numprocesses auto --dist loadfile
PROCESSOR_TESTS := $(ON_ALL_CORES) -m "processor and not soak and not cluster"

.PHONY: search test processors lint format schema modules pictures soak clean

search: $(INSTALLED_CORE)
	$(BIN)/flexunet-search run configs/quickstart.yaml
	$(BIN)/flexunet-search report $(STUDY)
	$(BIN)/flexunet-search export $(STUDY) $(STUDY)/best

# Ray's tests one at a time, on a machine that does nothing else; the others on all cores.
test: $(INSTALLED)
	$(ON_ALL_CORES) -m "not soak and not cluster"
	$(BIN)/python -m pytest -m "not soak and cluster"

# What depends on the processor, as two others run it: those for which oneDNN has no AVX-512, and
# those for which TensorFlow does not take oneDNN's kernels at all.
processors: $(INSTALLED)
	TF_ENABLE_ONEDNN_OPTS=1 ONEDNN_MAX_CPU_ISA=AVX2 $(PROCESSOR_TESTS)
	TF_ENABLE_ONEDNN_OPTS=0 ONEDNN_MAX_CPU_ISA=AVX2 $(PROCESSOR_TESTS)

# Longer drills: killed drivers again and again. SOAK_KILLS sets how often.
soak: $(INSTALLED)
	$(BIN)/python -m pytest -m soak

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What follows from the fields of a study's YAML: the JSON schema for editors, the bounds that the
# report knows, the operations of docs/augmentation.md.
schema: $(INSTALLED)
	$(BIN)/python docs/field_tables.py

# docs/modules.md, from the modules' own first lines.
modules: $(INSTALLED)
	$(BIN)/python docs/module_map.py

# The pictures of docs/augmentation.md.
pictures: $(INSTALLED)
	$(BIN)/python docs/augmentation/make_pictures.py

$(INSTALLED): $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python install.py $(VENV) dev
	touch $@ $(INSTALLED_CORE)

# What a search needs, and nothing of what tests and linters do.
$(INSTALLED_CORE): $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python install.py $(VENV)
	touch $@

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python >= 3.11, received " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) studies build *.egg-info .mypy_cache .pytest_cache .ruff_cache
