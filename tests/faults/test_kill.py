# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the daemon at random moments, with sensors and Publish() at work, online and offline."""

import time

from load import Load, now_us, spread
from proxy import Proxy


def test_kill_9_at_random_moments(scene, full, rng, line, figure):
    kills = 200 if full else 40
    with Proxy(scene.platform.address) as proxy:
        # Small and quick, so that all tiers of the spool are in use.
        load = Load(scene, {"fast": 0.001, "slow": 0.05}, publish=100, size=200, server={"port": proxy.port},
                    spool={"sync": 0.3, "memory": "256K"}, delivery={"confirm_timeout": 2})
        load.start()
        load.gateway.wait_online()
        online, starts, by_phase = True, [], {"online": 0, "offline": 0}
        for _ in range(kills):
            # From right at the start, while it recovers, to some time later.
            time.sleep(10 ** rng.uniform(-2.5, 0.3))
            by_phase["online" if online else "offline"] += 1
            load.kill()
            if rng.random() < 0.4:
                online = not online
                proxy.accept() if online else proxy.refuse()
            load.start()
            starts.append((now_us(), online))
            if rng.random() < 0.3:
                time.sleep(rng.uniform(0, 0.3))
                online = not online
                proxy.accept() if online else (proxy.refuse(), proxy.reset())
        proxy.accept()
        end = now_us()
        load.gateway.call("Reconnect", check=False)
        load.gateway.wait_online(60)
        verdict = load.finish(240)
        first, last = load.recovery(end)
    line(f"kill -9, {kills} times ({by_phase['offline']} offline)", verdict, first, last)
    figure(f"    samples that a worker had written and the killed daemon had not read, median/most: {'/'.join(spread(verdict.unread))}")
