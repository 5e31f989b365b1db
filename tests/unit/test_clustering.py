"""Embeddings of one voice come together, and those of two stay apart."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription.spans import Span
from transcription.speakers import Turn
from worker.diarizers import clustering
from worker.diarizers.base import Voices
from worker.diarizers.clustering import Speakers, centroids, cluster
from worker.diarizers.packing import pack, unpack
from worker.diarizers.turns import resegment

WIDTH = 32


def voices_of(counts: list[int], *, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around one direction for each speaker, shuffled, and whose each is."""
    draw = np.random.default_rng(seed)
    middles = np.linalg.qr(draw.standard_normal((WIDTH, WIDTH)))[0][: len(counts)]
    whose = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    vectors = middles[whose] + draw.standard_normal((whose.size, WIDTH)) * spread
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), whose


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len({*zip(a.tolist(), b.tolist(), strict=True)}) == len({*a.tolist()}) == len({*b.tolist()})


def halves(count: int) -> np.ndarray:
    return np.full(count, 0.5, np.float32)


@pytest.mark.parametrize("counts", [[20], [12, 30], [9, 9, 9, 9, 9, 9]])
def test_every_voice_is_one_cluster(counts: list[int]) -> None:
    vectors, whose = voices_of(counts)
    assert same_partition(cluster(vectors, halves(len(vectors)), Speakers(), threshold=0.6), whose)


def test_first_one_heard_is_the_first_speaker() -> None:
    vectors, _ = voices_of([10, 10, 10])
    labels = cluster(vectors, halves(30), Speakers(), threshold=0.6)
    _, first = np.unique(labels, return_index=True)
    assert labels[0] == 0
    assert list(first) == sorted(first)


def test_speakers_are_numbered_by_their_first_word_however_the_tree_has_them() -> None:
    assert clustering._renumbered(np.array([2, 0, 1, 0])).tolist() == [0, 1, 2, 1]


def around(degrees: list[int]) -> np.ndarray:
    """Unit vectors of a plane."""
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)


def test_a_voice_that_was_merged_early_goes_to_the_one_that_it_is_nearest_to() -> None:
    weights = np.array([2, 3, 3, 3], np.float32)
    assert cluster(around([130, 110, 150, 170]), weights, Speakers(), threshold=0.2).tolist() == [0, 0, 1, 1]


def test_clusters_are_as_far_apart_as_what_is_heard_of_them_on_average() -> None:
    sizes = {0: 3.0, 20: 1.0, 60: 2.0, 150: 1.0}

    def apart(one: list[int], other: list[int]) -> float:
        pairs = [(a, b, sizes[a] * sizes[b]) for a in one for b in other]
        return float(sum((1 - np.cos(np.radians(b - a))) * n for a, b, n in pairs) / sum(n for _, _, n in pairs))

    merges = clustering._tree(around(list(sizes)), np.array(list(sizes.values()), np.float32)).merges
    expected = [apart([0], [20]), apart([0, 20], [60]), apart([0, 20, 60], [150])]
    assert [distance for _, _, distance in merges] == pytest.approx(expected, abs=1e-5)


def test_nothing_heard_is_nobody() -> None:
    assert cluster(np.zeros((0, WIDTH), np.float32), halves(0), Speakers(), threshold=0.6).size == 0


@pytest.mark.parametrize("wanted", [1, 2, 3, 5])
def test_number_of_speakers_that_is_told_is_kept(wanted: int) -> None:
    vectors, _ = voices_of([12, 12, 12, 12])
    labels = cluster(vectors, halves(48), Speakers(wanted, wanted), threshold=0.6)
    assert labels.max() + 1 == wanted


def test_more_speakers_than_there_are_windows_is_no_error() -> None:
    vectors, _ = voices_of([2])
    assert cluster(vectors, halves(2), Speakers(5, 5), threshold=0.6).max() + 1 <= 2


def test_what_is_heard_for_a_moment_makes_no_speaker() -> None:
    vectors, whose = voices_of([20, 20, 1])
    labels = cluster(vectors, halves(41), Speakers(), threshold=0.6)
    assert labels.max() + 1 == 2
    assert same_partition(labels[whose < 2], whose[whose < 2])


def test_long_recording_is_clustered_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, whose = voices_of([150, 90, 60])
    monkeypatch.setattr(clustering, "MOST_AT_ONCE", 80)
    monkeypatch.setattr(clustering, "GROUPS", 10)
    assert same_partition(cluster(vectors, halves(300), Speakers(), threshold=0.6), whose)


