# SPDX-License-Identifier: Apache-2.0
"""Folders without room: what Publish() took is safe, and what it can't keep it refuses."""

import contextlib
import subprocess

import pytest
from harness import wait_for

CHANNEL = "Test/Full"


@contextlib.contextmanager
def small(*folders):
    """Each of these becomes a small file system of its own, in memory."""
    mounted = []
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "none", folder], check=True)
            mounted.append(folder)
        yield
    finally:
        for folder in mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """By somebody else, to the last byte."""
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def start(gateway):
    gateway.start()
    wait_for(lambda: gateway.get("State"), "it is on the bus")


@pytest.fixture
def offline(scene):
    """A gateway with credentials whose server is away."""
    gateway = scene.online()
    assert gateway.stop() == 0
    scene.platform.stop()
    return gateway


def test_a_full_runtime_folder_costs_nothing(scene, offline):
    with small(offline.runtime):
        fill(offline.runtime)
        start(offline)
        ids = [offline.publish(CHANNEL, number) for number in range(30)]
        wait_for(lambda: "runtime" in offline.get("SpoolTrouble"), "the trouble is named")
        offline.kill()
        start(offline)
        assert offline.get("SpoolMessages") >= len(ids)
        scene.platform.start()
        offline.wait_online(30)
        scene.platform.wait_arrivals(len(ids), CHANNEL)
        arrived = list(dict.fromkeys(row.id for row in scene.platform.arrivals(CHANNEL)))
        assert arrived == ids
        assert offline.stop() == 0


def test_where_nothing_has_room_publish_refuses(scene, offline):
    with small(offline.runtime, offline.state):
        start(offline)
        fill(offline.runtime)
        fill(offline.state)
        refused, ids = None, []
        for number in range(2000):
            result = offline.call("Publish", "ss", CHANNEL, f'"{number:0512}"', check=False)
            if result.returncode != 0:
                refused = result.stderr
                break
            ids.append(result.stdout.split('"')[-2])
        assert refused and "No space left" in refused and "not stored" in refused, (refused, len(ids))
        # Room again: it takes messages again, and has kept what it said it had.
        for folder in (offline.runtime, offline.state):
            (folder / "filler").unlink()
        assert offline.publish(CHANNEL, "again")
        offline.kill()
        start(offline)
        assert offline.get("SpoolMessages") >= len(ids) + 1
        assert offline.stop() == 0
