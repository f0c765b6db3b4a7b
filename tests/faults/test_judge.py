# SPDX-License-Identifier: Apache-2.0
"""Those who judge see what is lost, changed or made up."""

import pytest
from lives import End, match, read
from load import Load
from outages import begin_anew
from proxy import Proxy


def rows(*lives, start=1000):
    at, made = start, []
    for life in lives:
        for value in life:
            at += 1
            made.append({"id": f"{at:024x}", "at": at, "data": str(value)})
    return made


def judged(found, *ends):
    lives, copies = read(found)
    return match(lives, ends), copies


def test_lives_that_are_whole():
    killed, stopped = End("killed", False, 3, 6), End("stopped", True, 2, 4)
    found = rows(range(5), range(4))
    assert judged(found, killed, stopped) == ([1], 0)
    assert judged(found[::-1] + found[2:4], killed, stopped) == ([1], 2), "in any order, and twice"


def test_lives_of_which_nothing_has_arrived():
    silent = End("killed", False, 0, 2)
    assert judged(rows(range(5), range(4)), silent, End("killed", False, 3, 6), silent, End("stopped", True, 2, 4))[0] == [2, 1, 2]
    assert judged(rows(range(2), range(1)), silent, End("killed", False, 0, 1))[0] == [0, 0]
    assert judged([], silent)[0] == [2]
    # Which of the silent ones it was is to be found out.
    both, one = End("killed", False, 2, 2), End("killed", False, 1, 1)
    assert judged(rows(range(2), range(1), range(1)), silent, both, silent, one)[0] == [2, 0, 1, 0]


@pytest.mark.parametrize("found, says", [
    (rows([0, 1, 3]), "1 lost"),
    (rows([1, 2, 3]), "1 lost"),
    (rows([0, 1]), "1 lost"),
    (rows([0, 1, 2, 3, 5]), "there is a gap"),
    (rows(range(9)), "9 have arrived"),
    (rows(range(4), [0]), "1 lives more"),
    ([], "nothing has arrived"),
])
def test_a_killed_life_that_is_not_whole(found, says):
    with pytest.raises(AssertionError, match=says):
        judged(found, End("killed", False, 3, 6))


def test_a_stopped_life_has_to_be_there_to_its_end():
    with pytest.raises(AssertionError, match="1 lost"):
        judged(rows(range(5)), End("stopped", True, 3, 6))


def test_copies_and_times():
    (one, two) = rows([0, 1])
    with pytest.raises(AssertionError, match="changed"):
        read([one, two, {**one, "data": "7"}])
    with pytest.raises(AssertionError, match="the same time"):
        read([one, {**two, "at": one["at"]}])


def test_without_barriers_a_black_hole_loses_messages(scene, figure):
    """So the tests see it when something is lost: nothing else here does lose any."""
    with Proxy(scene.platform.address) as proxy:
        load = Load(scene, {"fast": 0.01}, server={"port": proxy.port}, delivery={"confirm": "none"})
        load.start().gateway.wait_online()
        proxy.black_hole()
        taken = len(load.published) + 50
        scene.platform.wait_for(lambda: len(load.published) > taken, 20)
        begin_anew(proxy)
        with pytest.raises(AssertionError, match="lost|nothing has arrived") as raised:
            load.finish()
    figure(f"without barriers, to see that a loss is seen: {str(raised.value).splitlines()[0][:90]}")
