# SPDX-License-Identifier: Apache-2.0
"""What a simulated counter handed over, life by life, against what has arrived: nothing may be missing. Pure.

A worker's life begins at 0 and ends with its daemon. How much it handed over is known from two sides: what its worker
has written to the daemon, and what the daemon said it had taken and made safe, some time before the end. When a life ends
in good order, all that was written has to arrive. When the daemon is killed, what it had made safe has to arrive, without
a gap up to some point, and what it had not read yet ends with its socket.
"""

import collections

# samples: what the daemon said it had made safe; written: what the worker has written to the daemon.
End = collections.namedtuple("End", "how orderly samples written")


def read(rows):
    """Lives, each a list of values, of a counter's channel, and how many of the rows were copies. The rows are in any
    order (the newest may overtake a backlog), and have id, at and data."""
    first, copies = {}, 0
    for row in rows:
        if row["id"] in first:
            assert (row["at"], row["data"]) == first[row["id"]], f"{row['id']} has come again, changed"
            copies += 1
        first[row["id"]] = row["at"], row["data"]
    messages = sorted(first.values())
    assert len({at for at, _ in messages}) == len(messages), "two messages of one channel have the same time"
    lives = []
    for _, data in messages:
        value = int(float(data))
        if not lives or value <= lives[-1][-1]:
            lives.append([])
        lives[-1].append(value)
    return lives, copies


def match(lives, ends):
    """Fails unless each life is whole, as its end wants it. A life of which nothing was made safe need not be among those
    that arrived, so which belong together may have to be tried. Returns for each end in bad order how many samples the
    daemon had not read."""
    # reach[j]: how the first ends can be taken up by the first j lives: for each end the length of its life, None without one.
    reach, closest = {0: []}, 0
    for index, end in enumerate(ends):
        following = {}
        for j, lengths in reach.items():
            if not least(end):
                following.setdefault(j, [*lengths, None])
            if j < len(lives) and not wrong(lives[j], end):
                following[j + 1] = [*lengths, len(lives[j])]
        if not following:
            where = max(reach)
            life = lives[where] if where < len(lives) else None
            raise AssertionError(f"{end.how} (life {index} of {len(ends)}): {wrong(life, end)}")
        reach, closest = following, max(closest, *following)
    assert len(lives) in reach, f"{len(lives) - closest} lives more have arrived than there were: {[len(life) for life in lives[closest:]]}"
    return [end.written - (length or 0) for end, length in zip(ends, reach[len(lives)]) if not end.orderly or length is None]


def least(end):
    return end.written if end.orderly else end.samples


def wrong(life, end):
    """What keeps a life from having ended so; None if nothing does."""
    if life is None:
        return f"nothing has arrived of {end.samples} taken and {end.written} written"
    missing = sorted(set(range(least(end))) - set(life))
    if missing:
        return f"{len(missing)} lost of {end.samples} taken and {end.written} written, as {missing[:10]}"
    if life != list(range(len(life))):
        return f"there is a gap, or another order, in {gap(life)}"
    if len(life) > end.written:
        return f"{len(life)} have arrived of {end.samples} taken and {end.written} written"
    return None


def gap(life):
    """The first place where a life isn't one up from the value before."""
    return next((f"… {before}, {value} …" for before, value in zip([-1, *life], life) if value != before + 1), "none")
