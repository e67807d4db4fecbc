"""Describes the machine that the figures come from."""

import os
import platform
import statistics
import time
from pathlib import Path

FSYNC_PROBES = 200
FSYNC_BYTES = 4096


def describe(folder: Path) -> dict[str, str | int | float]:
    """Return what a reader needs to place the figures; `folder` is where the data will be."""
    return {
        "cpu": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_before": os.getloadavg()[0],
        "filesystem": filesystem(folder, Path("/proc/mounts").read_text()),
        "fsync_us": fsync_us(folder),
    }


def _first_value(path: Path, key: str) -> str:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def filesystem(folder: Path, mounts: str) -> str:
    """Return the type of the file system that holds a folder, given `/proc/mounts`."""
    resolved = folder.resolve()
    best = ("", "")
    for line in mounts.splitlines():
        _device, mount_point, kind = line.split()[:3]
        if resolved.is_relative_to(mount_point) and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1]


def fsync_us(folder: Path) -> float:
    """Return the median time to append 4 KiB to a file and have it on the disk."""
    path = folder / "fsync-probe"
    times = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for _ in range(FSYNC_PROBES):
            start = time.perf_counter()
            os.write(descriptor, bytes(FSYNC_BYTES))
            os.fsync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return round(statistics.median(times) * 1_000_000, 1)
