# SPDX-License-Identifier: Apache-2.0
"""A fault at each system call with which the spool changes a file: the daemon is killed before it, after it or in the
midst of it, or the call fails (calls.c). Over a scripted run in which the spool is recovered after a crash, and messages go
into it, to the disk, to the server and, with a stop, to the disk again."""

import json
import re
import subprocess
import time

import harness
import pytest
from caller import CallError, Caller
from conftest import HWID, FORMAT
from harness import wait_for
from load import PRELOADS
from proxy import Proxy
from standin import device

PLUG_ID, AUTH = "dev-0123456789abcdef01234567", "aUth-0f-The-d3vice"
KILLS = ("before", "after", "torn")
FAILURES = ("EIO", "EIO 5", "ENOSPC", "EINTR", "short")    # 5: so many calls in a row
MODES = {**dict.fromkeys(KILLS, "kill -9"), **dict.fromkeys(FAILURES, "failing")}
# What changes files, and calls.c doesn't know. The others are for other files: credentials, logs.
UNKNOWN = {"pwritev", "pwritev64", "writev", "pwritev2", "pwritev64v2", "copy_file_range", "sendfile", "sendfile64", "linkat", "link",
           "fallocate", "fallocate64", "posix_fallocate", "posix_fallocate64", "truncate", "truncate64", "syncfs", "sync_file_range",
           "splice"}
SHORT = 6     # calls in the short form


class Script:
    """The run, which a new daemon goes on with where the last one was killed."""

    def __init__(self, scene, proxy, number, fault=None):
        self.scene, self.proxy = scene, proxy
        self.channel = f"Calls/{number}"
        settings = scene.settings(server={"port": proxy.port}, device={"enroll": None, "plug_id": PLUG_ID, "auth": AUTH},
                                  spool={"sync": 0.1, "memory": "1M", "max_size": "4M"}, delivery={"confirm_timeout": 2})
        self.gateway = scene.gateway(settings)
        self.log = self.gateway.folder / "calls"
        self.faulty = {"LD_PRELOAD": str(PRELOADS / "calls.so"), "PLUGD_CALLS_LOG": str(self.log),
                       "PLUGD_CALLS_FOLDERS": f"{self.gateway.state}/spool:{self.gateway.state}/young:"
                                               f"{self.gateway.state}/damaged:{self.gateway.runtime}/spool"}
        if fault:
            self.faulty["PLUGD_CALLS_FAULT"] = fault
        self.published, self.tried, self.refused, self.deaths, self.more_starts = {}, [], [], 0, 0
        self.caller = None

    def start(self, faulty=False):
        clean = self.gateway.environment
        self.gateway.environment = {**clean, **(self.faulty if faulty else {})}
        self.gateway.start("--log-level", "info")
        self.gateway.environment = clean
        self.caller = self.caller or Caller(self.scene.bus)
        wait_for(self._there, "it is on the bus or has been killed", interval=0.01)

    def _there(self):
        try:
            return self.dead() or self.caller.get(harness.MANAGER, harness.PATH, "State")
        except CallError:
            return None

    def dead(self):
        return self.gateway.process.poll() is not None

    def revive(self):
        """After a death, which only calls.c may have caused: a daemon without faults."""
        if self.dead():
            code = self.gateway.wait_exit()
            assert code == -9, f"plugd ended with {code}"
            self.deaths += 1
            assert self.deaths == 1
            self.start()

    def publish(self, sizes):
        for size in sizes:
            text = json.dumps([len(self.published) + len(self.tried), "x" * size])
            try:
                self.published[self.caller.publish(self.channel, text)] = text
            except CallError as error:
                if self.gateway.process.poll() is None and error.name != "org.freedesktop.DBus.Error.NoReply":
                    self.refused.append((text, str(error)))
                    continue
                self.gateway.process.wait(5)
                self.tried.append(text)
            self.revive()

    def until(self, condition, what, timeout=30):
        def holds():
            self.revive()
            try:
                return condition()
            except CallError:
                return False
        wait_for(holds, what, timeout, 0.01)

    def go_online(self):
        self.proxy.accept()

        def online():
            state = self.get("State")
            if state == "offline":
                self.gateway.call("Reconnect", check=False)
            return state == "online"
        self.until(online, "it is online")

    def get(self, name):
        return self.caller.get(harness.MANAGER, harness.PATH, name)

    def run(self):
        """Never more than a quarter of spool.memory, beyond which a full disk costs the oldest messages.

        One that is killed leaves something behind, and a torn record. Then the one that is struck: it finds that; offline:
        to the runtime folder and the disk, over several segments; online: confirmed; stopped with some left."""
        self.proxy.refuse()
        self.proxy.reset()
        self.start()
        self.publish([40] * 5 + [20000] * 3)
        self.gateway.kill()
        with open(max((self.gateway.runtime / "spool").glob("*.seg")), "ab") as file:
            file.write(bytes(range(1, 60)))
        self.start(faulty=True)
        self.publish([50] * 5 + [20000] * 5)
        time.sleep(0.25)
        self.publish([20000, 20000, 100, 10])
        self.go_online()
        self.publish([30, 30])
        self.until(lambda: self.get("SpoolMessages") == 0, "the spool is empty")
        self.proxy.refuse()
        self.proxy.reset()
        self.until(lambda: self.get("State") != "online", "offline")
        self.publish([1000, 70])
        self.until(self.none_dropped, "nothing is dropped")
        self._stop()
        self.start()
        self.publish([3])
        self.go_online()
        if "sent after the next start" in self.get("SpoolTrouble"):
            # Files that could not be removed: the spool takes what is beside them for another's. It says so, and means it.
            self.more_starts += 1
            assert self.gateway.stop() == 0
            self.start()
        self.until(self.all_there, "all has arrived")
        assert self.none_dropped()
        assert self.gateway.stop() == 0

    def _stop(self):
        self.gateway.process.terminate()
        code = self.gateway.wait_exit()
        assert code == 0 or code == -9 and not self.deaths, f"plugd ended with {code}"
        self.deaths += code != 0

    def none_dropped(self):
        """What Publish() refused counts as well."""
        dropped = self.get("Dropped")
        assert dropped <= len(self.refused), f"{dropped} dropped, {len(self.refused)} refused"
        return True

    def all_there(self):
        return set(self.published) <= {row.id for row in self.scene.platform.query("SELECT id FROM arrivals WHERE channel = ?", self.channel)}

    def judge(self):
        """How many messages, and how many came again."""
        first, again = {}, 0
        for row in self.scene.platform.arrivals(self.channel):
            version = row.at, row.data
            again += row.id in first
            assert first.setdefault(row.id, version) == version, f"{row.id} has come again, changed"
        texts = {message: json.dumps(json.loads(data)) for message, (_, data) in first.items()}
        for message, text in self.published.items():
            assert texts.pop(message, None) == text, f"{text[:20]} is lost, or has changed"
        for text in texts.values():
            assert text in self.tried, f"{text[:20]} has arrived, and nobody published it"
            self.tried.remove(text)
        assert len({at for at, _ in first.values()}) == len(first), "two messages have the same time"
        return len(first), again

    def calls(self):
        return [line.split() for line in self.log.read_text().splitlines()]


