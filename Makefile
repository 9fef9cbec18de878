# `make demo` and `make test` install what they need first.
.PHONY: help demo test check lint format bench soak wheel system venv lock schema clean

help:
	@echo "make demo    database, broker, agent and a simulated fleet on this machine; opens the console"
	@echo "             ARGS=\"--headless --seconds 20\" prints a summary instead"
	@echo "make test    all tests (under 10 minutes)      make check   lint, types, tests"
	@echo "make soak    the fault tests, long             make bench   measurements, printed and saved"
	@echo "make wheel   dist/iot_console-VERSION.whl, with all that belongs to it"

demo: venv
	@.venv/bin/python -m stack.demo $(ARGS)

test: venv
	@scripts/system-packages tests
	@.venv/bin/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint test

lint: venv
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: venv
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

bench: venv
	@.venv/bin/python -m bench $(ARGS)

soak: venv
	@IOT_SOAK=1 .venv/bin/python -m pytest tests/test_faults.py $(ARGS)

wheel: venv
	@.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

system:
	@scripts/system-packages

venv: system
	@scripts/python-packages

lock: venv
	@.venv/bin/python -m pip install --quiet uv
	@scripts/compile-requirements --upgrade

clean:
	rm -rf .venv build dist *.egg-info
