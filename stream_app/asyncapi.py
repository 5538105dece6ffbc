"""The AsyncAPI 3 document of every topic, generated from the settings, the topics' specs and the records' structs."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from stream_app.channels import CHANNELS, JSON
from stream_app.records.schema import component_schemas
from stream_app.topics import topic_specs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_app.channels import Channel, Message
    from stream_app.settings import Settings

ASYNCAPI_VERSION: Final = "3.0.0"
_BINDING_VERSION: Final = "0.5.0"


def asyncapi_document(settings: Settings) -> dict[str, Any]:
    """Return the AsyncAPI document of all topics, with the names that the settings give them.

    Parameters
    ----------
    settings
        Addresses, application id and topic names. Nothing secret of them is in the document.
    """
    specs = {spec.name: spec.config for spec in topic_specs(settings)}
    names = {channel.topic: str(getattr(settings, f"topic_{channel.topic}")) for channel in CHANNELS}
    messages = {message.name: message for channel in CHANNELS for message in channel.messages}
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Crossaisle",
            "version": version("crossaisle"),
            "description": "A streaming recommender: events in, cross-category slates out, every event learned once. "
            "Fields are only ever added, with defaults; unknown fields are ignored.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": _servers(settings),
        "channels": {c.topic: _channel(c, names[c.topic], specs[names[c.topic]]) for c in CHANNELS},
        "operations": {name: part for c in CHANNELS for name, part in _operations(c, settings).items()},
        "components": {
            "schemas": component_schemas("#/components/schemas/{name}"),
            "messages": {name: _message(message) for name, message in messages.items()},
        },
    }


def _servers(settings: Settings) -> dict[str, Any]:
    protocol = "kafka" if settings.security_protocol == "PLAINTEXT" else "kafka-secure"
    addresses = [address.strip() for address in settings.bootstrap_servers.split(",")]
    return {
        f"broker-{n}": {
            "host": address,
            "protocol": protocol,
            "description": f"Apache Kafka 3 or newer, {settings.security_protocol}.",
        }
        for n, address in enumerate(addresses, 1)
    }


def _channel(channel: Channel, name: str, config: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {
        key: value.split(",") if key == "cleanup.policy" else float(value) if "." in value else int(value)
        for key, value in config.items()
    }
    binding: dict[str, Any] = {"topic": name, "bindingVersion": _BINDING_VERSION}
    if known:
        binding["topicConfiguration"] = known
    return {
        "address": name,
        "title": channel.title,
        "description": channel.description,
        "messages": {m.name: {"$ref": f"#/components/messages/{m.name}"} for m in channel.messages},
        "bindings": {"kafka": binding},
        "x-setting": f"CROSSAISLE_TOPIC_{channel.topic.upper()}",
        "x-flow": channel.flow,
    }


def _operations(channel: Channel, settings: Settings) -> dict[str, Any]:
    """Return what Crossaisle does with a topic: AsyncAPI 3 takes the application's side."""
    actions = {"in": ("receive",), "out": ("send",), "own": ("send", "receive")}[channel.flow]
    title = channel.topic.replace("_", " ").title().replace(" ", "")
    operations = {}
    for action in actions:
        part: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel.topic}"},
            "summary": f"Crossaisle {'reads' if action == 'receive' else 'writes'} this topic.",
        }
        if action == "receive" and channel.stage:
            group = {"type": "string", "enum": [f"{settings.app_id}.{channel.stage}"]}
            part["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING_VERSION}}
        operations[f"{action}{title}"] = part
    return operations


def _message(message: Message) -> dict[str, Any]:
    types = list(message.key_types)
    key = {"type": types if len(types) > 1 else types[0], "description": message.key}
    part: dict[str, Any] = {
        "name": message.name,
        "title": message.name[0].upper() + message.name[1:],
        "summary": message.summary,
        "contentType": message.content_type,
        "payload": dict(message.payload),
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING_VERSION}},
    }
    if message.headers is not None:
        part["headers"] = dict(message.headers)
    if message.example is not None:
        headers, payload = message.example
        part["examples"] = [{**({"headers": dict(headers)} if headers else {}), "payload": payload}]
    return part
