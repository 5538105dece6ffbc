"""Every setting of Crossaisle: environment variables with the prefix ``CROSSAISLE_``, and a ``.env`` file."""

import re
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from operators.arms import Arm, parse_arms
from operators.rewards import DEFAULT_REWARDS, parse_rewards

PREFIX = "CROSSAISLE_"
MAX_SEED = 2**63 - 1
"""Kernels take seeds as signed integers of 64 bits."""
_OWN_TOPICS = ("item_updates", "item_state", "policy_updates", "policy_state", "policy_table", "user_state")
CREDENTIALS = ("sasl_username", "sasl_password", "ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")
"""Settings of a protocol other than PLAINTEXT; one that is empty is none."""
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_DAY_MS = 86_400_000
_MAX_PORT = 65_535


def _is_address(text: str) -> bool:
    """Return whether a text is ``host:port``."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and 1 <= int(found[2]) <= _MAX_PORT


def _default_state_dir() -> Path:
    return user_data_path("crossaisle") / "state"


class Settings(BaseSettings):
    """What an operator may set. Immutable; every field has a default, and its unit in its name or help.

    Raises
    ------
    pydantic.ValidationError
        A value has the wrong type or lies outside its bounds; the message names the variable.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, separated by commas.")
    app_id: str = Field(
        "crossaisle",
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Prefix of groups, transactional ids and own topics: two apps with different ids share a cluster.",
    )
    state_dir: Path = Field(
        default_factory=_default_state_dir,
        description="Directory of the local stores: a cache of the changelogs.",
    )
    accepted_topics: str = Field(
        "",
        description="Ids of state topics, separated by commas, that are accepted though they were put back from a "
        "backup or have lost records. The error that stops a worker names the id.",
    )
    commit_interval_ms: int = Field(
        100,
        ge=10,
        le=60_000,
        description="How often a user task commits, in milliseconds; slates are sent with the commit at the latest. "
        "Under load up to ten times as long, but never longer than half of `transaction_timeout_ms`.",
    )
    item_commit_interval_ms: int = Field(
        250, ge=10, le=60_000, description="How often an item task commits, and so publishes items, in milliseconds."
    )
    transaction_timeout_ms: int = Field(
        10_000,
        ge=1_000,
        le=900_000,
        description="After this the broker ends the open transaction of a frozen task, in milliseconds.",
    )
    session_timeout_ms: int = Field(
        10_000,
        ge=1_000,
        le=1_800_000,
        description="A worker that is silent for this long loses its partitions, in milliseconds.",
    )
    compute_threads: int = Field(
        2,
        ge=1,
        le=64,
        description="Threads that learn and fill slates; the worker's partitions of events are shared out among them.",
    )
    max_batch_events: int = Field(2_000, ge=1, le=100_000, description="Most records that a task learns from at once.")
    partitions: int = Field(4, ge=1, le=10_000, description="Partitions of new topics (`topics create`, `demo`).")
    replication_factor: int = Field(1, ge=1, le=100, description="Replicas of new topics.")
    hot_rows: int = Field(
        200_000,
        ge=1_000,
        le=1_000_000_000,
        description="Most rows (users or items) that a task keeps in memory.",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of everything that is drawn at random.")

    max_future_ms: int = Field(
        3_600_000,
        ge=0,
        le=365 * _DAY_MS,
        description="An event further in the future than this is rejected, in milliseconds.",
    )
    max_id_bytes: int = Field(256, ge=8, le=4_096, description="Longest id, in bytes of UTF-8.")
    max_record_bytes: int = Field(
        65_536, ge=256, le=1_000_000, description="Largest event or catalogue record, in bytes."
    )
    session_gap_ms: int = Field(
        86_400_000,
        ge=1_000,
        le=365 * _DAY_MS,
        description="Without session ids, a gap longer than this starts a new session, in milliseconds.",
    )

    category_depth: int = Field(
        0, ge=0, le=32, description="Levels of an item's path that make its category; 0 is all of them."
    )
    slate_size: int = Field(10, ge=1, le=10, description="Items in a slate.")
    category_cap: int = Field(
        2,
        ge=0,
        le=10,
        description="Most items of one category in a slate, or twice a category's even share of the slots where "
        "that is more; 0 is no cap.",
    )
    discovery_slots: int = Field(2, ge=0, le=10, description="Slots kept for items new to the user.")
    discovery_worth: float = Field(
        2.5,
        ge=0.1,
        le=10.0,
        description="When a slate is filled, the probability of an item new to the user is multiplied by this, until "
        "new items fill half of it; 1 changes nothing.",
    )
    shown_limit: int = Field(
        0,
        ge=0,
        le=255,
        description="An item in this many slates in a row without a reaction is left out for a while; 0 is never.",
    )
    exclude_bought_days: float = Field(
        0.0,
        ge=0.0,
        le=36_500.0,
        description="Items bought less than this many days ago are left out, and longer as long as the user goes on "
        "looking at them with shorter pauses; 0 is never.",
    )

    relearn_events: int = Field(
        20_000,
        ge=0,
        le=1_000_000_000,
        description="After a drift alarm a partition learns faster for this many events; 0 is never.",
    )

    policy: str = Field(
        "learned",
        description="`learned`: arms that earn more fill more slates; or the name of the arm that fills all of them.",
    )
    policy_arms: str = Field(
        "greedy:temperature=0,epsilon=0; explore:temperature=0.03,epsilon=0.002; "
        "discover:temperature=0.03,epsilon=0.002,discovery_slots=3",
        description="Arms: policies that can fill slates; the first is the baseline. Defaults of an arm: "
        "temperature 0.05, epsilon 0.005, and the settings of discovery slots and category cap.",
    )

    policy_half_life_days: float = Field(
        30.0, gt=0.0, le=3_650.0, description="After this many days an observed reward counts half."
    )
    policy_min_share: float = Field(0.02, ge=0.0, le=0.5, description="Smallest share of slates that an arm gets.")
    policy_baseline_share: float = Field(
        0.1, gt=0.0, le=1.0, description="Smallest share of slates that the baseline gets."
    )
    policy_fall_back_at: float = Field(
        0.99,
        gt=0.5,
        le=1.0,
        description="An arm that is worse than the baseline with this probability gets the smallest share only.",
    )
    policy_publish_ms: int = Field(
        1_000, ge=50, le=3_600_000, description="Shortest time between two versions of the policy, in milliseconds."
    )
    holdout_share: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Share of users, always the same ones, who get one fixed arm, for comparison.",
    )
    holdout_policy: str = Field(
        "",
        description="Arm of the users of the holdout; empty: the baseline, or the arm that fills all slates.",
    )
    holdout_salt: str = Field("crossaisle", description="Another salt picks other users for the holdout.")
    attribution_window_ms: int = Field(
        86_400_000,
        ge=1_000,
        le=30 * _DAY_MS,
        description="An event can earn a reward for a slate up to this long after it, or after its last "
        "impression, in milliseconds; never after twice this.",
    )
    rewards: str = Field(
        DEFAULT_REWARDS,
        description="Reward of each type of event; a rating earns -1 (one star) to 1 (five stars) times it.",
    )
    reward_cap: float = Field(
        3.0, gt=0.0, le=1_000.0, description="A slate's reward is kept between minus this and this."
    )

    web_host: str = Field("127.0.0.1", description="Address that the worker's HTTP server listens on.")
    web_port: int = Field(6066, ge=1, le=_MAX_PORT, description="Port of the worker's HTTP server.")
    web_advertise: str = Field(
        "",
        description="host:port at which other workers reach this one's HTTP server; empty: `web_host` and `web_port`, "
        "with the machine's name where `web_host` is all addresses.",
    )
    web_token: SecretStr | None = Field(
        None, description="Token that the HTTP server asks for; needed where `web_host` is not the loopback."
    )
    web_cached_slates: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Newest slates that a user task keeps in memory for HTTP, at most.",
    )
    json_logs: bool | None = Field(None, description="Whether logs are JSON; unset: unless they go to a terminal.")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    sasl_username: str | None = Field(None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(None, description="Password for SASL.")
    ssl_cafile: Path | None = Field(None, description="Certificate authorities to trust, PEM.")
    ssl_certfile: Path | None = Field(None, description="Client certificate, PEM.")
    ssl_keyfile: Path | None = Field(None, description="Key of the client certificate, PEM.")
    ssl_key_password: SecretStr | None = Field(None, description="Password of an encrypted key of the client.")

    topic_events: str = Field("events", description="Topic of events: what users do.")
    topic_catalog: str = Field("catalog", description="Topic of the catalogue, compacted.")
    topic_recommendations: str = Field("recommendations", description="Topic of slates.")
    topic_rejects: str = Field("rejects", description="Topic of records that could not be used.")
    topic_item_updates: str = Field("", description="Topic of summed updates to items; empty: `{app_id}.item-updates`.")
    topic_item_state: str = Field("", description="Topic of item rows, compacted; empty: `{app_id}.item-state`.")
    topic_policy_updates: str = Field("", description="Topic of policy statistics; empty: `{app_id}.policy-updates`.")
    topic_policy_state: str = Field("", description="Topic of the policy, compacted; empty: `{app_id}.policy-state`.")
    topic_policy_table: str = Field(
        "", description="Topic of the policy agent's table, compacted; empty: `{app_id}.policy-table`."
    )
    topic_user_state: str = Field("", description="Topic of user rows, compacted; empty: `{app_id}.user-state`.")

    @model_validator(mode="before")
    @classmethod
    def _name_own_topics(cls, values: Any) -> Any:
        if isinstance(values, dict):
            app_id = values.get("app_id") or cls.model_fields["app_id"].default
            for name in _OWN_TOPICS:
                if not values.get(f"topic_{name}"):
                    values[f"topic_{name}"] = f"{app_id}.{name.replace('_', '-')}"
        return values

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_addresses(cls, value: str) -> str:
        if not all(_is_address(address.strip()) for address in value.split(",")):
            ports = f", ports from 1 to {_MAX_PORT}" if ":" in value else ""
            message = f"must be host:port, or several of them separated by commas{ports}"
            raise ValueError(message)
        return value

    @field_validator("web_advertise")
    @classmethod
    def _check_advertised(cls, value: str) -> str:
        if value and not _is_address(value):
            message = f"must be host:port, the port from 1 to {_MAX_PORT}, or empty"
            raise ValueError(message)
        return value

    @field_validator("state_dir", mode="before")
    @classmethod
    def _take_empty_for_unset(cls, value: Any) -> Any:
        return _default_state_dir() if value == "" else value

    @field_validator(*CREDENTIALS, mode="before")
    @classmethod
    def _take_empty_for_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("web_token")
    @classmethod
    def _take_blank_for_none(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value().strip() else None

    @model_validator(mode="after")
    def _check_topics(self) -> "Settings":
        variables: dict[str, str] = {}
        for field in type(self).model_fields:
            if not field.startswith("topic_"):
                continue
            variable, topic = f"{PREFIX}{field.upper()}", getattr(self, field)
            if topic in (".", "..") or not _TOPIC_NAME.fullmatch(topic):
                message = (
                    f"{variable}: a topic's name has letters, digits, '.', '_' and '-', at most 249; got {topic!r}"
                )
                raise ValueError(message)
            if topic in variables:
                message = f"{variable} and {variables[topic]} are both {topic!r}: each needs a topic of its own"
                raise ValueError(message)
            variables[topic] = variable
        return self

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            names = f"{PREFIX}SASL_USERNAME and {PREFIX}SASL_PASSWORD"
            message = f"{PREFIX}SECURITY_PROTOCOL {self.security_protocol} needs {names}"
            raise ValueError(message)
        self._check_protocol()
        if self.ssl_keyfile and not self.ssl_certfile:
            message = f"{PREFIX}SSL_KEYFILE without {PREFIX}SSL_CERTFILE: set both, or neither"
            raise ValueError(message)
        for name in {self.policy, self.holdout_policy} - {"learned", ""} | {self.arms[0].name}:
            self.arm_number(name)
        parse_rewards(self.rewards)
        return self

    def _check_protocol(self) -> None:
        """Refuse settings that the protocol would ignore: whoever sets a password believes that it is used."""
        sasl = {"SASL_USERNAME": self.sasl_username, "SASL_PASSWORD": self.sasl_password}
        tls = {"SSL_CAFILE": self.ssl_cafile, "SSL_CERTFILE": self.ssl_certfile, "SSL_KEYFILE": self.ssl_keyfile}
        signs_in, over_tls = self.security_protocol.startswith("SASL"), self.security_protocol.endswith("SSL")
        ignored = [name for name, value in sasl.items() if value and not signs_in]
        ignored += [name for name, value in tls.items() if value and not over_tls]
        if not ignored:
            return
        is_sasl = signs_in or any(name in sasl for name in ignored)
        is_tls = over_tls or any(name in tls for name in ignored)
        wanted = ("SASL_SSL" if is_tls else "SASL_PLAINTEXT") if is_sasl else "SSL"
        names = " and ".join(f"{PREFIX}{name}" for name in ignored)
        message = (
            f"{names} would not be used with {PREFIX}SECURITY_PROTOCOL {self.security_protocol}: "
            f"set {PREFIX}SECURITY_PROTOCOL to {wanted}, or take {'them' if len(ignored) > 1 else 'it'} out"
        )
        raise ValueError(message)

    def arm_number(self, name: str) -> int:
        """Return the number of an arm among :attr:`arms`.

        Raises
        ------
        ValueError
            There is no such arm.
        """
        names = [arm.name for arm in self.arms]
        if name not in names:
            message = f"{PREFIX}POLICY_ARMS lists no arm {name!r}; there are {', '.join(names)}"
            raise ValueError(message)
        return names.index(name)

    @property
    def longest_interval_ms(self) -> int:
        """The longest commit interval, in milliseconds: a transaction is open for one, and is to end well in time."""
        return self.transaction_timeout_ms // 2

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that ``policy_arms`` lists, the baseline first."""
        return parse_arms(self.policy_arms, self.discovery_slots, self.category_cap)
