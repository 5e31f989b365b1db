"""The log that nginx writes to be counted: its lines, how far it was read, and that it stays short."""

from pathlib import Path

import pytest

from murmur.edge.log import Answer, Attempt, Log, parse
from murmur.edge.metrics import MOST_UPSTREAMS, EdgeMetrics


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "api\tGET\t200\t0.012\t10.0.0.2:8000\t200\t0.011",
            Answer("api", "GET", 200, 0.012, (Attempt("10.0.0.2:8000", 200, 0.011),)),
        ),
        ("api\tGET\t429\t0.000\t-\t-\t-", Answer("nginx", "GET", 429, 0.0)),
        (
            "flower\tBREW\t200\t1\t10.0.0.9:5555\t200\t1",
            Answer("flower", "OTHER", 200, 1.0, (Attempt("10.0.0.9:5555", 200, 1.0),)),
        ),
        (
            "api\tPOST\t202\t1.5\t10.0.0.2:8000, 10.0.0.3:8000\t502, 202\t0.500, 1.000",
            Answer("api", "POST", 202, 1.5, (Attempt("10.0.0.2:8000", 502, 0.5), Attempt("10.0.0.3:8000", 202, 1.0))),
        ),
        (
            "api\tGET\t200\t1\t[::1]:8000 : 10.0.0.3:8000\t502 : 200\t- : 1.000",
            Answer("api", "GET", 200, 1.0, (Attempt("[::1]:8000", 502, 0.0), Attempt("10.0.0.3:8000", 200, 1.0))),
        ),
        (
            "api\tGET\t499\t9.0\t10.0.0.2:8000\t-\t9.000",
            Answer("api", "GET", 499, 9.0, (Attempt("10.0.0.2:8000", 0, 9.0),)),
        ),
        ("", None),
        ("api\tGET\t200\t0.012\t10.0.0.2:8000\t200, 200\t0.011", None),
        ("api\tGET\ttwo\t0.012\t-\t-\t-", None),
    ],
)
def test_a_line_says_who_answered_after_which_attempts(line: str, answer: Answer | None) -> None:
    assert parse(line) == answer


def test_a_client_that_leaves_is_no_failure_of_the_replica_and_one_that_was_passed_over_is() -> None:
    metrics = EdgeMetrics()
    metrics.count("api\tGET\t499\t9.0\ta\t-\t9.000")
    metrics.count("api\tGET\t200\t9.0\tb, a\t502, 200\t1.0, 1.0")
    metrics.count("api\tGET\t504\t9.0\ta\t504\t1.0")
    metrics.count("api\tGET\t200\t9.0\tc, a\t-, 200\t1.0, 1.0")  # c broke off before it said anything
    metrics.count("not a line")
    value = metrics.registry.get_sample_value
    assert value("murmur_edge_upstream_failures_total", {"upstream": "a"}) == 1
    assert value("murmur_edge_upstream_failures_total", {"upstream": "b"}) == 1
    assert value("murmur_edge_upstream_failures_total", {"upstream": "c"}) == 1
    assert value("murmur_edge_upstream_duration_seconds_count", {"upstream": "a"}) == 2
    assert value("murmur_edge_requests_total", {"service": "api", "upstream": "a", "status": "499"}) == 1
    assert value("murmur_edge_unreadable_lines_total") == 1


@pytest.mark.parametrize("service", ["api", "nginx"])
def test_first_error_of_all_is_an_increase_from_nothing(service: str) -> None:
    """Prometheus sees no increase in a series that begins with its first error."""
    labels = {"service": service, "upstream": "", "status": "502"}
    assert EdgeMetrics().registry.get_sample_value("murmur_edge_requests_total", labels) == 0


def test_addresses_of_replicas_that_are_long_gone_are_forgotten() -> None:
    metrics = EdgeMetrics()
    for number in range(3 * MOST_UPSTREAMS):
        metrics.count(f"api\tGET\t200\t1\t10.0.{number}.1:8000\t200\t1")
        metrics.count("api\tGET\t200\t1\tstays\t200\t1")
    upstreams = {
        sample.labels["upstream"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if "upstream" in sample.labels
    } - {""}
    assert len(upstreams) == MOST_UPSTREAMS
    value = metrics.registry.get_sample_value
    labels = {"service": "api", "upstream": "stays", "status": "200"}
    assert value("murmur_edge_requests_total", labels) == 3 * MOST_UPSTREAMS


def test_only_whole_lines_are_read_once_each_also_by_a_reader_that_is_started_again(tmp_path: Path) -> None:
    file = tmp_path / "counted.log"
    seen: list[str] = []
    assert Log(file).read(seen.append) == 0  # nginx hasn't started
    file.write_text("one\ntwo\nthr")
    first = Log(file)
    assert first.read(seen.append) == 2
    with file.open("a") as nginx:
        nginx.write("ee\n")
    assert Log(file).read(seen.append) == 1
    assert seen == ["one", "two", "three"]


def test_a_log_that_grows_long_is_emptied_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "counted.log"
    log = Log(file, longest_bytes=100)
    seen: list[str] = []
    with file.open("a") as nginx:  # as nginx has it: what it appends goes to the end, wherever that is
        for number in range(100):
            nginx.write(f"line {number}\n")
            nginx.flush()
            log.read(seen.append)
    assert seen == [f"line {number}" for number in range(100)]
    assert file.stat().st_size < 200
    assert Log(file, longest_bytes=100).read(seen.append) == 0


def test_a_log_that_somebody_else_has_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "counted.log"
    file.write_text("one\ntwo\n")
    log, seen = Log(file), list[str]()
    log.read(seen.append)
    file.write_text("new\n")
    log.read(seen.append)
    assert seen == ["one", "two", "new"]
