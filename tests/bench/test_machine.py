"""The description of the machine that figures come from."""

from pathlib import Path

from bench.machine import describe, filesystem

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /data tmpfs rw 0 0
/dev/vdb /data-fast xfs rw 0 0
"""


def test_the_filesystem_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    assert filesystem(Path("/data"), MOUNTS) == "tmpfs"
    assert filesystem(Path("/data-fast/x"), MOUNTS) == "xfs"
    assert filesystem(Path("/srv/x"), MOUNTS) == "ext4"
    assert filesystem(tmp_path, "/dev/vda / btrfs rw 0 0\n") == "btrfs"


def test_a_description_says_where_and_how_fast_the_disk_is(tmp_path: Path) -> None:
    description = describe(tmp_path)
    assert description["cpu"]
    assert float(description["fsync_us"]) > 0
    assert list(tmp_path.iterdir()) == []
