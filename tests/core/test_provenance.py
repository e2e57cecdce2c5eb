"""The digest of a system follows its own file and the networks that it is built from, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.core.provenance import digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "block.py").write_text("import torch\n")
    (tmp_path / "nn" / "net.py").write_text("from mien.nn.block import Block\n")
    (tmp_path / "nn" / "other.py").write_text("import mien.nn.net\n")
    (tmp_path / "system.py").write_text("from mien.nn.net import Net\nfrom mien.data.reader import load\n")
    return tmp_path


def test_it_follows_what_a_system_is_built_from(package: Path) -> None:
    before = digest(package / "system.py", package)
    for changed, follows in (
        ("system.py", True),
        ("nn/net.py", True),
        ("nn/block.py", True),
        ("nn/other.py", False),
    ):
        file = package / changed
        source = file.read_text()
        file.write_text(source + "# more\n")
        assert (digest(package / "system.py", package) != before) is follows, changed
        file.write_text(source)
    assert digest(package / "system.py", package) == before


def test_two_networks_that_swap_their_sources_are_told_apart(package: Path) -> None:
    before = digest(package / "nn" / "other.py", package)
    net, block = package / "nn" / "net.py", package / "nn" / "block.py"
    first, second = net.read_text(), block.read_text()
    net.write_text("from mien.nn.block import Block\n" + second)
    block.write_text(first.replace("from mien.nn.block import Block\n", ""))
    assert digest(package / "nn" / "other.py", package) != before


def test_networks_that_need_each_other_end(package: Path) -> None:
    (package / "nn" / "block.py").write_text("import mien.nn.net\n")
    assert len(digest(package / "system.py", package)) == 64
