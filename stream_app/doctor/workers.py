"""Checks that workers alone are in the groups of the application, with the same settings where they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import started_admin
from stream_app.members import describe_groups, strangers_among, workers_among
from stream_app.shared_settings import REMEDY, differing, digests, variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_app.members import Member
    from stream_app.settings import Settings


async def check_workers(settings: Settings) -> list[Finding]:
    """Ask the groups who is in them, and what the workers among them told of their settings."""
    async with started_admin(settings) as admin:
        groups = await describe_groups(admin, settings)
    return [*judge_strangers(strangers_among(groups)), *judge_workers(workers_among(groups), digests(settings))]


def judge_strangers(strangers: Mapping[str, Sequence[int]]) -> list[Finding]:
    """Judge the members of the groups that are no workers, each with the partitions that it holds."""
    remedy = "give that consumer a group of its own: nothing of those partitions is learned while it holds them"
    return [
        error("workers", f"{who} holds partitions {', '.join(map(str, held))}", "workers alone in their groups", remedy)
        for who, held in sorted(strangers.items())
    ]


def judge_workers(members: Sequence[Member], mine: Mapping[str, str]) -> list[Finding]:
    """Judge what workers told of their settings.

    Parameters
    ----------
    members
        Of both groups.
    mine
        Digests of the settings that the doctor reads.
    """
    wanted = "the same settings where they shape slates, state or experiments"
    addresses = sorted({member.address for member in members})
    told = [member.settings for member in members if member.settings]
    findings = []
    among = differing(told)
    if among:
        found = f"the workers {', '.join(addresses)} have different {', '.join(variables(among))}"
        findings.append(warning("workers", found, wanted, REMEDY))
    other = [name for name in differing([mine, *told]) if name not in among]
    if other:
        found = f"the workers have other {', '.join(variables(other))} than this shell, or its .env file"
        remedy = "run the doctor with the workers' environment; a worker that is started here would differ from them"
        findings.append(warning("workers", found, wanted, remedy))
    if findings:
        return findings
    if not members:
        return [ok("workers", "no worker runs", wanted)]
    silent = sorted({member.address for member in members if not member.settings})
    if silent:
        found = f"{', '.join(silent)} tell nothing of their settings: of an older version, or partitions are shared out"
        return [ok("workers", found, wanted)]
    n = len(addresses)
    return [ok("workers", f"{n} worker{'s' if n != 1 else ''}, with these settings", wanted)]
