# make demo   set everything up and run the main job on the embedded phantom
# make test   set everything up and pass the tests, the hostile submissions last
# make quick  while working: the tests without a container engine; T=tests/imaging for those of a folder or file
# make slurm  a campaign on a real Slurm of this machine, with faults (root; apt-get install slurmctld slurmd slurm-client munge)
# make docs   the documents as a site: build/docs/index.html
PYTHON ?= python3
BIN := .venv/bin
# a file is one worker's, in the order of tests/conftest.py: the longest first
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadfile --no-loadscope-reorder

.PHONY: setup engine demo lint test quick hostile slurm docs clean

demo: setup engine
	$(BIN)/harness run submissions/tv

test: setup engine lint
	$(TESTS) -n auto --ignore tests/containers
	$(MAKE) hostile

quick: setup
	$(TESTS) -n auto -m "not engine" $(T)

# two files at a time; a case that takes the machine (tests/containers/cases.py, ALONE) runs beside no other
hostile: setup engine
	$(TESTS) -n 2 tests/containers

slurm: setup engine
	$(BIN)/python -m benchmarks.slurm --plan
	$(BIN)/python -m benchmarks.slurm

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/zizmor --offline --no-progress .
	$(BIN)/harness board --check

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@# compiling all that is never imported takes half a minute
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev,docs]'
	@touch $@

engine: setup
	docker/start-engine
	docker/build-base

clean:
	rm -rf .venv