def test_who_speaks_in_one_part_of_a_long_recording_is_nobody_of_the_part_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clustering, "MOST_AT_ONCE", 40)
    whose = np.repeat([0, 1], [20, 21])
    vectors = np.eye(2, WIDTH, dtype=np.float32)[whose]
    assert cluster(vectors, halves(41), Speakers(), threshold=0.6).tolist() == whose.tolist()


def test_no_more_is_clustered_at_once_than_memory_allows_however_many_voices_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    tree = clustering._tree

    def noted(vectors: np.ndarray, weights: np.ndarray) -> Any:
        sizes.append(len(vectors))
        assert len(sizes) < 100, "it goes on for ever"
        return tree(vectors, weights)

    monkeypatch.setattr(clustering, "MOST_AT_ONCE", 80)
    monkeypatch.setattr(clustering, "GROUPS", 10)
    monkeypatch.setattr(clustering, "_tree", noted)
    vectors = np.random.default_rng(1).standard_normal((300, WIDTH)).astype(np.float32)  # nobody is like another
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cluster(vectors, halves(300), Speakers(), threshold=0.05)
    assert max(sizes) <= 80


def test_noise_is_none_of_the_speakers_that_were_asked_for() -> None:
    """Two voices are more alike than a noise is to anybody."""
    first, second, third, noise = np.eye(4, WIDTH, dtype=np.float32)
    alike = 0.8 * first + 0.6 * second
    vectors = np.stack([first] * 8 + [alike] * 8 + [third] * 8 + [noise])
    labels = cluster(vectors, halves(25), Speakers(3, 3), threshold=0.3)
    assert same_partition(labels[:24], np.repeat([0, 1, 2], 8))


def test_centroid_is_nearer_to_what_is_heard_longer() -> None:
    found = centroids(np.eye(2, dtype=np.float32), np.array([3, 1], np.float32), np.zeros(2, np.int64))
    assert found[0] == pytest.approx(np.array([3, 1]) / 10**0.5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 40), st.floats(0.05, 1.2), st.integers(1, 4), st.integers(0, 3))
def test_any_vectors_get_labels_without_gaps_within_the_bounds(
    seed: int, count: int, threshold: float, least: int, more: int
) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = cluster(vectors, halves(count), Speakers(least, least + more), threshold=threshold)
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))
    assert labels.max() + 1 <= least + more


def heard(*parts: tuple[float, float, int], both: tuple[Span, ...] = ()) -> tuple[Voices, np.ndarray]:
    means = np.eye(2, WIDTH, dtype=np.float32)
    windows = tuple(Span(start, end) for start, end, _ in parts)
    return Voices(windows, means[[who for _, _, who in parts]], both), means


def test_turn_ends_between_the_windows_of_two_voices() -> None:
    voices, means = heard((0, 1.5, 0), (0.5, 2, 0), (1, 2.5, 0), (2, 3.5, 1), (2.5, 4, 1))
    first, second = resegment(voices, [Span(0, 4)], means)
    assert (first.speaker, second.speaker) == (0, 1)
    assert first.end == second.start == pytest.approx(2.25, abs=0.2)
    assert (first.start, second.end) == (0, 4)


def test_where_two_speak_at_once_there_are_two_turns_and_both_are_marked() -> None:
    voices, means = heard((0, 1.5, 0), (0.5, 2, 0), (1, 2.5, 1), both=(Span(1, 1.5),))
    turns = resegment(voices, [Span(0, 2.5)], means)
    assert [turn.speaker for turn in turns if turn.overlap] == [0, 1]
    assert {(turn.start, turn.end) for turn in turns if turn.overlap} == {(1.0, 1.5)}


def test_speech_in_which_nothing_was_heard_is_nobodys() -> None:
    voices, means = heard((0, 1.5, 0))
    assert resegment(voices, [Span(0, 1.5), Span(3, 3.2)], means) == [Turn(0, 1.5, 0)]


def test_what_was_heard_comes_back_from_the_ledger_as_it_was() -> None:
    vectors, _ = voices_of([3, 2])
    windows = tuple(Span(n * 0.5, n * 0.5 + 1.5) for n in range(5))
    found = unpack(pack(Voices(windows, vectors, (Span(1.0, 1.25),))))
    assert (found.windows, found.both) == (windows, (Span(1.0, 1.25),))
    assert (found.vectors * vectors).sum(1).min() > 0.999
    assert unpack(pack(Voices((), np.zeros((0, 0), np.float32)))).windows == ()


def test_centroids_are_unit_vectors() -> None:
    vectors, whose = voices_of([5, 5])
    assert np.linalg.norm(centroids(vectors, halves(10), whose), axis=1) == pytest.approx([1, 1], abs=1e-5)
