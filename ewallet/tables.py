"""Text tables for a terminal. Pure."""

from collections.abc import Iterable, Sequence


def render_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines of columns two spaces apart; columns of whole numbers are right-aligned.

    A cell that is None is shown as "-".
    """
    body = [list(row) for row in rows]
    texts = [list(header), *([_text(cell) for cell in row] for row in body)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(header))]
    is_number = [_is_number_column(body, column) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in texts
    )


def _is_number_column(rows: Sequence[Sequence[object]], column: int) -> bool:
    return bool(rows) and all(isinstance(row[column], int | None) for row in rows)


def _text(cell: object) -> str:
    return "-" if cell is None else str(cell)
