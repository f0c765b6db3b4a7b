# SPDX-License-Identifier: Apache-2.0
"""What a simulated counter handed over, life by life, against what has arrived: nothing may be missing.

A worker's life begins at 0 and ends with its daemon. What it handed over is known from two sides: the kernel's trace has
each write of the worker to the daemon, and the daemon says how many samples it has taken and made safe. (Not strace: a
traced worker's end reaches its parent late.)
"""

import re

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
        self.ends = []  # how, whether in good order, samples that the daemon had, samples that the worker has written
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
        self.ends.append((how, orderly, samples, self._written(rebooted)))

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
        first, copies = {}, 0
        for row in self.platform.query("SELECT id, at, data FROM arrivals WHERE channel = ? AND fate = 'stored' ORDER BY seq", self.channel):
            if row.id in first:
                assert (row.at, row.data) == first[row.id], f"{row.id} has come again, changed"
                copies += 1
            first[row.id] = row.at, row.data
        times = [at for at, _ in first.values()]
        assert times == sorted(set(times)), "the times increase strictly"
        lives = []
        for _, data in first.values():
            value = int(float(data))
            if value == 0:
                lives.append([])
            lives[-1].append(value)
        return lives, copies

    def check(self, figure, title):
        """Waits until the life of now has reached the server, behind all those before it."""
        def all_there():
            found = self.arrived()
            return found if len(found[0]) > len(self.ends) else None
        lives, copies = wait_for(all_there, "the life of now arrives", 120, 0.5)
        assert len(lives) == len(self.ends) + 1
        lost, unread = 0, []
        for life, (how, orderly, samples, written) in zip(lives, self.ends):
            missing = set(range(written if orderly else samples)) - set(life)
            assert not missing, f"{how}: {len(missing)} lost of {samples} taken and {written} written, as {sorted(missing)[:10]}"
            assert life == list(range(len(life))), f"{how}: there is a gap, or another order"
            assert samples <= len(life) <= written, how
            lost += len(missing)
            if not orderly:
                unread.append(written - len(life))
        assert lives[-1] == list(range(len(lives[-1])))
        figure(f"{title}: {sum(map(len, lives[:-1]))} samples, ended by {', '.join(end[0] for end in self.ends)}: {lost} lost, {copies} came twice"
               + (f"; still in the socket of the daemon that was killed: {', '.join(map(str, unread))}" if unread else ""))
