# SPDX-License-Identifier: Apache-2.0
"""What the lab's tests ask for: `vm`, one machine for all of them, started from the snapshot, with plugd installed;
`fresh_vm`, a machine of the test's own that has really booted, to reboot it and to cut its power; `standin` and
`gateway` in `vm`. A failed test shows the console and plugd's journal."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gateway as gateways  # noqa: E402
from machine import RELEASES, LabError, Machine, make  # noqa: E402

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "platform"), str(Path(__file__).resolve().parents[1])]
from figures import figure, pytest_terminal_summary  # noqa: E402, F401


def pytest_addoption(parser):
    parser.addoption("--release", choices=RELEASES, default=RELEASES[0], help="the Debian release in the machines")
    parser.addoption("--full", action="store_true", help="the long form of the tests that stage faults")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for machine in {id(thing): thing for thing in item.funcargs.values() if isinstance(thing, Machine)}.values():
            report.sections.append(("console", machine.console()[-4000:]))
            for unit in ("plugd", "init.scope"):
                try:
                    report.sections.append((f"journal of {unit}", machine.journal(unit)[-8000:]))
                except (AssertionError, LabError, OSError) as error:
                    report.sections.append((f"journal of {unit}", str(error)))


@pytest.fixture(scope="session")
def release(request):
    return request.config.getoption("release")


@pytest.fixture(scope="session")
def full(request):
    """Is it the long form?"""
    return request.config.getoption("full")


@pytest.fixture(scope="session")
def vm(release):
    """Shared by all tests: each leaves it as it found it."""
    make("system", release)
    with Machine(release) as machine:
        gateways.install(machine)
        yield machine


@pytest.fixture
def make_vm(release):
    """make_vm(): a machine of the test's own, booted, without plugd. make_vm(snapshot=True): not booted."""
    machines = []

    def make(**options):
        machine = Machine(release, **{"snapshot": False, **options})
        machines.append(machine)
        return machine.start()

    yield make
    for machine in machines:
        machine.stop()


@pytest.fixture
def fresh_vm(make_vm):
    """A machine of the test's own, booted, with plugd installed."""
    machine = make_vm()
    gateways.install(machine)
    return machine


@pytest.fixture
def standin(vm):
    """The platform's stand-in in `vm`, new for each test, on port 1883, with a template to enrol with."""
    from standin import template

    vm.run("rm -rf /var/lib/standin")
    platform = gateways.StandIn(vm, templates=[template(gateways.MODEL, gateways.PASS)])
    with platform:
        yield platform


@pytest.fixture
def plugd(vm, standin):
    """plugd(sensors…, options of configure()): configures the one in `vm` and waits until it is online. Stopped, and what
    it stored removed, before and after the test."""
    def configure(*sensors, **options):
        gateways.configure(vm, standin, sensors=sensors, **options)
        return vm

    gateways.reset(vm)
    yield configure
    journal = vm.journal()
    gateways.reset(vm)
    assert gateways.PASS not in journal, "the pass is in the journal"
