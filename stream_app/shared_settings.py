"""Whether all workers of an application have the same settings, where they must: told by each to its groups.

A member of a group may tell the group what it likes beside the topics that it reads. A worker tells a digest of each of
its shared settings, so that the coordinator is the one source of them, as it is of owners and addresses. Values are not
told. A worker of a version that tells nothing is passed over, and so are settings that only one of two workers knows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from stream_app.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from stream_app.members import Member

SHARED_SETTINGS: Final = frozenset(
    (
        *("seed", "max_future_ms", "max_id_bytes", "max_record_bytes", "session_gap_ms"),
        *("category_depth", "slate_size", "category_cap", "discovery_slots", "discovery_worth"),
        *("shown_limit", "exclude_bought_days", "relearn_events"),
        *("policy", "policy_arms", "policy_half_life_days", "policy_min_share", "policy_baseline_share"),
        *("policy_fall_back_at", "holdout_share", "holdout_policy", "holdout_salt"),
        *("attribution_window_ms", "rewards", "reward_cap"),
        *(name for name in Settings.model_fields if name.startswith("topic_")),
    )
)
"""Settings that shape slates, state or experiments: all workers of an application must have the same."""

REMEDY: Final = "set them alike for all workers of this app id, and start again those that had others"
_DIGEST_BYTES: Final = 4


class _Told(msgspec.Struct, frozen=True):
    """What a member tells its group."""

    settings: dict[str, str]


def digests(settings: Settings) -> dict[str, str]:
    """Return a short digest of each shared setting's value, by name."""
    return {name: _digest(getattr(settings, name)) for name in sorted(SHARED_SETTINGS)}


def _digest(value: Any) -> str:
    return hashlib.blake2b(str(value).encode(), digest_size=_DIGEST_BYTES).hexdigest()


class SharingAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]  # aiokafka's bases are untyped
    """Shares out partitions as aiokafka does by default, and tells the group this worker's shared settings.

    Parameters
    ----------
    settings
        Of the application.
    """

    def __init__(self, settings: Settings) -> None:
        self._told = msgspec.json.encode(_Told(digests(settings)))

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return what the worker says when it joins its group."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._told)


def digests_told(metadata: bytes) -> dict[str, str]:
    """Return the digests that a member told its group; none while the group shares out its partitions."""
    if not metadata:
        return {}
    try:
        user_data = ConsumerProtocolMemberMetadata.decode(metadata).user_data
        return msgspec.json.decode(user_data or b"", type=_Told).settings
    except (ValueError, msgspec.DecodeError):
        return {}


def differing(those: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the names of the settings of which there are several digests.

    Examples
    --------
    >>> differing([{"seed": "00", "policy": "01"}, {"seed": "02", "policy": "01"}, {}])
    ['seed']
    """
    found: dict[str, set[str]] = {}
    for each in those:
        for name, digest in each.items():
            found.setdefault(name, set()).add(digest)
    return sorted(name for name, several in found.items() if len(several) > 1)


def variables(names: Iterable[str]) -> list[str]:
    """Return the environment variables of settings."""
    return [f"{PREFIX}{name.upper()}" for name in names]


class SettingsWatch:
    """Warns once of workers whose shared settings are not this worker's, and again when others differ.

    Parameters
    ----------
    settings
        Of this worker.
    """

    def __init__(self, settings: Settings) -> None:
        self._mine = digests(settings)
        self._told: dict[str, list[str]] = {}
        self._log = structlog.get_logger(__name__)

    def look(self, members: Sequence[Member]) -> None:
        """Compare with the workers of the groups."""
        telling = [member for member in members if member.settings]
        if not telling:
            return  # the groups share out their partitions
        differences = {member.address: differing([self._mine, member.settings]) for member in telling}
        found = {address: names for address, names in differences.items() if names}
        if found and found != self._told:
            names = sorted({name for each in found.values() for name in each})
            self._log.warning("settings_differ", settings=variables(names), workers=sorted(found), remedy=REMEDY)
        self._told = found
