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
    that arrived. Returns for each end in bad order how many samples the daemon had not read."""
    rest, unread = list(lives), []
    for index, end in enumerate(ends):
        must = end.written if end.orderly else end.samples
        later = sum(1 for other in ends[index + 1:] if other.samples or other.orderly and other.written)
        fits = rest and len(rest[0]) <= end.written
        if not must and (not fits or len(rest) <= later):
            unread.append(end.written)
            continue
        assert rest, f"{end.how}: nothing has arrived of {end.samples} taken and {end.written} written"
        life = rest.pop(0)
        missing = set(range(must)) - set(life)
        assert not missing, (f"{end.how} (life {index} of {len(ends)}): {len(missing)} lost of {end.samples} taken and {end.written} written, "
                             f"as {sorted(missing)[:10]}")
        assert life == list(range(len(life))), f"{end.how}: there is a gap, or another order, in {gap(life)}"
        assert must <= len(life) <= end.written, f"{end.how}: {len(life)} have arrived of {end.samples} taken and {end.written} written"
        if not end.orderly:
            unread.append(end.written - len(life))
    assert not rest, f"{len(rest)} lives more have arrived than there were: {[len(life) for life in rest]}"
    return unread


def gap(life):
    """The first place where a life isn't one up from the value before."""
    return next((f"… {before}, {value} …" for before, value in zip([-1, *life], life) if value != before + 1), "none")
