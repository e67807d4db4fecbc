"""The wallet at a glance, as it is pushed once a second to who looks."""

from typing import Annotated, TypedDict

from msgspec import Meta

from proxy.core.overview import Overview
from proxy.core.pace import PaceShown
from proxy.core.recorded import UnfinishedTransfers
from proxy.core.representations import Moment

UNFINISHED_SHOWN: int = 20


class Picture(TypedDict):
    """Who leads and follows, what is unfinished, and how fast it goes."""

    at: Annotated[Moment, Meta(description="The present, by the answering proxy's clock.")]
    overview: Overview
    unfinished: Annotated[
        UnfinishedTransfers | None,
        Meta(description=f"The oldest {UNFINISHED_SHOWN}; null while no reader answers."),
    ]
    pace: Annotated[
        PaceShown | None, Meta(description="Since the picture before; null in the first one.")
    ]
