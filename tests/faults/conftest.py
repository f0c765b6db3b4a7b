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
Scene, sim, template = scenarios.Scene, scenarios.sim, scenarios.template
MODEL, PASS, HWID = scenarios.MODEL, scenarios.PASS, scenarios.HWID
folder, make_scene, scene, certificates = scenarios.folder, scenarios.make_scene, scenarios.scene, scenarios.certificates
figure, pytest_terminal_summary, pytest_runtest_makereport = scenarios.figure, scenarios.pytest_terminal_summary, scenarios.pytest_runtest_makereport

FORMAT = "{:<58} {:>8} {:>5} {:>7} {:>8} {:>8}"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="the long form: every call, 200 kills, an hour of outages")
    parser.addoption("--seed", type=int, default=None, help="repeats the random choices of an earlier run")


def pytest_configure(config):
    config.figures_heading = (FORMAT.format("fault", "messages", "lost", "again", "first s", "all s")
                              + "\n(after the end of the fault: the first message; all that were handed over before. median/longest of several)")


@pytest.fixture(scope="session")
def full(request):
    return request.config.getoption("full")


@pytest.fixture
def rng(request, figure):
    """Random choices; what they start from is shown."""
    seed = request.config.getoption("seed")
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    request.node.user_properties.append(("seed", seed))
    made = random.Random(f"{seed} {request.node.name}")
    made.first = seed
    return made


@pytest.fixture
def line(figure):
    """line(fault, verdict, first, all): of the table. Nothing was lost: judge() has seen to that."""
    def add(fault, verdict, first="-", last="-"):
        texts = [value if isinstance(value, str) else "-" if value is None else f"{value:.1f}" for value in (first, last)]
        figure(FORMAT.format(fault, verdict.messages, 0, verdict.again, *texts))
    return add


def sanitized():
    return b"__asan_init" in (Path(os.environ.get("PLUGD_BUILD", "")) / "daemon" / "plugd").read_bytes()
