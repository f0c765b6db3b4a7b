# SPDX-License-Identifier: Apache-2.0
"""Measures the rows that are asked for, and prints the table. Started by tests/bench.sh."""

import argparse
import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bench import Bench, Line

ROWS = ("drain", "flood", "memory", "sensors", "disk", "start", "latency")
HEADS = ("work", "plugd", "beside", "ratio", "to reach", "verdict")
VERDICTS = {True: "yes", False: "NO", None: ""}


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def print_table(lines):
    cells = [HEADS, *[(line.work, line.plugd, line.beside, line.ratio, line.target, VERDICTS[line.good]) for line in lines]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADS))]
    for i, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if i == 0:
            print("| " + " | ".join("-" * width for width in widths) + " |")


def measure(bench, names):
    lines, loads = [], []
    for name in names:
        print(f"== {name}, load {os.getloadavg()[0]:.2f}", file=sys.stderr, flush=True)
        began = time.monotonic()
        loads.append(os.getloadavg()[0])
        try:
            lines += importlib.import_module(name).rows(bench)
        except Exception as error:  # one row's trouble doesn't cost the others
            lines.append(not_measured(name, error))
        print(f"   {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return lines, loads


def not_measured(name, error):
    traceback.print_exception(error)
    return Line(f"{name}: not measured", str(error).splitlines()[0][:100] if str(error) else type(error).__name__, good=False)


def main():
    parser = argparse.ArgumentParser(prog="tests/bench.sh")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" ".join(ROWS))
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row '{unknown[0]}': {', '.join(ROWS)}")

    folder = Path(tempfile.mkdtemp(prefix="plugd-bench-"))
    bench = Bench(folder, options.runs or (1 if options.quick else 5), options.quick)
    try:
        lines, loads = measure(bench, options.rows or ROWS)
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)
    print_table(lines)
    print(f"\n{processor()}, {os.cpu_count()} processors, Linux {platform.release()}; {bench.runs} runs"
          f"{' (quick)' if options.quick else ''}: median (least to most); load average {min(loads):.2f} to {max(loads):.2f}")
    sys.exit(1 if any(line.good is False for line in lines) else 0)


if __name__ == "__main__":
    main()
