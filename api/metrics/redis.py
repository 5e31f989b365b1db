"""The ledger's Redis or Valkey under redis_exporter's names, so that dashboards and rules made for that fit."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from transcription.ports import Server

_GAUGES = {
    "uptime_in_seconds": ("uptime_in_seconds", "How long the server has run."),
    "connected_clients": ("connected_clients", "Connections of clients."),
    "blocked_clients": ("blocked_clients", "Clients that wait in a blocking call."),
    "maxclients": ("config_maxclients", "Connections that it allows."),
    "used_memory": ("memory_used_bytes", "Memory that the server uses."),
    "used_memory_peak": ("memory_used_peak_bytes", "The most that it has used."),
    "used_memory_rss": ("memory_used_rss_bytes", "Memory that the system has given it."),
    "maxmemory": ("memory_max_bytes", "Memory that it may use; 0: no limit is set."),
    "mem_fragmentation_ratio": ("mem_fragmentation_ratio", "What the system has given it, over what it uses."),
    "loading": ("loading_dump_file", "Whether it is loading its file."),
    "rdb_changes_since_last_save": ("rdb_changes_since_last_save", "Changes since the last snapshot."),
    "aof_enabled": ("aof_enabled", "Whether it keeps an append-only file; it must."),
    "aof_rewrite_in_progress": ("aof_rewrite_in_progress", "Whether that file is being rewritten."),
    "aof_current_size": ("aof_current_size_bytes", "Size of that file."),
    "aof_last_write_status": ("aof_last_write_status", "Whether that file's last write succeeded."),
    "aof_last_bgrewrite_status": ("aof_last_bgrewrite_status", "Whether that file's last rewrite succeeded."),
}
_COUNTERS = {
    "total_connections_received": ("connections_received", "Connections accepted."),
    "rejected_connections": ("rejected_connections", "Connections refused because of maxclients."),
    "total_commands_processed": ("commands_processed", "Commands processed."),
    "total_net_input_bytes": ("net_input_bytes", "Bytes read from clients."),
    "total_net_output_bytes": ("net_output_bytes", "Bytes written to clients."),
    "expired_keys": ("expired_keys", "Keys that expired."),
    "evicted_keys": ("evicted_keys", "Keys thrown away for want of memory; of a ledger none may be."),
    "keyspace_hits": ("keyspace_hits", "Keys looked up and found."),
    "keyspace_misses": ("keyspace_misses", "Keys looked up and not found."),
    "used_cpu_sys": ("cpu_sys_seconds", "Processor time in the system."),
    "used_cpu_user": ("cpu_user_seconds", "Processor time of its own."),
}
_LABELS = ("role", "redis_version", "redis_mode", "os", "maxmemory_policy")


def redis_metrics(server: Server | None) -> Iterable[Metric]:
    """What the server's INFO says, or `redis_up 0` alone when it doesn't answer."""
    yield GaugeMetricFamily("redis_up", "Whether the ledger's server answers.", value=float(server is not None))
    if server is None:
        return
    info = server.info
    for field, (name, text) in _GAUGES.items():
        if field in info:
            yield GaugeMetricFamily(f"redis_{name}", text, value=_number(info[field]))
    for field, (name, text) in _COUNTERS.items():
        if field in info:
            yield CounterMetricFamily(f"redis_{name}", text, value=_number(info[field]))
    if "uptime_in_seconds" in info:
        started_at = time.time() - float(info["uptime_in_seconds"])
        yield GaugeMetricFamily("redis_start_time_seconds", "When the server started, Unix time.", value=started_at)
    labels = {name: str(info.get(name, "")) for name in _LABELS}
    yield InfoMetricFamily("redis_instance", "The server, and whether it may throw keys away.", labels)
    yield from _keys(info)
    yield from _commands(info)
    yield from _old_names(server)


def _keys(info: Mapping[str, Any]) -> Iterable[Metric]:
    keys = GaugeMetricFamily("redis_db_keys", "Keys, by database.", labels=["db"])
    expiring = GaugeMetricFamily("redis_db_keys_expiring", "Keys that expire, by database.", labels=["db"])
    for name, found in info.items():
        if name.startswith("db") and name[2:].isdigit():
            keys.add_metric([name], float(found["keys"]))
            expiring.add_metric([name], float(found["expires"]))
    yield from (keys, expiring)


def _commands(info: Mapping[str, Any]) -> Iterable[Metric]:
    calls = CounterMetricFamily("redis_commands", "Calls, by command.", labels=["cmd"])
    spent = CounterMetricFamily("redis_commands_duration_seconds", "Time spent, by command.", labels=["cmd"])
    for name, found in info.items():
        if name.startswith("cmdstat_"):
            calls.add_metric([name.removeprefix("cmdstat_")], float(found["calls"]))
            spent.add_metric([name.removeprefix("cmdstat_")], float(found["usec"]) / 1e6)
    yield from (calls, spent)


def _old_names(server: Server) -> Iterable[Metric]:
    """What other metrics say now, and not by another name alone."""
    text = "Old: see redis_instance_info; gone in version 0.3."
    yield GaugeMetricFamily("murmur_redis_evicts", text, value=float(server.evicts))
    text = "Old: see redis_aof_last_write_status and redis_aof_last_bgrewrite_status; gone in version 0.3."
    yield GaugeMetricFamily("murmur_redis_aof_ok", text, value=float(server.aof_ok))


def _number(value: Any) -> float:
    return float(value == "ok") if isinstance(value, str) else float(value)
