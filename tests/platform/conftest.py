# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from helpers_platform import A, B, MODEL, OTHER_MODEL, PASS, USER  # noqa: E402
from standin import StandIn, template  # noqa: E402


@pytest.fixture(scope="module")
def shared_platform():
    with StandIn(templates=[template(MODEL, PASS), template(OTHER_MODEL, "thing only", "thing")],
                 users=[{"email": USER, "password": "secret"}]) as s:
        yield s


@pytest.fixture
def server(shared_platform):
    """One process for all tests of a module, in the same state at the start of each."""
    shared = shared_platform
    shared.clear()
    shared.kick()
    for row in shared.devices():
        shared.forget(row.plug_id)
    shared.switch(hear_own=False, reenrol=False, answer_unasked=True, resolve_reference=True, foreign_publish=False,
                  set_answer="empty", empty_login="both", code_password=4, code_unknown=5, code_client_id=2)
    shared.permissions()
    for plug_id, auth, hwid in ((A, "auth-a", "hw-a"), (B, "auth-b", "hw-b")):
        shared.add_device(plug_id, auth, hwid, model=MODEL)
    shared.start_seq, shared.start_event = shared.last_arrival(), shared.last_event()
    return shared
