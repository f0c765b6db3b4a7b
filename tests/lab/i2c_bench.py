# SPDX-License-Identifier: Apache-2.0
"""What the tests of the bme280 plugin share: chips as images of registers, with what they should read by the data sheet's
formulas; the two kinds of bus; and how sensors are waited for."""

import json
import struct
from contextlib import contextmanager
from dataclasses import dataclass

import gateway

DROP_IN = "/run/systemd/system/plugd.service.d"
PLAY = "/opt/lab/guest/registers.py"


# --- chips -----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Calibration:
    """By the data sheet's names; `h` is empty for a BMP280."""
    t: tuple
    p: tuple
    h: tuple = ()

    def registers(self):
        """Each block as (first register, bytes)."""
        first = struct.pack("<Hhh H8h", *self.t, *self.p) + bytes([0, self.h[0] if self.h else 0])
        blocks = [(0x88, first)]
        if self.h:
            _, h2, h3, h4, h5, h6 = self.h
            blocks.append((0xE1, struct.pack("<hBbBbb", h2, h3, h4 >> 4, (h4 & 15) | (h5 & 15) << 4, h5 >> 4, h6)))
        return blocks


# The data sheet's own example, and one such as chips have.
SHEET = Calibration((27504, 26435, -1000), (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000))
CHIP = Calibration((28485, 26735, 50), (36738, -10635, 3024, 6980, -4, -7, 12300, -12000, 5000), (75, 370, 0, 313, 50, 30))
UNMEASURED = 0x80000


@dataclass(frozen=True)
class Reading:
    temperature: float  # °C
    pressure: float  # hPa
    humidity: float = None  # %


@dataclass(frozen=True)
class Raw:
    temperature: int
    pressure: int
    humidity: int = None

    def bytes(self):
        """The data registers, from 0xF7 on."""
        data = (self.pressure << 4).to_bytes(3, "big") + (self.temperature << 4).to_bytes(3, "big")
        return data if self.humidity is None else data + self.humidity.to_bytes(2, "big")


def data_sheet(c, raw):
    """The formulas in double precision of BST-BME280-DS002 and BST-BMP280-DS001 (Bosch), chapter 8.1, step by step as there."""
    t1, t2, t3 = c.t
    p1, p2, p3, p4, p5, p6, p7, p8, p9 = c.p
    fine = (raw.temperature / 16384 - t1 / 1024) * t2 + (raw.temperature / 131072 - t1 / 8192) ** 2 * t3
    var1 = fine / 2 - 64000
    var2 = (var1 * var1 * p6 / 32768 + var1 * p5 * 2) / 4 + p4 * 65536
    var1 = (1 + (p3 * var1 * var1 / 524288 + p2 * var1) / 524288 / 32768) * p1
    pressure = (1048576 - raw.pressure - var2 / 4096) * 6250 / var1
    pressure += (p9 * pressure * pressure / 2147483648 + pressure * p8 / 32768 + p7) / 16
    if raw.humidity is None:
        return Reading(fine / 5120, pressure / 100)
    h1, h2, h3, h4, h5, h6 = c.h
    x = fine - 76800
    humidity = (raw.humidity - (h4 * 64 + h5 / 16384 * x)) * (h2 / 65536 * (1 + h6 / 67108864 * x * (1 + h3 / 67108864 * x)))
    return Reading(fine / 5120, pressure / 100, min(max(humidity * (1 - h1 * humidity / 524288), 0), 100))


def _bisect(holds, size):
    """The smallest number below `size` for which it holds."""
    low, high = 0, size - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def raw_for(c, temperature, pressure, humidity=None):
    """What a chip measures at this."""
    t = _bisect(lambda n: data_sheet(c, Raw(n, 0)).temperature >= temperature, 1 << 20)
    p = _bisect(lambda n: data_sheet(c, Raw(t, n)).pressure <= pressure, 1 << 20)
    if humidity is None:
        return Raw(t, p)
    return Raw(t, p, _bisect(lambda n: data_sheet(c, Raw(t, p, n)).humidity >= humidity, 1 << 16))


def image(c, raw, chip_id=None):
    """All of a chip's registers, as blocks."""
    return [(0xD0, bytes([chip_id or (0x60 if c.h else 0x58)])), *c.registers(), (0xF2, bytes(4)), (0xF7, raw.bytes())]


# --- buses -----------------------------------------------------------------------------------------------------------

