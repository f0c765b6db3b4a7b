# SPDX-License-Identifier: Apache-2.0
"""The bme280 plugin on the kernel's i2c-stub: values against the data sheet and the kernel's own driver, order and times, and
what goes wrong with a chip or a bus. (test_i2c_faults.py: what goes wrong on the wires.)"""

import re

import pytest
from gateway import in_time, sensor, status
from harness import wait_for
from i2c_bench import CHIP, SHEET, UNMEASURED, Raw, Reading, Stub, climate, data_sheet, image, raw_for, wait_error, wait_mended, wait_sensor

# The data sheet's example: 25.08 °C and 1006.53 hPa.
EXAMPLE = Raw(519888, 415148)
GOOD = image(SHEET, EXAMPLE)

# Temperature, pressure: the chip's limits and between them.
PLACES = [(-39.9, 1099.5), (-39.9, 300.5), (-17.3, 611.7), (-0.01, 1013.25), (0.01, 870), (21.37, 999.99), (25.08, 1084.8), (49.6, 500), (84.9, 300.5), (84.9, 1099.5)]
HUMIDITIES = [0, 3.2, 12.5, 27.1, 38, 50.5, 64, 81.9, 95, 100]


@pytest.fixture
def stub(vm):
    """Asked for before plugd: unloaded after it has ended."""
    made = Stub(vm).load(0x76, 0x77)
    yield made
    made.unload()


def published(standin, since, quantities, channel="Climate"):
    """The next value of each; all of one measurement, as they have one time."""
    rows = [standin.wait_arrivals(1, channel=f"{channel}/{quantity}", since=since, timeout=30)[0] for quantity in quantities]
    assert len({row.at for row in rows}) == 1
    return Reading(*(row.value for row in rows))


def table(figure, title, rows, quantities):
    """rows: (published, data sheet, kernel). Returns the largest deviation of each quantity: from the data sheet, from the kernel."""
    figure(f"i2c: {title}: published / data sheet / kernel's driver")
    worst = {quantity: [0.0, 0.0] for quantity in quantities}
    for row in rows:
        cells = []
        for quantity in quantities:
            ours, sheet, kernel = (getattr(one, quantity) for one in row)
            worst[quantity] = [max(worst[quantity][0], abs(ours - sheet)), max(worst[quantity][1], abs(ours - kernel))]
            cells.append(f"{ours:.10g} / {sheet:.4f} / {kernel:.4f}")
        figure(f"        {'    '.join(cells)}")
    figure("        largest deviations: " + ", ".join(f"{quantity} {sheet:.4f} and {kernel:.4f}" for quantity, (sheet, kernel) in worst.items()))
    return worst


@pytest.mark.parametrize("chip", ["bmp280", "bme280"])
def test_values(vm, stub, plugd, standin, figure, chip):
    """For each image of registers: what is published, the data sheet's formulas, and the kernel's driver on the same registers,
    while the sensor waits for its interval."""
    quantities = ["temperature", "pressure"] + ["humidity"] * (chip == "bme280")
    calibration = SHEET if chip == "bmp280" else CHIP
    if chip == "bmp280":
        raws = [EXAMPLE] + [raw_for(SHEET, *place) for place in PLACES]
    else:
        raws = [raw_for(CHIP, *place, humidity) for place, humidity in zip(PLACES, HUMIDITIES)]
    stub.write(*image(calibration, raws[0]))
    plugd(climate(stub))
    rows = []
    for i, raw in enumerate(raws):
        since = 0
        if i > 0:
            stub.write(*image(calibration, raw))
            since = standin.last_arrival()
            vm.run("plugctl restart climate")
        rows.append((published(standin, since, quantities), data_sheet(calibration, raw), stub.kernel(chip)))
    worst = table(figure, chip, rows, quantities)
    if chip == "bmp280":
        assert rows[0][0] == Reading(25.08, 1006.533)
        assert (rows[0][2].temperature, round(rows[0][2].pressure, 5)) == (25.08, 1006.53254)
        assert not standin.arrivals(channel="Climate/humidity"), "a BMP280 has none"
    # Published is what the formulas say, rounded. The kernel reckons in whole numbers: hundredths of a degree, cut off.
    assert worst["temperature"][0] <= 0.00501 and worst["temperature"][1] <= 0.0101
    assert worst["pressure"][0] <= 0.000501 and worst["pressure"][1] <= 0.02
    if chip == "bme280":
        assert worst["humidity"][0] <= 0.00501 and worst["humidity"][1] <= 0.03
    assert sensor(vm, "climate")["LastError"] == ""


