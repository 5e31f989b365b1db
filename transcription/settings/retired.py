"""Settings of earlier versions: they are accepted for one version, and a warning says what became of them."""

import warnings
from collections.abc import Mapping
from typing import Any

RETIRED = {
    ("ledger", "hint_timeout_s"): "hints are sent again after a minute",
    ("lease", "look_s"): "it follows from MURMUR_LEASE__RENEW_S",
    ("lease", "reap_s"): "it follows from MURMUR_LEASE__TTL_S",
    ("retention", "sweep_s"): "the sweep runs every minute",
    ("blobs", "link_ttl_s"): "links are valid for two minutes",
    ("webhook", "first_retry_s"): "the first retry comes after 5 s",
    ("webhook", "longest_retry_s"): "retries are at most 4 hours apart",
}
"""Settings that became constants, and what holds now."""


def without_retired(values: Any) -> Any:
    """*values*, nested as the settings are, without those that no longer exist. Each one gives a FutureWarning."""
    if not isinstance(values, Mapping):
        return values
    kept = dict(values)
    for (part, name), instead in RETIRED.items():
        inner = kept.get(part)
        if isinstance(inner, Mapping) and name in inner:
            kept[part] = {key: value for key, value in inner.items() if key != name}
            warnings.warn(
                f"MURMUR_{part.upper()}__{name.upper()} has no effect any more ({instead}); please remove it",
                FutureWarning,
                stacklevel=2,
            )
    return kept
