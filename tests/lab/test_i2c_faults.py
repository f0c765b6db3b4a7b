# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on an I2C bus, and comes right again: the bme280 plugin on a bus of user space (cuse-i2c), with a counter
beside it that may not notice any of it."""

import time
from contextlib import contextmanager

import pytest
from gateway import in_time, sensor, status
from harness import wait_for
from i2c_bench import CHIP, Cuse, climate, data_sheet, image, raw_for, wait_error, wait_mended, wait_sensor, wait_value

RAW = raw_for(CHIP, 21.37, 999.99, 50.5)
SHEET = data_sheet(CHIP, RAW)
TEMPERATURE = round(SHEET.temperature, 2)
VALUES = {"Climate/temperature": TEMPERATURE, "Climate/pressure": round(SHEET.pressure, 3), "Climate/humidity": round(SHEET.humidity, 2)}
COUNTER = {"name": "count", "plugin": "sim", "channel": "Count", "interval": 0.1}


@pytest.fixture
def bus(vm):
    """Asked for before plugd: torn out after it has ended."""
    made = Cuse(vm, c0x76=image(CHIP, RAW)).start()
    yield made
    made.forbid()
    made.stop()


@pytest.fixture
def beside(vm, standin, figure):
    """with beside("what"): the counter goes on without a gap meanwhile, and so do the connection and the daemon."""
    @contextmanager
    def watch(what, longest_msec=3000):
        def seen():
            shown = sensor(vm, COUNTER["name"])
            return status(vm)["ConnectedSince"], shown["ProcessId"], shown["Restarts"], shown["LastError"]
        before, since = seen(), standin.last_arrival()
        yield
        standin.wait_arrivals(1, channel="Count", since=standin.last_arrival(), timeout=30)
        assert seen() == before
        rows = in_time(standin.arrivals(channel="Count", since=since))
        values = [int(row.value) for row in rows]
        assert values == list(range(values[0], values[0] + len(values))), "none is missing"
        longest = max(later.at - earlier.at for earlier, later in zip(rows, rows[1:]))
        figure(f"i2c: {what}: meanwhile {len(rows)} counts, none missing, at most {longest} ms apart")
        assert longest < longest_msec
    return watch


def readings(standin, since):
    return [row.value for row in standin.arrivals(channel="Climate/temperature", since=since)]


def told(vm, bus, command, words):
    """The bus gets the command, and plugd says the words; in the journal, as LastError has them too briefly for a busy machine."""
    since = vm.out("date +%s.%N")
    bus.tell(command)
    vm.wait_for(f"journalctl -u plugd --no-pager --since @{since} | grep -qF '{words}'", 60, f'plugd says "{words}"')


def test_the_service_lets_only_buses_of_the_kernel_through(vm, bus, plugd, standin, figure):
    plugd(climate(bus, interval=0.5))
    error = wait_error(vm, f"{bus.device} is kept from plugd", f"DeviceAllow={bus.device} rw")
    figure(f"i2c: without DeviceAllow=: {error}")
    # As it says; that takes a start of the service.
    bus.allow()
    vm.run("systemctl restart plugd")
    assert wait_mended(vm, standin).value == TEMPERATURE


def test_combined_transfers_and_smbus(vm, bus, plugd, standin):
    """All of it in one combined transfer each; and when the bus doesn't do these any more, in parts of SMBus."""
    bus.allow()
    plugd(climate(bus, interval=0.5))
    wait_mended(vm, standin)
    assert sensor(vm, "climate")["Values"] == VALUES
    # It is soon opened anew, and found to be another one: the complaint is in the journal for longer.
    told(vm, bus, "smbus", "bus 9 cannot do such a transfer")
    since = standin.last_arrival()
    wait_mended(vm, standin)
    assert set(readings(standin, since)) == {TEMPERATURE}
    assert sensor(vm, "climate")["Values"] == VALUES
    # A moment without power: its settings are those of a chip that nobody has set up.
    told(vm, bus, "reset", "has lost its settings")
    wait_mended(vm, standin)


# What `cuse-i2c --tell` gets, and what LastError has then.
FAULTS = {
    "nobody answers (ENXIO)": (["no-answer"], "no answer at 0x76 on bus 9"),
    "fewer bytes": (["short"], "a short answer from 0x76 on bus 9"),
    "stuck (ETIMEDOUT)": (["stuck"], "bus 9 is stuck"),
    "errors (EIO)": (["error"], "a transfer with 0x76 on bus 9 failed, again and again: Input/output error"),
}