def test_order_and_times(vm, stub, plugd, standin, figure):
    """Other registers every 0.5 s, read every 0.1 s: each image is published, in order, with a time at which it was there."""
    temperatures = [20, -30, 60, 19.99, 20.01, 0, -0.01, 84, -39, 25, 24, 23, 22, 21, 20]
    raws = [raw_for(SHEET, t, 950 + i) for i, t in enumerate(temperatures)]
    begin = Raw(400000, 400000)
    stub.write(*image(SHEET, begin))
    plugd(climate(stub, interval=0.1))
    standin.wait_arrivals(2, channel="Climate/pressure", timeout=30)
    since = standin.last_arrival()
    times = stub.play([[0x76, [[0xF7, raw.bytes()]]] for raw in raws], pause=0.5)
    last = round(data_sheet(SHEET, raws[-1]).temperature, 2)
    wait_for(lambda: sensor(vm, "climate")["Values"]["Climate/temperature"] == last, "the last one is read", 30)
    vm.run("sleep 1")
    end = times[-1][1] + 500
    columns = {quantity: [row for row in standin.arrivals(channel=f"Climate/{quantity}", since=since) if times[0][0] <= row.at <= end]
               for quantity in ("temperature", "pressure")}
    images = [data_sheet(SHEET, raw) for raw in (begin, *raws)]
    # What was there when: from just before the change to just after the next.
    changes = [(0, 0), *times, (float("inf"), float("inf"))]
    late = 0
    for quantity, rows in columns.items():
        ats = [row.at for row in rows]
        assert all(later > earlier for earlier, later in zip(ats, ats[1:])), "the times increase strictly"
        at_image, seen = 0, set()
        for row in rows:
            while abs(row.value - getattr(images[at_image], quantity)) > 0.0051:
                at_image += 1
                assert at_image < len(images), f"{row.value} is none of the images, or comes in another order"
            seen.add(at_image)
            assert changes[at_image][0] - 1 <= row.at, (at_image, row.at)
            # The time is taken just after the registers were read.
            late = max(late, row.at - changes[at_image + 1][1])
        # A busy machine may not come to read within one image's half second.
        missed = set(range(1, len(images))) - seen
        assert not [(i, at) for i in missed for at in ats if changes[i][1] < at < changes[i + 1][0]], "what was read then is missing"
        assert len(missed) < len(raws) / 2
    assert [row.at for row in columns["temperature"]] == [row.at for row in columns["pressure"]]
    ats = [row.at for row in columns["temperature"]]
    gaps = sorted(later - earlier for earlier, later in zip(ats, ats[1:]))
    figure(f"i2c: {len(raws)} images, one each 0.5 s, {len(raws) - len(missed)} of them read: {len(ats)} readings in order, times "
           f"{gaps[0]:g} to {gaps[-1]:g} ms apart (median {gaps[len(gaps) // 2]:g}); latest time after an image's end {max(late, 0):.1f} ms")
    assert late < 50
    assert 90 <= gaps[len(gaps) // 2] <= 110


def test_the_kernels_driver_has_it(vm, stub, plugd, standin, figure):
    stub.write(*GOOD)
    stub.bind("bmp280")
    plugd(climate(stub, interval=0.5))
    error = wait_error(vm, f"0x76 on bus {stub.number} is in use by the kernel's driver bmp280")
    assert f"echo {stub.number}-0076 > /sys/bus/i2c/drivers/bmp280/unbind" in error
    figure(f"i2c: kernel's driver bound: {error}")
    pid = sensor(vm, "climate")["ProcessId"]
    # As it says.
    vm.run(f"echo {stub.number}-0076 > /sys/bus/i2c/drivers/bmp280/unbind")
    assert wait_mended(vm, standin).value == 25.08
    stub.unbind()
    # One that comes while the sensor is read has the chip for itself from then on.
    stub.bind("bmp280")
    assert wait_error(vm, "is in use by the kernel's driver bmp280") == error
    since, registers = standin.last_arrival(), vm.out(f"i2cdump -f -y {stub.number} 0x76 b")
    stub.write((0xF4, b"\x00"), (0xF5, b"\x00"))
    written = vm.out(f"i2cdump -f -y {stub.number} 0x76 b")
    vm.run("sleep 5")
    assert vm.out(f"i2cdump -f -y {stub.number} 0x76 b") == written != registers
    assert not standin.arrivals(channel="Climate/temperature", since=since)
    stub.unbind()
    assert wait_mended(vm, standin).value == 25.08
    assert sensor(vm, "climate")["ProcessId"] == pid


def test_buses_that_come_and_go(vm, stub, plugd, standin, figure):
    """No such bus; a bus that comes after plugd, without the chip; and with it."""
    stub.unload()
    plugd(climate(stub, address=0x77, interval=0.5), climate(7, "seven"))
    daemon = vm.out("systemctl show -P MainPID plugd")
    others = [int(name) for name in re.findall(r"i2c-(\d+)", vm.out("ls /sys/bus/i2c/devices"))]
    for name, number in (("climate", stub.number), ("seven", 7)):
        error = wait_error(vm, f"there is no bus {number}, but {' and '.join(map(str, others))};", name=name)
        figure(f"i2c: no bus: {error}")
    assert Stub(vm).load(0x76).number == stub.number
    # By udev, without a hand.
    assert vm.out(f"stat -c '%G %a' {stub.device}") == "i2c 660"
    error = wait_error(vm, f"no answer at 0x77 on bus {stub.number}")
    figure(f"i2c: no chip: {error}")
    stub.unload()
    stub.load(0x76, 0x77)
    stub.write(*GOOD, address=0x77)
    assert wait_mended(vm, standin, timeout=90).value == 25.08
    assert f"but {' and '.join(map(str, sorted([*others, stub.number])))};" in wait_error(vm, "there is no bus 7", name="seven")
    assert vm.out("systemctl show -P MainPID plugd") == daemon


# What a chip's registers may say, and what is said of it then. Settings that are gone make it be set up again.
LOST = (0xF4, bytes(1))
ILL = {
    "another chip": ([(0xD0, b"\x61"), LOST], "not a BME280 or BMP280: id 0x61 at 0x76 on bus {bus} (that is a BME680 or BME688)"),
    "no chip": ([(0xD0, b"\xff"), LOST], "id 0xff at 0x76 on bus {bus} (which is none: are the wires well connected?)"),
    "no calibration": ([(0x88, bytes(26)), LOST], "the sensor at 0x76 on bus {bus} has no calibration"),
    "copies for ever": ([(0xF3, b"\x01"), LOST], "the sensor at 0x76 on bus {bus} does not start"),
    "measures for ever": ([(0xF3, b"\x08")], "the sensor at 0x76 on bus {bus} does not come to an end with measuring"),
    "no temperature": ([(0xF7, Raw(UNMEASURED, UNMEASURED).bytes())], "the sensor at 0x76 on bus {bus} has not measured the temperature"),
    "no pressure": ([(0xF7, Raw(EXAMPLE.temperature, UNMEASURED).bytes())], "the sensor at 0x76 on bus {bus} has not measured the pressure"),
    "too hot": ([(0xF7, Raw(1000000, EXAMPLE.pressure).bytes())], "can measure only -40 to 85 °C"),
}


def test_ill_chips_beside_a_good_one(vm, stub, plugd, standin, figure):
    """Two instances on one bus. The one at 0x76 falls ill and recovers; the one at 0x77 doesn't notice."""
    stub.write(*GOOD)
    stub.write(*GOOD, address=0x77)
    plugd(climate(stub, interval=0.5), climate(stub, "neighbour", address=0x77, interval=0.2))
    wait_mended(vm, standin, "neighbour")
    before = sensor(vm, "neighbour")
    for title, (blocks, words) in ILL.items():
        stub.write(*blocks)
        error = wait_error(vm, words.format(bus=stub.number))
        figure(f"i2c: {title}: {error}")
        stub.write(*GOOD)
        assert wait_mended(vm, standin).value == 25.08
    after = sensor(vm, "neighbour")
    assert (after["ProcessId"], after["Restarts"], after["LastError"], after["State"]) == (before["ProcessId"], before["Restarts"], "", "running")
    rows = in_time(standin.arrivals(channel="Neighbour/temperature"))
    assert {row.value for row in rows} == {25.08}
    longest = max(later.at - earlier.at for earlier, later in zip(rows, rows[1:]))
    figure(f"i2c: the neighbour at 0x77 meanwhile: {len(rows)} readings, at most {longest} ms apart")
    assert longest < 3000  # a busy machine


def test_permission(vm, stub, plugd, standin, figure):
    stub.write(*GOOD)
    plugd(climate(stub, interval=0.5))
    assert wait_mended(vm, standin).value == 25.08
    daemon = vm.out("systemctl show -P MainPID plugd")
    for command, words in ((f"chmod 0600 {stub.device}; chgrp root {stub.device}", "give it to a group that plugd's user is in, with a rule for udev"),
                           (f"chgrp disk {stub.device}; chmod 0660 {stub.device}", "it is for group disk: make plugd's user a member of it")):
        vm.run(f"{command}; plugctl restart climate")
        error = wait_error(vm, f"no permission to use {stub.device}", words)
        figure(f"i2c: no permission: {error}")
        # udev's rules say it again.
        vm.run(f"udevadm trigger --action=add {stub.device} && udevadm settle --timeout=20")
        assert vm.out(f"stat -c '%G %a' {stub.device}") == "i2c 660"
        assert wait_mended(vm, standin).value == 25.08
    assert vm.out("systemctl show -P MainPID plugd") == daemon
    assert status(vm)["State"] == "online"
    wait_sensor(vm, LastError="")
