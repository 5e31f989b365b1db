"""Clustering: which embeddings are one speaker's. Agglomerative, by cosine distance, average linkage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_AT_ONCE = 1500
"""Embeddings that are clustered in one go, in n² memory; of more, neighbours in time are put together first."""

GROUPS = MOST_AT_ONCE // 8

REFINEMENTS = 3

LEAST_HEARD_S = 2.0
"""Who is heard for less time isn't taken for a speaker of their own."""

STRAYS = 20

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Speakers:
    """How many there may be: at least, at most."""

    least: int = 1
    most: int | None = None


def cluster(vectors: Vectors, weights: NDArray[np.float32], speakers: Speakers, *, threshold: float) -> Labels:
    """
    Say which embeddings belong together.

    Args:
        vectors: Unit vectors, shape (n, width), in the order of time.
        weights: How much each counts, shape (n,): the seconds of speech that it alone stands for.
        speakers: How many clusters there may be.
        threshold: Cosine distance up to which two clusters are one.

    Returns:
        Shape (n,): a number for each, 0, 1, … by the order in which they are first heard. The same input gives the
        same labels.
    """
    if not len(vectors):
        return np.zeros(0, np.int64)
    groups = _neighbours(vectors, weights, threshold)
    means = _centroids(vectors, weights, groups)
    sizes = np.bincount(groups, weights).astype(np.float32)
    labels = _among_heard(_cut(means, sizes, speakers, threshold)[groups], vectors, weights, speakers)
    for _ in range(REFINEMENTS):
        refined = _renumbered((vectors @ _centroids(vectors, weights, labels).T).argmax(1))
        if refined.max() < labels.max():
            break
        labels = refined
    return labels


def centroids(vectors: Vectors, weights: NDArray[np.float32], labels: Labels) -> Vectors:
    """Each cluster's mean, as unit vectors, shape (clusters, width)."""
    return _centroids(vectors, weights, labels)


def _centroids(vectors: Vectors, weights: NDArray[np.float32], labels: Labels) -> Vectors:
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors * weights[:, None])
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9), np.float32)


def _neighbours(vectors: Vectors, weights: NDArray[np.float32], threshold: float) -> Labels:
    """Groups to be clustered: one for each embedding where they are few, else clusters of each part of the time."""
    groups = np.arange(len(vectors))
    while int(groups.max()) + 1 > MOST_AT_ONCE:
        means = _centroids(vectors, weights, groups)
        sizes = np.bincount(groups, weights).astype(np.float32)
        found, offset = np.empty(len(means), np.int64), 0
        for start in range(0, len(means), MOST_AT_ONCE // 2):
            part = slice(start, start + MOST_AT_ONCE // 2)
            tree = _tree(means[part], sizes[part])
            labels = tree.cut(threshold / 2)
            if labels.max() >= GROUPS:
                labels = tree.cut_into(GROUPS)
            found[part] = labels + offset
            offset += int(labels.max()) + 1
        groups = found[groups]
    return groups


def _cut(means: Vectors, sizes: NDArray[np.float32], speakers: Speakers, threshold: float) -> Labels:
    """The clusters at *threshold*; further up or down the tree where that isn't as many speakers as there may be."""
    tree = _tree(means, sizes)
    labels = tree.cut(threshold)
    heard = _heard(labels, sizes)
    wanted = max(heard, speakers.least) if speakers.most is None else min(max(heard, speakers.least), speakers.most)
    if wanted == heard:
        return labels
    # What is heard for a moment only is noise, or two at once: it doesn't count as one of those that were asked for.
    for count in range(wanted, min(wanted + STRAYS, tree.count) + 1):
        labels = tree.cut_into(count)
        if _heard(labels, sizes) >= wanted:
            return labels
    return tree.cut_into(min(wanted, tree.count))


def _heard(labels: Labels, sizes: NDArray[np.float32]) -> int:
    """Clusters that aren't heard for a moment only."""
    return int((np.bincount(labels, sizes) >= LEAST_HEARD_S).sum())


def _among_heard(labels: Labels, vectors: Vectors, weights: NDArray[np.float32], speakers: Speakers) -> Labels:
    """Give what is heard for a moment only to the speaker that it is most like."""
    heard = np.bincount(labels, weights)
    kept = np.flatnonzero(heard >= LEAST_HEARD_S)
    if len(kept) < speakers.least:
        kept = np.sort(np.argsort(-heard, kind="stable")[: speakers.least])
    if len(kept) == len(heard):
        return labels
    means = _centroids(vectors, weights, labels)
    nearest = kept[(means @ means[kept].T).argmax(1)]
    nearest[kept] = kept
    return _renumbered(nearest[labels])


@dataclass(frozen=True, slots=True)
class _Tree:
    """What was merged with what, the nearest first: (one, other, distance), by the index of a member of each."""

    count: int
    merges: list[tuple[int, int, float]]

    def cut(self, threshold: float) -> Labels:
        """The clusters in which no two are nearer than *threshold*."""
        return self._merged([merge for merge in self.merges if merge[2] <= threshold])

    def cut_into(self, count: int) -> Labels:
        """So many clusters."""
        return self._merged(self.merges[: self.count - count])

    def _merged(self, merges: list[tuple[int, int, float]]) -> Labels:
        parent = np.arange(self.count)

        def root(node: int) -> int:
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = int(parent[node])
            return node

        for one, other, _ in merges:
            parent[root(other)] = root(one)
        return _renumbered(np.array([root(node) for node in range(self.count)]))


def _tree(vectors: Vectors, sizes: NDArray[np.float32]) -> _Tree:
    """Average linkage by chains of nearest neighbours, in n² time and memory."""
    count = len(vectors)
    distance = (1 - vectors @ vectors.T).astype(np.float32)
    np.fill_diagonal(distance, np.inf)
    weight = np.maximum(sizes.astype(np.float64), 1e-6)
    alive = np.ones(count, bool)
    merges: list[tuple[int, int, float]] = []
    chain: list[int] = []
    while len(merges) < count - 1:
        if not chain:
            chain.append(int(np.flatnonzero(alive)[0]))
        top = chain[-1]
        nearest = int(distance[top].argmin())
        if len(chain) > 1 and distance[top, chain[-2]] <= distance[top, nearest]:
            one, other = sorted((chain.pop(), chain.pop()))
            merges.append((one, other, float(distance[one, other])))
            share = weight[one] / (weight[one] + weight[other])
            merged = share * distance[one] + (1 - share) * distance[other]
            merged[[one, other]] = np.inf
            distance[one] = distance[:, one] = merged
            distance[other] = distance[:, other] = np.inf
            weight[one] += weight[other]
            alive[other] = False
        else:
            chain.append(nearest)
    return _Tree(count, sorted(merges, key=lambda merge: merge[2]))


def _renumbered(labels: NDArray[np.int64]) -> Labels:
    """The same clusters, numbered by their first member."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
