"""Encodes the golden probe of a generation again, to tell whether its vectors are still what the code's encoders give.

Names and hashes are compared before; this sees what they cannot: a served model that was exchanged, a library that computes otherwise, a
stamp that was changed. A generation that fails would be refused by every search, so it must not become live. The tolerance is that of
`probing.py`, and so is the fall back to float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.encoding.binding import Binding, probed
from connector.encoding.probing import Goldens, inputs, opened
from connector.errors import ConfigError, PlanNeeded
from connector.interfaces import DeviceSpec


def check_probe(
    bindings: Sequence[Binding], devices: Mapping[str, DeviceSpec], stamped: Mapping[str, Any] | None
) -> tuple[list[str], list[str]]:
    """Loads the models of the fields whose probe is stamped, one after the other, and compares.

    Args:
        bindings: The encoded fields of the code.
        devices: By field, where to compute.
        stamped: The probe in the generation's stamp.

    Returns:
        Sentences about what agrees or cannot be told, and about what does not agree: the field, found and wanted.

    Raises:
        ConnectorError: A model cannot be loaded, so nothing is known.
    """
    passed: list[str] = []
    problems: list[str] = []
    try:
        goldens = Goldens.from_json(stamped)
    except ConfigError as error:
        return passed, [error.message]
    unknown = [one.field.name for one in bindings if one.field.name not in goldens.vectors and inputs(one.encoder, one.modality)]
    passed += [f"{name}: no golden probe is stamped, so its encoder was not compared" for name in unknown]
    models: dict[tuple[int, DeviceSpec], list[Binding]] = {}
    for one in bindings:
        if one.field.name in goldens.vectors:
            models.setdefault((id(one.encoder), devices.get(one.field.name, DeviceSpec())), []).append(one)
    for (_, device), fields in models.items():
        name = f"{fields[0].encoder.model.kind}:{fields[0].encoder.model.model}"
        wrong = _wrong(name, fields, device, goldens)
        agree = [f"{one.field.name}: {name} gives the golden probe's vectors" for one in fields]
        (problems if wrong else passed).extend([wrong] if wrong else agree)
    return passed, problems


def _wrong(name: str, fields: Sequence[Binding], device: DeviceSpec, goldens: Goldens) -> str:
    """How an encoder's vectors differ from the stamped ones, in words; "" if they do not."""
    known = goldens.of(one.field.name for one in fields)  # and nothing is learnt
    try:
        with opened(fields[0].encoder, device, [probed(one) for one in fields], known, name):
            return ""
    except PlanNeeded as error:
        return error.message
