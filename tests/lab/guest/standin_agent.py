# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: the platform's stand-in, told what to do in lines of JSON on standard input (see gateway.py).

The first line has the StandIn's options. Then {"call": method, "arguments": [], "options": {}}, {"get": attribute} or
{"certificate": name}; each is answered by {"result": …} or {"error": text, "kind": class}. Ends with its input."""

import base64
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "platform"))
from standin import StandIn  # noqa: E402
from tables import Row  # noqa: E402


def encode(value):
    if isinstance(value, Row):
        return {"row": {key: encode(member) for key, member in value.items()}}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [encode(member) for member in value]
    if isinstance(value, dict):
        return {key: encode(member) for key, member in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else None


def answer(server, request):
    if "certificate" in request:
        return pathlib.Path(server.certificates[request["certificate"]]).read_text()
    if "get" in request:
        return getattr(server, request["get"])
    return getattr(server, request["call"])(*request["arguments"], **request["options"])


def main():
    output, sys.stdout = sys.stdout, sys.stderr
    server = StandIn(**json.loads(sys.stdin.readline()))
    try:
        reply = {"result": bool(server.start())}
    except Exception as error:
        reply = {"error": str(error), "kind": type(error).__name__}
    while True:
        print(json.dumps(reply), file=output, flush=True)
        line = sys.stdin.readline()
        if not line or not server.pid and "error" in reply:
            break
        try:
            reply = {"result": encode(answer(server, json.loads(line)))}
        except Exception as error:
            reply = {"error": str(error), "kind": type(error).__name__}
    server.close()


main()
