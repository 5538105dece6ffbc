"""The machine that figures belong to, and what a process has used of it."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, Python and the load at this moment."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: CPU seconds of all its threads, resident megabytes now."""

    cpu_s: float
    rss_mb: float

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Read it from /proc; zeros where the process is gone."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return cls(0.0, 0.0)
        return cls((int(fields[11]) + int(fields[12])) / _TICKS_PER_S, pages * _PAGE_BYTES / 1e6)

    @classmethod
    def of_all(cls, pids: Iterable[int]) -> "Usage":
        """Return the sum over processes."""
        found = [cls.of(pid) for pid in pids]
        return cls(sum(one.cpu_s for one in found), sum(one.rss_mb for one in found))
