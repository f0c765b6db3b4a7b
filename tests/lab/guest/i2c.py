# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: a simulated I2C bus (the kernel's i2c-stub, SMBus only). Prints JSON.

    i2c.py load ADDRESS…                           a bus with chips of 256 registers there; prints its number
    i2c.py unload
    i2c.py bus                                     its number
    i2c.py bytes ADDRESS REGISTER BYTE…            registers as bytes, from REGISTER on
    i2c.py words ADDRESS REGISTER WORD…            registers as words (an lm75 has its temperature in word 0, bytes swapped)
    i2c.py get ADDRESS REGISTER COUNT              bytes read back

Numbers may be hexadecimal. The chip has bytes and words in the same place: the low byte of word N is byte N."""

import ctypes
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

I2C_SLAVE, I2C_SMBUS = 0x0703, 0x0720
READ, WRITE = 1, 0
BYTE_DATA, WORD_DATA = 2, 3


class Request(ctypes.Structure):
    _fields_ = [("read_write", ctypes.c_uint8), ("command", ctypes.c_uint8), ("size", ctypes.c_uint32), ("data", ctypes.c_void_p)]


def bus():
    for adapter in Path("/sys/bus/i2c/devices").glob("i2c-*"):
        if (adapter / "name").exists() and (adapter / "name").read_text().startswith("SMBus stub driver"):
            return int(adapter.name[4:])
    sys.exit("i2c-stub is not loaded")


def load(*addresses):
    unload()
    subprocess.run(["modprobe", "i2c-dev"], check=True)
    subprocess.run(["modprobe", "i2c-stub", f"chip_addr={','.join(addresses)}"], check=True)
    device, deadline = Path(f"/dev/i2c-{bus()}"), time.monotonic() + 20
    while not device.exists():
        if time.monotonic() > deadline:
            sys.exit(f"{device} doesn't appear")
        time.sleep(0.02)
    subprocess.run(["udevadm", "settle", "--timeout=20"], check=True)
    return bus()


def unload():
    if Path("/sys/module/i2c_stub").exists():
        subprocess.run(["modprobe", "-r", "i2c-stub"], check=True)


def transfer(address, requests):
    """requests: (READ or WRITE, register, size, value). Returns the values."""
    values = []
    device = os.open(f"/dev/i2c-{bus()}", os.O_RDWR)
    try:
        fcntl.ioctl(device, I2C_SLAVE, int(address, 0))
        for direction, register, size, number in requests:
            data = (ctypes.c_uint8 * 34)(number & 0xFF, number >> 8)
            request = Request(direction, register, size, ctypes.addressof(data))
            fcntl.ioctl(device, I2C_SMBUS, request)
            values.append(data[0] if size == BYTE_DATA else data[0] | data[1] << 8)
    finally:
        os.close(device)
    return values


def put_bytes(address, register, *numbers):
    transfer(address, [(WRITE, int(register, 0) + i, BYTE_DATA, int(n, 0)) for i, n in enumerate(numbers)])


def put_words(address, register, *numbers):
    transfer(address, [(WRITE, int(register, 0) + i, WORD_DATA, int(n, 0)) for i, n in enumerate(numbers)])


def get(address, register, count):
    return transfer(address, [(READ, int(register, 0) + i, BYTE_DATA, 0) for i in range(int(count))])


def main():
    verb = {"load": load, "unload": unload, "bus": bus, "bytes": put_bytes, "words": put_words, "get": get}[sys.argv[1]]
    print(json.dumps(verb(*sys.argv[2:])))


main()
