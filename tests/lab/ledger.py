# SPDX-License-Identifier: Apache-2.0
"""What a simulated counter in the lab's machine handed over, life by life, against what has arrived (lives.py).

What a worker handed over is known from two sides: the kernel's trace has each write of the worker to the daemon, and the
daemon says how many samples it has taken and made safe. (Not strace: a traced worker's end reaches its parent late.)
"""

import contextlib
import re

import lives
from harness import wait_for

NAME = "com.cloudplugs.Gateway1"
PATH = "/com/cloudplugs/Gateway1"
COUNTER = {"name": "count", "plugin": "sim", "channel": "Count", "interval": 0.02}

# In the guest: a property of the counter's sensor.
ASK = f"ask() {{ busctl get-property {NAME} {PATH}/sensors/{COUNTER['name']} {NAME}.Sensor \"$1\" 2>/dev/null | cut -d' ' -f2; }}; "
TRACE = "/sys/kernel/tracing/instances/ledger"
FILE = "/root/ledger"
# The frames of a counter's worker (daemon/wire.h): HELLO and OPENED once, then one for each sample; ALIVE when it is late.
HELLO = 4 + 1 + 4 + 4
OPENED = 4 + 1 + 4 + (4 + len("value") + 1) + (4 + len("") + 1) + 4 + 4
SAMPLE = 4 + 1 + 4 + 8 + 1 + 8
ALIVE = 4 + 1


class Ledger:
    """Made before the counter, which is the only sensor then."""

    def __init__(self, machine, platform, channel=COUNTER["channel"]):
        self.machine, self.platform, self.channel = machine, platform, channel
        self.ends = []
        self._worker = 0
        # Who writes it down has no part in the machine's end, and sees all of the service's.
        machine.run(f"mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; mkdir {TRACE} && cd {TRACE} && "
                    "echo 4096 >buffer_size_kb && echo 'comm == \"plugd-worker\"' >events/syscalls/sys_exit_write/filter && "
                    "echo 1 >events/syscalls/sys_exit_write/enable && "
                    f"systemd-run -q --collect --unit=ledger -p DefaultDependencies=no sh -c 'exec cat {TRACE}/trace_pipe >{FILE}'")

    def close(self):
        self.machine.run(f"systemctl stop ledger; rmdir {TRACE}; rm {FILE}")

    def watch(self):
        """Waits for the life of now to begin."""
        self._worker = int(self.machine.out(
            ASK + f"until pid=$(ask ProcessId); [ ${{pid:-0}} -gt 0 ] && [ $pid != {self._worker} ] && [ $(ask Samples) -gt 0 ]; do sleep 0.1; done; "
            "echo $pid", timeout=120))

    def take(self, n):
        """Waits until the daemon has taken as many more samples."""
        self.machine.run(ASK + f"n=$(($(ask Samples) + {n})); until [ $(ask Samples) -ge $n ]; do sleep 0.1; done", timeout=120)

    def end(self, how, command, orderly):
        """Ends the life by a command in the guest; the next has begun on return."""
        samples = int(self.machine.out(ASK + f"ask Samples; {{ {command}; }} >/dev/null", timeout=120))
        self.note(how, samples, orderly)
        self.watch()

    def note(self, how, samples, orderly, rebooted=False):
        self.ends.append(lives.End(how, orderly, samples, self._written(rebooted)))

    def _written(self, rebooted):
        """How many samples the worker has written, up to its end."""
        if not rebooted:
            mark = f"end-{len(self.ends)}"
            self.machine.run(f"while [ -d /proc/{self._worker} ]; do sleep 0.1; done; echo {mark} >{TRACE}/trace_marker; "
                             f"until grep -q {mark} {FILE}; do sleep 0.1; done")
        results = re.findall(rf"plugd-worker-{self._worker}\s.* sys_write -> (0x[0-9a-f]+)", self.machine.out(f"cat {FILE}"))
        written = sum(result for result in (int(text, 16) for text in results) if result < 1 << 31 and result != ALIVE)
        samples, rest = divmod(written - HELLO - OPENED, SAMPLE)
        assert samples > 0 and rest == 0, f"the trace has {written} bytes of worker {self._worker}, which are no whole frames"
        return samples

    def arrived(self):
        """The lives as they arrived, and how many copies of what had come before."""
        return lives.read(self.platform.query("SELECT id, at, data FROM arrivals WHERE channel = ? AND fate = 'stored' ORDER BY seq", self.channel))

    def check(self, figure, title):
        """Waits until the life of now has reached the server, behind all those before it."""
        def judged():
            found, copies = self.arrived()
            assert len(found) == len(self.ends) + 1 and found[-1][:3] == [0, 1, 2], "the life of now has not begun to arrive"
            assert found[-1] == list(range(len(found[-1]))), f"the life of now has a gap: {lives.gap(found[-1])}"
            return found, copies, lives.match(found[:-1], self.ends)

        def all_there():
            # What is newest overtakes a backlog.
            with contextlib.suppress(AssertionError):
                return judged()
            return None
        with contextlib.suppress(AssertionError):  # judged() says what is missing
            wait_for(all_there, "all has arrived", 120, 0.5)
        found, copies, unread = judged()
        figure(f"{title}: {sum(map(len, found[:-1]))} samples, ended by {', '.join(end.how for end in self.ends)}: 0 lost, {copies} came twice"
               + (f"; still in the socket of the daemon that was killed: {', '.join(map(str, unread))}" if unread else ""))
