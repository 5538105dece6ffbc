"""Checks of the settings: wrong values, unknown names, and values that do not fit together."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values

from stream_app.doctor.finding import Finding, error, ok, warning
from stream_app.kafka import TlsError, client_options
from stream_app.settings import PREFIX, Settings
from stream_app.wrong_settings import dotenv_problem, settings_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

_FOR_TESTS: Final = f"{PREFIX}FAULT"


def check_environment(environment: Mapping[str, str], dotenv: Path = Path(".env")) -> list[Finding]:
    """Find variables with our prefix that no setting reads: a misspelt name is passed over in silence otherwise.

    Parameters
    ----------
    environment
        The process's variables.
    dotenv
        File with more of them; need not exist.
    """
    known = [name.upper() for name in Settings.model_fields]
    unreadable = dotenv_problem(dotenv)
    if unreadable is not None:
        return [error("settings", unreadable, "a readable file", "mend it: no setting can be read")]
    variables = {*environment, *(dotenv_values(dotenv) if dotenv.is_file() else ())}
    findings = []
    for name in sorted(v for v in variables if _is_unknown(v, known)):
        if name == _FOR_TESTS:
            findings.append(warning("settings", f"{name} is set", "no crash points", f"unset {name}: it is for tests"))
            continue
        close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, 1)
        remedy = f"did you mean {PREFIX}{close[0]}? Otherwise unset it" if close else "unset it"
        findings.append(warning("settings", f"{name} is set, but is no setting", "known names only", remedy))
    return findings


def _is_unknown(variable: str, known: list[str]) -> bool:
    return variable.upper().startswith(PREFIX) and variable.upper().removeprefix(PREFIX) not in known


def wrong_settings(problem: ValidationError) -> list[Finding]:
    """Return a finding for each wrong value."""
    return [error("settings", words, "a valid value", "correct it") for words in settings_problems(problem)]


def check_together(settings: Settings) -> list[Finding]:
    """Check what no single value shows: files that must be there, times that must be in order."""
    findings = []
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            findings.append(
                error("settings", f"{PREFIX}{name.upper()}: no file {path}", "a readable PEM file", "correct the path")
            )
    if not findings:
        try:
            client_options(settings)
        except TlsError as problem:
            findings.append(error("settings", str(problem), "a readable PEM file", "correct it"))
    if settings.security_protocol == "SASL_PLAINTEXT" and settings.sasl_mechanism == "PLAIN":
        findings.append(
            warning(
                "settings",
                "the password goes over the network in the clear",
                "TLS around it",
                f"set {PREFIX}SECURITY_PROTOCOL=SASL_SSL, or {PREFIX}SASL_MECHANISM=SCRAM-SHA-512",
            )
        )
    for name in ("commit_interval_ms", "item_commit_interval_ms"):
        interval_ms = int(getattr(settings, name))
        if interval_ms > settings.longest_interval_ms:
            findings.append(
                error(
                    "settings",
                    f"{PREFIX}{name.upper()} is {interval_ms} ms, {PREFIX}TRANSACTION_TIMEOUT_MS "
                    f"{settings.transaction_timeout_ms} ms",
                    "a timeout of at least twice the interval",
                    f"raise {PREFIX}TRANSACTION_TIMEOUT_MS: a task commits every {settings.longest_interval_ms} ms, so "
                    "that the broker does not end transactions that are well",
                )
            )
    if settings.replication_factor == 1 and "," in settings.bootstrap_servers:
        findings.append(
            warning(
                "settings",
                f"{PREFIX}REPLICATION_FACTOR is 1 on several brokers",
                "3",
                f"set {PREFIX}REPLICATION_FACTOR=3 before `crossaisle topics create`",
            )
        )
    if not any(finding.severity == "error" for finding in findings):
        findings.insert(0, ok("settings", f"{len(Settings.model_fields)} settings, all valid", "valid values"))
    return findings
