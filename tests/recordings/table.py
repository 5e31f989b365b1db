"""`python -m tests.recordings.table`: writes the table in docs/recordings.md anew."""

from pathlib import Path

from tests.recordings import corpus, measure

PAGE = Path(__file__).parents[2] / "docs" / "recordings.md"
KINDS = ("plain", "late", "gap", "hole", "cut", "glued", "length", "channels", "tracks")
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """The table, made of what comes out."""
    rows = [f"| {name} | " + " | ".join(measure.cell(name, kind) for kind in KINDS) + " |" for name in corpus.FORMS]
    return (
        "\n".join(["| container, codec | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|", *rows]) + "\n"
    )


def cells() -> dict[tuple[str, str], str]:
    """What the page says, by form and kind."""
    body = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.strip().splitlines()[2:]]
    return {(row[0], kind): said for row in rows for kind, said in zip(KINDS, row[1:], strict=True)}


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
