# SPDX-License-Identifier: Apache-2.0
"""Installing again: what somebody has filled in stays."""

import os
import subprocess

import pytest
from harness import BUILD, ROOT

DEFAULT = (ROOT / "etc" / "plugd.conf").read_text()

pytestmark = pytest.mark.plain


@pytest.fixture
def install(folder):
    """Installs what is built below a folder, and gives what is printed."""
    def install():
        result = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir", str(folder / "to")],
                                check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    return install


def only(folder):
    (found,) = (folder / "to").glob("**/etc/plugd/plugd.conf")
    return found


def names(file):
    return sorted(entry.name for entry in file.parent.iterdir())


def test_an_upgrade_keeps_a_changed_configuration(folder, install):
    install()
    file = only(folder)
    assert file.read_text() == DEFAULT and file.stat().st_mode & 0o777 == 0o644

    # Unchanged: nothing to say, nothing beside it.
    assert "plugd.conf.new" not in install()
    assert names(file) == ["plugd.conf", "sensors.d"]

    changed = DEFAULT.replace('name = "";', 'name = "greenhouse";')
    assert changed != DEFAULT
    file.write_text(changed)
    file.chmod(0o640)
    (file.parent / "sensors.d" / "mine.conf").write_text("")
    for _ in range(2):
        printed = install()
        assert f"Keeping {file}," in printed and "plugd.conf.new" in printed, printed
        assert file.read_text() == changed and file.stat().st_mode & 0o777 == 0o640
        assert names(file) == ["plugd.conf", "plugd.conf.new", "sensors.d"]
        assert (file.parent / "plugd.conf.new").read_text() == DEFAULT
        assert (file.parent / "sensors.d" / "mine.conf").exists()


def test_a_link_is_somebodys_configuration_too(folder, install):
    install()
    file = only(folder)
    file.unlink()
    file.symlink_to("/nowhere/plugd.conf")
    assert "Keeping" in install()
    assert os.readlink(file) == "/nowhere/plugd.conf"
    assert (file.parent / "plugd.conf.new").read_text() == DEFAULT
