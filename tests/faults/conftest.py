# SPDX-License-Identifier: Apache-2.0
"""What fault tests ask for: all that scenarios have, a line of the table of figures, and how long to take."""

import importlib.util
import os
import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "scenarios"), str(HERE)]


def load_scenarios():
    """tests/scenarios/conftest.py, under a name of its own."""
    spec = importlib.util.spec_from_file_location("scenarios_conftest", HERE.parent / "scenarios" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scenarios = load_scenarios()
harness = scenarios.harness
Scene, sim, template = scenarios.Scene, scenarios.sim, scenarios.template
MODEL, PASS, HWID = scenarios.MODEL, scenarios.PASS, scenarios.HWID
folder, make_scene, scene, certificates = scenarios.folder, scenarios.make_scene, scenarios.scene, scenarios.certificates
figure, pytest_terminal_summary, pytest_runtest_makereport = scenarios.figure, scenarios.pytest_terminal_summary, scenarios.pytest_runtest_makereport

SEED = "PLUGD_FAULTS_SEED"
FORMAT = "{:<58} {:>8} {:>5} {:>7} {:>8} {:>8}"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="the long form: every call, 200 kills, an hour of outages")
    parser.addoption("--seconds", type=int, default=None, help="how long the soak takes (90, in full 3600)")
    parser.addoption("--call", type=int, default=None, help="strike at this call of the spool only")
    parser.addoption("--seed", type=int, default=None, help="repeats the random choices of an earlier run")


def pytest_configure(config):
    # One for the run: xdist's workers inherit it.
    given = config.getoption("seed")
    if given is not None or SEED not in os.environ:
        os.environ[SEED] = str(random.SystemRandom().randrange(1 << 32) if given is None else given)
    config.figures_heading = (FORMAT.format("fault", "messages", "lost", "again", "first s", "all s")
                              + "\n(seconds after the end of the fault: to the first message; to the last of those that were handed over before. Of "
                              + f"several: median/longest. Random choices: --seed {os.environ[SEED]})")


def pytest_collection_modifyitems(items):
    """The longest one first: the others run beside it."""
    items.sort(key=lambda item: item.path.name != "test_soak.py")


@pytest.fixture(scope="session")
def full(request):
    return request.config.getoption("full")


@pytest.fixture
def rng(request):
    """Random choices, which --seed repeats."""
    return random.Random(f"{os.environ[SEED]} {request.node.name}")


@pytest.fixture
def line(figure):
    """line(fault, verdict, first, all): of the table. Nothing was lost: judge() has seen to that."""
    def add(fault, verdict, first="-", last="-"):
        texts = [value if isinstance(value, str) else "-" if value is None else f"{value:.1f}" for value in (first, last)]
        figure(FORMAT.format(fault, verdict.messages, 0, verdict.again, *texts))
    return add


@pytest.fixture
def second_scene(scene):
    """Beside `scene`, at the same platform: another bus, for another gateway."""
    folder = scene.folder / "second"
    folder.mkdir()
    bus = harness.Bus(folder)
    made = Scene(folder, bus, scene.platform)
    yield made
    for gateway in made.gateways:
        gateway.cleanup()
    bus.stop()


def sanitized():
    return b"__asan_init" in harness.DAEMON.read_bytes()
