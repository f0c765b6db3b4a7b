# SPDX-License-Identifier: Apache-2.0
"""What tests measure, shown at the end of a run. A conftest.py imports the two names below, and may set
`config.figures_heading`, a line above the figures."""

import pytest


def pytest_terminal_summary(terminalreporter):
    figures = [text for reports in terminalreporter.stats.values() for report in reports
               if getattr(report, "when", None) == "call" for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in [*filter(None, [getattr(terminalreporter.config, "figures_heading", None)]), *figures]:
            terminalreporter.write_line(text)


@pytest.fixture
def figure(record_property):
    """figure("sentence"): shown at the end of the run."""
    return lambda text: record_property("figure", text)