def test_faults_pass(vm, bus, plugd, standin, beside, figure):
    bus.allow()
    plugd(climate(bus, interval=0.5), COUNTER)
    wait_mended(vm, standin)
    daemon = vm.out("systemctl show -P MainPID plugd")
    with beside("all these faults"):
        for title, (words, expected) in FAULTS.items():
            with bus.fault(*words):
                error = wait_error(vm, expected)
                wait_sensor(vm, State="failing")
                since = standin.last_arrival()
                vm.run("sleep 5")
                assert not readings(standin, since), "nothing made up"
                assert expected in sensor(vm, "climate")["LastError"]
            begin = time.monotonic()
            assert wait_value(standin).value == TEMPERATURE
            figure(f"i2c: {title}: {error}; values again {time.monotonic() - begin:.1f} s after its end")
            wait_mended(vm, standin)
    assert sensor(vm, "climate")["Restarts"] == 0
    assert vm.out("systemctl show -P MainPID plugd") == daemon


def test_slow(vm, bus, plugd, standin, beside, figure):
    """200 ms for each transfer: good values, fewer of them, and no complaint."""
    bus.allow()
    plugd(climate(bus, interval=0.5), COUNTER)
    wait_mended(vm, standin)
    with beside("200 ms a transfer"), bus.fault("delay", 200):
        rows = standin.wait_arrivals(8, channel="Climate/temperature", since=standin.last_arrival(), timeout=60)[2:]
        assert {row.value for row in rows} == {TEMPERATURE}
        gaps = [later.at - earlier.at for earlier, later in zip(rows, rows[1:])]
        assert min(gaps) >= 600, "a reading has at least three transfers"
        shown = sensor(vm, "climate")
        assert (shown["State"], shown["LastError"], shown["Restarts"]) == ("running", "", 0)
        figure(f"i2c: 200 ms a transfer: no error, a reading every {min(gaps)} to {max(gaps)} ms")


def follow(vm, done, timeout=60):
    """State and LastError as they change, each with the seconds since now, until done(shown)."""
    story, begin = [], time.monotonic()

    def look():
        shown = sensor(vm, "climate")
        if not story or story[-1][1:] != (shown["State"], shown["LastError"]):
            story.append((time.monotonic() - begin, shown["State"], shown["LastError"]))
        return done(shown)
    wait_for(look, "what is followed comes to its end", timeout, 0.3)
    return story


@pytest.mark.parametrize("delay_sec", [12, 600])
def test_hang_in_a_transfer(vm, bus, plugd, standin, beside, figure, delay_sec):
    """Warned of after 10 s, killed after 15 s. The kernel lets a worker go only when its transfer has ended, and until then there
    is no other one. 12 s end by themselves; at 600 s the bus is torn out, and put back."""
    bus.allow()
    plugd(climate(bus, interval=0.5), COUNTER)
    wait_mended(vm, standin)
    daemon, worker = vm.out("systemctl show -P MainPID plugd"), sensor(vm, "climate")["ProcessId"]
    title = f"{delay_sec} s a transfer"
    with beside(title):
        bus.tell("delay", delay_sec * 1000)
        story = follow(vm, lambda shown: shown["State"] == "stuck")
        for when, state, error in story:
            figure(f"i2c: {title}: {when:.1f} s: {state}: {error or 'no error'}")
        silent = [when for when, state, error in story if state == "silent" and "no answer from its worker for 10 s" in error]
        # A look takes a second or two on a busy machine.
        assert silent and 9 <= silent[0] < 18 and silent[0] < story[-1][0] < 35
        if delay_sec == 12:
            bus.tell("none")
        else:
            assert f"worker {worker} was killed but does not end" in story[-1][2]
            vm.run("sleep 8")
            assert vm.out(f"cut -d' ' -f3 /proc/{worker}/stat") == "D"
            assert vm.out(f"pgrep -c -P {daemon}") == "2", "there is no other worker beside it"
            bus.stop()
            figure(f"i2c: {title}, bus torn out: {wait_error(vm, 'there is no bus 9')}")
            assert vm.run(f"test -e /proc/{worker}", check=False).status != 0
            bus.start()
        begin = time.monotonic()
        assert wait_value(standin, timeout=90).value == TEMPERATURE
        figure(f"i2c: {title}: values again {time.monotonic() - begin:.1f} s after its end")
        wait_sensor(vm, State="running")
    assert sensor(vm, "climate")["Restarts"] >= 1
    assert vm.out("systemctl show -P MainPID plugd") == daemon
