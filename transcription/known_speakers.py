"""Known speakers: which of those who speak in a recording are the ones of whose voices samples came. Pure."""

from collections.abc import Sequence

from transcription.speakers import Diarized, label


def recognized(found: Diarized, samples: Sequence[tuple[str, Diarized]]) -> dict[str, str]:
    """
    Say who of a recording's speakers is known.

    Each sample goes to one speaker at most, and each speaker gets one sample at most: those pairs of all possible ones
    that are the most alike together. Who is like none of the samples stays a stranger.

    Args:
        found: Who speaks in the recording.
        samples: Names, each with a diarization of that speaker's sample as one speaker.

    Returns:
        Names by the speakers' labels. A stranger stands in it only where another is called what the label says.
    """
    speaking = sorted({turn.speaker for turn in found.turns if turn.speaker < len(found.embeddings)})
    usable = [(name, sample.embeddings[0]) for name, sample in samples if sample.embeddings]
    gains = [
        [found.threshold - _distance(embedding, found.embeddings[speaker]) for speaker in speaking]
        for _, embedding in usable
    ]
    names = {speaking[column]: usable[row][0] for row, column in assigned(gains).items()}
    return {label(speaker): name for speaker, name in (names | _strangers(found, names)).items()}


def assigned(gains: Sequence[Sequence[float]]) -> dict[int, int]:
    """
    Pair rows with columns, one to one, so that the sum of their *gains* is the largest; a pair with a loss is none.

    The Hungarian method with potentials, in rows² × columns steps.

    Returns:
        Column by row, for the rows that have one.
    """
    rows, columns = len(gains), len(gains[0]) if gains else 0
    width = columns + rows  # each row may stay alone, in a column of its own that costs nothing
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (width + 1)
    row_at = [0] * (width + 1)
    for row in range(1, rows + 1):
        _insert(row, gains, of_row, of_column, row_at)
    return {row_at[column] - 1: column - 1 for column in range(1, columns + 1) if row_at[column]}


def _insert(
    row: int, gains: Sequence[Sequence[float]], of_row: list[float], of_column: list[float], row_at: list[int]
) -> None:
    """Give *row* a column by the cheapest chain of exchanges; index 0 stands for «no column yet»."""
    width = len(row_at) - 1
    least, came_from, visited = [float("inf")] * (width + 1), [0] * (width + 1), [False] * (width + 1)
    row_at[0], at = row, 0
    while row_at[at]:
        visited[at] = True
        here, step, following = row_at[at], float("inf"), 0
        for column in range(1, width + 1):
            if visited[column]:
                continue
            cost = _cost(gains, here, column) - of_row[here] - of_column[column]
            if cost < least[column]:
                least[column], came_from[column] = cost, at
            if least[column] < step:
                step, following = least[column], column
        for column in range(width + 1):
            if visited[column]:
                of_row[row_at[column]] += step
                of_column[column] -= step
            else:
                least[column] -= step
        at = following
    while at:
        row_at[at] = row_at[came_from[at]]
        at = came_from[at]


def _cost(gains: Sequence[Sequence[float]], row: int, column: int) -> float:
    """What a pair costs: less than nothing where it is a gain, and never worth it where it is a loss."""
    if column > len(gains[row - 1]):
        return 0.0
    gain = gains[row - 1][column - 1]
    return -gain if gain > 0 else 1.0


def _strangers(found: Diarized, names: dict[int, str]) -> dict[int, str]:
    """Other labels for strangers whose label is a known speaker's name."""
    speaking, taken = {turn.speaker for turn in found.turns}, set(names.values())
    free = (name for number in range(len(speaking), 10**6) if (name := label(number)) not in taken)
    return {speaker: next(free) for speaker in sorted(speaking - names.keys()) if label(speaker) in taken}


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Cosine distance of two vectors of one width, in [0, 2]; 2 where one of them is nothing."""
    lengths = sum(value * value for value in one) * sum(value * value for value in other)
    return 1 - sum(a * b for a, b in zip(one, other, strict=True)) / lengths**0.5 if lengths else 2.0
