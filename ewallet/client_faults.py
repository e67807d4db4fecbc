"""How the client says that something did not end as it should.

ClientFault
├── RefusedError         the wallet's answer is no; asking again changes nothing by itself
├── NoAnswerError        there was no answer that says anything; a question may be asked again
└── UnknownOutcomeError  a change was asked for, and time ran out before its outcome was known
"""


class ClientFault(Exception):
    """A request did not end as it should; the message is a sentence for people."""


class RefusedError(ClientFault):
    """The wallet said no, and why."""


class NoAnswerError(ClientFault):
    """Nobody answered, or the answer says nothing about the question."""


class UnknownOutcomeError(ClientFault):
    """A change may have happened or not; the same request, sent again, tells."""


def nobody_answers(url: str, fault: Exception) -> NoAnswerError:
    """Return what to say where no wallet listens."""
    return NoAnswerError(
        f"No wallet answers at {url} ({fault}): start one with `ewallet up`, or name another "
        "with --url or EWALLET_URL"
    )