def test_all_calls_that_change_files_are_known():
    symbols = subprocess.run(["nm", "-D", "--undefined-only", harness.DAEMON], check=True, capture_output=True, text=True).stdout
    names = set(re.findall(r" U (\w+)", symbols))
    assert {"pwrite64", "unlinkat"} & names, "the names are read"
    assert not names & UNKNOWN, f"calls.c has to know these: {names & UNKNOWN}"


def plain_calls(scene, proxy, known=[]):  # noqa: B006: one run serves all the tests
    """What a run without faults calls."""
    if not known:
        plain = Script(scene, proxy, 0)
        plain.run()
        plain.judge()
        known += plain.calls()
    return known


@pytest.fixture
def place(make_scene):
    scene = make_scene(devices=[device(PLUG_ID, AUTH, HWID)])
    with Proxy(scene.platform.address) as proxy:
        yield scene, proxy


@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_a_call(request, place, mode, full, rng, figure):
    scene, proxy = place
    calls = plain_calls(scene, proxy)
    kinds = {}
    for number, call, path, _ in calls:
        kinds.setdefault((call, path.rsplit("/", 2)[-2], "confirmed" in path), []).append(int(number))
    # Calls that can't be torn or short are "before", or nothing.
    kinds = [numbers for (call, *_), numbers in kinds.items() if mode not in ("torn", "short") or "write" in call]
    chosen = range(1, len(calls) + 1)
    only = request.config.getoption("call")
    if only:
        chosen = [only]
    elif not full:
        # One of each kind of call in each folder, and others, up to SHORT.
        some = [rng.choice(numbers) for numbers in rng.sample(kinds, min(len(kinds), SHORT))]
        others = sorted({number for numbers in kinds for number in numbers} - set(some))
        chosen = sorted(some + rng.sample(others, SHORT - len(some)))
    messages = again = struck = deaths = refused = starts = 0
    for index, number in enumerate(chosen, 1):
        script = Script(scene, proxy, index, f"{number} {mode}")
        try:
            script.run()
            found, copies = script.judge()
        except (AssertionError, OSError) as error:
            done = script.calls()
            raise AssertionError(f"{mode} at call {number} ({' '.join(done[number - 1] if len(done) >= number else ['not reached'])}): {error}\n"
                                 f"{script.gateway.log[-3000:]}") from error
        messages, again, deaths, refused = messages + found, again + copies, deaths + script.deaths, refused + len(script.refused)
        starts += script.more_starts
        struck += len(script.calls()) >= number
        script.gateway.cleanup()
        script.caller.close()
    assert struck > len(chosen) / 2 and deaths == (struck if mode in KILLS else 0)
    note = (f"; {refused} refused" if refused else "") + (f"; {starts} needed one more start" if starts else "")
    figure(FORMAT.format(f"{MODES[mode]} ({mode}) at {len(chosen)} of {len(calls)} calls of the spool{note}", messages, 0, again, "-", "-"))
