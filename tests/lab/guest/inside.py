# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: what a process that is running may open. Prints JSON: path to "ok" or the error's name.

    inside.py PID PATH…

It makes the process itself do it, as a debugger does: the process is stopped in the system call that it waits in, does
others instead, and goes on waiting. For x86-64."""

import ctypes
import errno
import json
import os
import sys

PEEK, POKE, STEP, GETREGS, SETREGS, DETACH, SEIZE, INTERRUPT = 2, 5, 9, 12, 13, 17, 0x4206, 0x4207
OPENAT, CLOSE = 257, 3
AT_FDCWD = 2**64 - 100
SYSCALL = b"\x0f\x05"

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()]


def ptrace(request, pid, address=0, data=0):
    ctypes.set_errno(0)
    result = libc.ptrace(request, pid, address, data)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}")
    return result


def call(pid, saved, number, *arguments):
    registers = Registers.from_buffer_copy(saved)
    registers.rax, registers.orig_rax, registers.rip = number, 2**64 - 1, saved.rip - len(SYSCALL)
    for name, argument in zip(("rdi", "rsi", "rdx", "r10"), arguments):
        setattr(registers, name, argument)
    ptrace(SETREGS, pid, 0, ctypes.addressof(registers))
    ptrace(STEP, pid)
    os.waitpid(pid, 0x40000000)
    ptrace(GETREGS, pid, 0, ctypes.addressof(registers))
    return ctypes.c_int64(registers.rax).value


def attempt(pid, saved, path):
    place = (saved.rsp - 4096) & ~7
    data = path.encode() + b"\0"
    data += bytes(-len(data) % 8)
    for i in range(0, len(data), 8):
        ptrace(POKE, pid, place + i, int.from_bytes(data[i:i + 8], "little"))
    result = call(pid, saved, OPENAT, AT_FDCWD, place, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK, 0)
    if result >= 0:
        call(pid, saved, CLOSE, result)
    return "ok" if result >= 0 else errno.errorcode[-result]


def main():
    pid, saved = int(sys.argv[1]), Registers()
    ptrace(SEIZE, pid)
    ptrace(INTERRUPT, pid)
    os.waitpid(pid, 0x40000000)
    ptrace(GETREGS, pid, 0, ctypes.addressof(saved))
    try:
        before = ptrace(PEEK, pid, saved.rip - len(SYSCALL)) & 0xFFFF
        if before.to_bytes(2, "little") != SYSCALL:
            sys.exit("the process is not in a system call")
        found = {path: attempt(pid, saved, path) for path in sys.argv[2:]}
    finally:
        ptrace(SETREGS, pid, 0, ctypes.addressof(saved))
        ptrace(DETACH, pid)
    print(json.dumps(found))


main()
