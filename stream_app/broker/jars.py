"""The jars that the broker runs with: a list with checksums, kept next to this module.

``python -m stream_app.broker.jars`` resolves them anew and prints the list: that is how to move to another version.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KAFKA_VERSION: Final = "4.4.0"
LIST_PATH: Final = Path(__file__).with_name("jars.txt")

_KAFKA: Final = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
_BINDING: Final = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
"""Joins Kafka's slf4j 1.7 to the log4j it comes with, of the same version; without it the broker logs nothing."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the class path.

    Attributes
    ----------
    group, artifact, version
        Its Maven coordinates.
    n_bytes
        Its size.
    sha256
        Its checksum, in hexadecimal.
    """

    group: str
    artifact: str
    version: str
    n_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.artifact}-{self.version}.jar"

    def is_at(self, path: Path) -> bool:
        """Whether the file holds exactly this jar."""
        try:
            return path.stat().st_size == self.n_bytes and sha256_of(path) == self.sha256
        except OSError:
            return False


def sha256_of(path: Path) -> str:
    """Return the checksum of a file, in hexadecimal.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed_jars() -> list[Jar]:
    """Return all jars, in the order of the class path."""
    jars = []
    for line in LIST_PATH.read_text(encoding="utf-8").splitlines():
        coordinates, n_bytes, sha256 = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, int(n_bytes), sha256))
    return jars


def _main() -> None:
    import jgo  # noqa: PLC0415 - an optional dependency

    # One by one: resolved together, the binding has its say in the version of Kafka's own jars.
    for artifact in [*jgo.resolve(_KAFKA), *jgo.resolve(_BINDING)[:1]]:
        path = artifact.resolve()
        coordinates = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        print(coordinates, path.stat().st_size, sha256_of(path))  # noqa: T201 - that is what the command is for


if __name__ == "__main__":
    _main()