class Stub:
    """The kernel's i2c-stub: SMBus only, and its own drivers take its chips."""

    def __init__(self, vm):
        self.vm, self.number = vm, None

    def load(self, *addresses):
        self.number = self.vm.guest("i2c", "load", *(f"{address:#x}" for address in addresses))
        return self

    def unload(self):
        """Whoever has it open has to let go of it first."""
        self.vm.wait_for("! test -e /sys/module/i2c_stub || modprobe -r i2c-stub", 90, "i2c-stub can be unloaded")

    @property
    def device(self):
        return f"/dev/i2c-{self.number}"

    def write(self, *blocks, address=0x76):
        self.play([[address, blocks]])

    def play(self, changes, pause=0.0):
        """changes: [address, blocks]…, one each `pause` seconds. Returns ms since 1970 just before and just after each."""
        text = json.dumps([[address, [[first, list(data)] for first, data in blocks]] for address, blocks in changes])
        return json.loads(self.vm.out(["python3", PLAY, self.device, str(pause)], input=text, timeout=60 + pause * len(changes)))

    def bind(self, chip, address=0x76):
        """The kernel's own driver."""
        adapter, place = f"/sys/bus/i2c/devices/i2c-{self.number}", f"/sys/bus/i2c/devices/{self.number}-{address:04x}"
        self.vm.run(f"echo {chip} {address:#x} >{adapter}/new_device && until test -e {place}/iio:device*/name; do sleep 0.05; done", timeout=30)
        return place

    def unbind(self, address=0x76):
        self.vm.run(f"echo {address:#x} >/sys/bus/i2c/devices/i2c-{self.number}/delete_device")

    def kernel(self, chip, address=0x76):
        """What the kernel's driver reads from the registers."""
        place = self.bind(chip, address)
        try:
            names = ["temp", "pressure"] + ["humidityrelative"] * (chip == "bme280")
            values = [float(word) for word in self.vm.out(f"cd {place}/iio:device* && cat {' '.join(f'in_{name}_input' for name in names)}").split()]
        finally:
            self.unbind(address)
        return Reading(values[0] / 1000, values[1] * 10, values[2] / 1000 if len(values) > 2 else None)


class Cuse:
    """A bus of user space (cuse-i2c): combined transfers, and faults. udev knows nothing of it, nor does the service."""
    number, device, unit, socket = 9, "/dev/i2c-9", "cuse-i2c", "/run/cuse-i2c"

    def __init__(self, vm, **chips):
        """chips: c0x76=image…"""
        self.vm = vm
        self.arguments = []
        for name, blocks in chips.items():
            memory = bytearray(256)
            for first, data in blocks:
                memory[first:first + len(data)] = data
            path = f"/tmp/chip-{name[1:]}"
            vm.put("\n".join(memory[i:i + 16].hex(" ") for i in range(0, 256, 16)) + "\n", path)
            self.arguments.append(f"{name[1:]}={path}")

    def start(self):
        """The group is what a udev rule gives to a bus of the kernel."""
        self.vm.run(f"modprobe cuse && systemctl reset-failed {self.unit} 2>/dev/null; "
                    f"systemd-run -q --collect --unit={self.unit} /opt/lab/bin/cuse-i2c {self.number} {self.socket} {' '.join(self.arguments)} && "
                    f"until test -c {self.device} && /opt/lab/bin/cuse-i2c --tell {self.socket} none; do sleep 0.1; done 2>/dev/null; "
                    f"chgrp i2c {self.device} && chmod 660 {self.device}", timeout=30)
        return self

    def stop(self):
        """As if it had been torn out; whoever waits for it gets an error."""
        self.vm.run(f"systemctl kill -s KILL {self.unit} 2>/dev/null; while test -e {self.device}; do sleep 0.1; done", timeout=30)

    def tell(self, *words):
        self.vm.run(["/opt/lab/bin/cuse-i2c", "--tell", self.socket, *map(str, words)])

    def allow(self):
        """For plugd's service; from its next start on."""
        self.vm.run(f"mkdir -p {DROP_IN} && printf '[Service]\\nDeviceAllow=%s rw\\n' {self.device} >{DROP_IN}/i2c.conf && systemctl daemon-reload")

    def forbid(self):
        self.vm.run(f"rm -f {DROP_IN}/i2c.conf; systemctl daemon-reload")

    @contextmanager
    def fault(self, *words):
        self.tell(*words)
        try:
            yield
        finally:
            self.tell("none")


# --- sensors ---------------------------------------------------------------------------------------------------------

def climate(bus, name="climate", **options):
    """A sensor whose interval doesn't come while a test runs, if it isn't given."""
    return {"name": name, "plugin": "bme280", "channel": name.capitalize(), "bus": getattr(bus, "number", bus), "interval": 3600, **options}


def wait_sensor(vm, name="climate", timeout=60.0, **properties):
    return gateway.wait_sensor(vm, name, timeout, **properties)


def wait_error(vm, *texts, name="climate", timeout=60.0):
    return gateway.wait_error(vm, name, *texts, timeout=timeout)


def wait_value(standin, name="climate", timeout=60.0):
    """Until one more has come; returns its row."""
    return standin.wait_arrivals(1, channel=f"{name.capitalize()}/temperature", since=standin.last_arrival(), timeout=timeout)[0]


def wait_mended(vm, standin, name="climate", timeout=60.0):
    """Until a value has come, and nothing is wrong any more. Returns the value's row."""
    row = wait_value(standin, name, timeout)
    wait_sensor(vm, name, State="running", LastError="")
    return row
