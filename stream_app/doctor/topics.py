"""Checks of the topics: there, as many partitions as they must have, replicas in sync, configuration, offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stream_app.channels import CHANNELS
from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import fetch_topic_rights, started_admin
from stream_app.lag import LagError, measure_lag
from stream_app.rights import NOT_AUTHORIZED
from stream_app.settings import PREFIX
from stream_app.topics import check_topics, topic_configs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.settings import Settings

SHORT_RETENTION_MS: Final = 3_600_000
"""A topic between the stages that keeps less than this loses what a stage that stands still has not read."""


async def check_configuration(settings: Settings) -> list[Finding]:
    """Check every topic that can be seen: what `crossaisle topics check` checks, and what production needs besides."""
    names = {channel.topic: str(getattr(settings, f"topic_{channel.topic}")) for channel in CHANNELS}
    rights = await fetch_topic_rights(settings, list(names.values())) or {}
    hidden = {name for name, (error_code, _) in rights.items() if error_code == NOT_AUTHORIZED}
    findings = [
        error("topics", f"{f.topic} {f.problem}", "a topic as `crossaisle topics create` makes it", f.remedy)
        for f in await check_topics(settings)
        if f.topic not in hidden
    ]
    async with started_admin(settings) as admin:
        there = sorted(set(names.values()) & set(await admin.list_topics()))
        described = await admin.describe_topics(there) if there else []
        n_brokers = len((await admin.describe_cluster())["brokers"])
        configs = await topic_configs(admin, there)
    for topic, name in names.items():
        if name in configs:
            findings += _judge(topic, name, configs[name], settings)
    for topic in described:
        findings += _judge_replicas(topic, n_brokers, configs.get(topic["topic"], {}))
    if not findings:
        findings.append(ok("topics", f"{len(there)} topics, none of them wrong", "all topics as they must be"))
    return findings


def _judge(topic: str, name: str, config: Mapping[str, str], settings: Settings) -> list[Finding]:
    """Return what is wrong with the configuration of a topic, beyond what its spec says."""
    findings = []
    retention_ms = int(config.get("retention.ms", "-1"))
    alter = f"kafka-configs.sh --alter --topic {name} --add-config"
    if topic in ("events", "item_updates") and 0 <= retention_ms < SHORT_RETENTION_MS:
        findings.append(
            warning(
                "topics",
                f"{name} keeps records for {retention_ms} ms",
                f"retention.ms of at least {SHORT_RETENTION_MS}: what is deleted unread is never learned",
                f"{alter} retention.ms=604800000",
            )
        )
    if topic in ("events", "catalog") and int(config.get("max.message.bytes", "1048588")) < settings.max_record_bytes:
        findings.append(
            warning(
                "topics",
                f"{name} takes {config['max.message.bytes']} bytes, {PREFIX}MAX_RECORD_BYTES is "
                f"{settings.max_record_bytes}",
                "a topic that takes what the setting allows",
                f"{alter} max.message.bytes=1048588, or lower the setting",
            )
        )
    return findings


def _judge_replicas(topic: Mapping[str, Any], n_brokers: int, config: Mapping[str, str]) -> list[Finding]:
    name, findings = topic["topic"], []
    partitions = topic["partitions"]
    leaderless = [p["partition"] for p in partitions if p["leader"] < 0]
    if leaderless:
        found = f"{name}: partitions {', '.join(map(str, leaderless))} have no leader"
        findings.append(error("topics", found, "a leader for each", "start the brokers that hold them"))
    lagging = [p["partition"] for p in partitions if len(p["isr"]) < len(p["replicas"])]
    if lagging:
        found = f"{name}: replicas of partitions {', '.join(map(str, lagging))} are not in sync"
        findings.append(warning("topics", found, "all in sync", "look for a broker that is down or slow"))
    n_replicas = min((len(p["replicas"]) for p in partitions), default=0)
    least = int(config.get("min.insync.replicas", "1"))
    if least > n_replicas:
        found = f"{name} has {n_replicas} replicas, but min.insync.replicas is {least}"
        remedy = f"kafka-configs.sh --alter --topic {name} --add-config min.insync.replicas=1, or add replicas"
        findings.append(error("topics", found, "as many replicas: no transaction can be written", remedy))
    if n_replicas == 1 and n_brokers > 1:
        found = f"{name} has one replica, though there are {n_brokers} brokers"
        remedy = "kafka-reassign-partitions.sh, or make it anew with crossaisle topics create --replication-factor 3"
        findings.append(warning("topics", found, "3 replicas: one broker's disk holds all of it", remedy))
    return findings


async def check_offsets(settings: Settings) -> list[Finding]:
    """Check that committed offsets fit the topics, and say how far the stages are behind."""
    wanted = "committed offsets inside the topics"
    try:
        lags = await measure_lag(settings)
    except LagError as problem:
        return [error("offsets", str(problem), wanted, "do so")]
    findings = [
        error("offsets", f"{lag.stage} stage, partition {lag.partition}: {lag.problem}", wanted, "see the worker's log")
        for lag in lags
        if lag.problem
    ]
    if not findings:
        behind = {stage: sum(lag.lag_events for lag in lags if lag.stage == stage) for stage in ("user", "item")}
        words = ", ".join(f"{stage} stage {n:,} records behind" for stage, n in behind.items())
        findings.append(ok("offsets", words, wanted))
    return findings
