# Everything a machine without ROS 2 needs. With ROS 2, build with colcon instead (README.md).

# Any Python 3.10 to 3.14; .venv is made of it.
PYTHON ?= python3
VENV := .venv
# A ROS that the shell has sourced is kept out: .venv brings its own.
RUN := $(PYTHON) bare/isolated.py $(VENV)/bin/python
# More for pytest: make test PYTEST_ARGS="-k camera -x"
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint format clean distclean

help:  ## say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup:  ## create .venv with the package, ROS 2 and all tools
	@$(PYTHON) bare/install.py

demo: setup  ## run simulator camera and localizer, compare, write demo_output/
	@$(RUN) -m mspr_ros demo -o demo_output --force

test: setup  ## run all tests
	@$(RUN) -m pytest $(PYTEST_ARGS)

soak: setup  ## run the node for an hour: malformed messages, cycles, reloads, disturbances
	@$(RUN) test/soak.py -o docs/measured/soak.json

lint: setup  ## check style, format and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: setup  ## mend style and format
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean:  ## remove what tools and runs left behind
	rm -rf .bare .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build install log demo_output
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf $(VENV)
