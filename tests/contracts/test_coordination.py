"""Writer and reader say each for itself what a step posts: they must say the same."""

from reader.core.coordinated import POSTED_BY_OUTCOME, POSTED_BY_STEP
from writer.core.coordination import MOVES


def test_the_reader_posts_what_the_writer_moves() -> None:
    moved = {step: move.posted for (_, step), move in MOVES.items() if move.posted}
    assert moved == dict(POSTED_BY_STEP) | dict(POSTED_BY_OUTCOME)
