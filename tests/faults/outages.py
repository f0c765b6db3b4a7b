# SPDX-License-Identifier: Apache-2.0
"""What a server and the way to it can do wrong, each as a context manager: wrong inside, right again behind it. For any
gateway that reaches the platform by the proxy."""

import contextlib

from proxy import TO_CLIENT, TO_SERVER


def begin_anew(proxy):
    """No connection of which bytes were lost goes on: on a real network, TCP would see to that."""
    proxy.refuse()
    proxy.reset()
    proxy.forward()
    proxy.accept()


@contextlib.contextmanager
def stopped(platform, proxy):
    platform.stop()
    yield
    platform.start()


@contextlib.contextmanager
def killed(platform, proxy):
    platform.kill()
    yield
    platform.start()


@contextlib.contextmanager
def restarted(platform, proxy):
    """Gone for no longer than it takes."""
    platform.restart()
    yield


@contextlib.contextmanager
def frozen(platform, proxy):
    """SIGSTOP: its kernel still acknowledges."""
    platform.freeze()
    yield
    platform.thaw()


@contextlib.contextmanager
def black_hole(platform, proxy):
    """What goes either way is lost, and no connection ends."""
    proxy.black_hole()
    yield
    begin_anew(proxy)


@contextlib.contextmanager
def deaf(platform, proxy):
    """What goes to the server is lost."""
    proxy.black_hole(TO_SERVER)
    yield
    begin_anew(proxy)


@contextlib.contextmanager
def stuck(platform, proxy):
    """Nothing is read, and nothing lost: the sockets fill up."""
    proxy.black_hole(drop=False)
    yield
    proxy.forward()


@contextlib.contextmanager
def mute(platform, proxy):
    """New connections are taken, and get nowhere."""
    proxy.mute()
    proxy.reset()
    yield
    begin_anew(proxy)


@contextlib.contextmanager
def refusing_connections(platform, proxy):
    proxy.refuse()
    proxy.reset()
    yield
    proxy.accept()


@contextlib.contextmanager
def refusing_logins(platform, proxy):
    """CONNACK 3, server unavailable."""
    platform.fault("login", "refuse", code=3, count=-1)
    proxy.reset()
    yield
    platform.clear()


@contextlib.contextmanager
def refusing_credentials(platform, proxy):
    """CONNACK 4: it says that they are wrong, for a while."""
    platform.fault("login", "refuse", code=4, count=-1)
    proxy.reset()
    yield
    platform.clear()


@contextlib.contextmanager
def no_answer_to_barriers(platform, proxy):
    platform.withhold("UNSUBACK", -1)
    yield
    platform.clear()


@contextlib.contextmanager
def reset_in_packets(platform, proxy, after=777):
    """Each connection is reset after so many bytes, wherever in a packet (or a record of TLS) that is."""
    proxy.cut_after(after)
    yield
    proxy.forward()


@contextlib.contextmanager
def closed_in_answers(platform, proxy, after=7):
    """Each connection ends in good order after so many bytes from the server."""
    proxy.cut_after(after, TO_CLIENT, reset=False)
    yield
    proxy.forward()


@contextlib.contextmanager
def one_byte_a_second(platform, proxy):
    proxy.slow(1)
    yield
    proxy.forward()


@contextlib.contextmanager
def slow(platform, proxy):
    """2 kB/s, less than comes in."""
    proxy.slow(2000)
    yield
    proxy.forward()


ALL = {
    "server stopped": stopped,
    "server killed": killed,
    "server restarted": restarted,
    "server frozen": frozen,
    "black hole": black_hole,
    "black hole to the server": deaf,
    "nothing is read": stuck,
    "connections go nowhere": mute,
    "connections refused": refusing_connections,
    "logins refused (3)": refusing_logins,
    "logins refused (4)": refusing_credentials,
    "UNSUBACK withheld": no_answer_to_barriers,
    "reset in a packet": reset_in_packets,
    "closed in an answer": closed_in_answers,
    "one byte a second": one_byte_a_second,
    "2 kB/s": slow,
}

# During these, messages get through now and then.
LEAKY = {"server restarted", "UNSUBACK withheld", "reset in a packet", "closed in an answer", "2 kB/s"}
