# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: changes registers of chips on a bus (the kernel's i2c-stub), and writes down when.

    registers.py DEVICE PAUSE <CHANGES

CHANGES is JSON: [[address, [[first register, [byte, …]], …]], …], one change each PAUSE seconds. Each block of up to 32 bytes
is written at once, so that nobody reads half of it. Prints JSON: [ms just before, ms just after] each, since 1970."""

import ctypes
import fcntl
import json
import os
import sys
import time

I2C_SLAVE_FORCE, I2C_SMBUS = 0x0706, 0x0720  # a driver of the kernel may have the chip
WRITE, BLOCK_DATA = 0, 8


class Request(ctypes.Structure):
    _fields_ = [("read_write", ctypes.c_uint8), ("command", ctypes.c_uint8), ("size", ctypes.c_uint32), ("data", ctypes.c_void_p)]


def write(device, first, numbers):
    data = (ctypes.c_uint8 * 34)(len(numbers), *numbers)
    fcntl.ioctl(device, I2C_SMBUS, Request(WRITE, first, BLOCK_DATA, ctypes.addressof(data)))


def main():
    device, pause, times = os.open(sys.argv[1], os.O_RDWR), float(sys.argv[2]), []
    due = time.monotonic()
    for address, blocks in json.load(sys.stdin):
        time.sleep(max(due - time.monotonic(), 0))
        due = time.monotonic() + pause
        fcntl.ioctl(device, I2C_SLAVE_FORCE, address)
        before = time.time_ns()
        for first, numbers in blocks:
            write(device, first, numbers)
        times.append([before / 1e6, time.time_ns() / 1e6])
    print(json.dumps(times))


main()
