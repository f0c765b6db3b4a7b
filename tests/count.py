#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up what tests/run.sh left in its folder of results: meson's testlog.json, pytest's JUnit, and steps.

Prints what failed and was skipped, and as the last line "N passed, N failed, N skipped". Exits 0 only if something
passed and nothing failed; in CI nothing may be skipped either.
"""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MESON = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def results(folder):
    """Yields (outcome, name)."""
    for file in sorted(folder.glob("*.json")):
        for line in file.read_text().splitlines():
            test = json.loads(line)
            yield MESON.get(test["result"], "failed"), f"{file.stem}: {test['name']}"
    for file in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(file).getroot().iter("testcase"):
            bad = case.find("failure") is not None or case.find("error") is not None
            outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
            yield outcome, f"{file.stem}: {case.get('classname')}.{case.get('name')}"
    steps = folder / "steps"
    if steps.exists():
        for line in steps.read_text().splitlines():
            yield tuple(line.split(" ", 1))


def main():
    names = {"passed": [], "failed": [], "skipped": []}
    for outcome, name in results(Path(sys.argv[1])):
        names[outcome].append(name)
    for outcome in ("skipped", "failed"):
        for name in names[outcome]:
            print(f"{outcome}: {name}")
    print(", ".join(f"{len(names[outcome])} {outcome}" for outcome in ("passed", "failed", "skipped")))
    bad = names["failed"] or not names["passed"] or os.environ.get("CI") and names["skipped"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
