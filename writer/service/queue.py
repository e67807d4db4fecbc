"""What comes out of a party's queue: frames of commands and of steps, in groups."""

import logging
from collections import deque
from collections.abc import Iterator

from broker.port import StoredMessage
from contracts.commands import Transfer
from contracts.frames import COMMAND_FRAME, STEP_FRAME, CommandFrame, StepFrame, Undecodable
from contracts.limits import COMMAND_BYTES_MAX, GROUP_COMMANDS_MAX, ID_LENGTH_MAX
from contracts.parties import party_name
from contracts.subjects import step_subject
from writer.core.machine import QueuedFrame

_log = logging.getLogger(__name__)


def queued_frames(party: int, messages: list[StoredMessage]) -> Iterator[QueuedFrame]:
    """The frames in the messages; what is none is dropped, loudly."""
    for message in messages:
        frame = decoded_frame(party, message)
        if frame is None:
            _log.error(
                "%s: queued message %s is no frame that belongs there, dropped",
                party_name(party),
                message.sequence,
            )
        else:
            yield QueuedFrame(message.sequence, message.at_ns // 1_000_000, frame)


def decoded_frame(party: int, message: StoredMessage) -> CommandFrame | StepFrame | None:
    """None for what nobody sends: other bytes, no way, or ids that take too many bytes.

    Steps count on their own subject only, where the broker lets writers publish.
    """
    frame: CommandFrame | StepFrame
    try:
        if message.subject == step_subject(party):
            return STEP_FRAME.decode(message.data)
        frame = COMMAND_FRAME.decode(message.data)
    except Undecodable:
        return None
    if any(isinstance(each, Transfer) and not each.coordination for each in frame.commands):
        return None
    bytes_max = len(frame.commands) * COMMAND_BYTES_MAX + ID_LENGTH_MAX + 32
    return frame if len(message.data) <= bytes_max else None


def next_group(frames: deque[QueuedFrame]) -> list[QueuedFrame]:
    """Take the first frames, at least one: as many as have GROUP_COMMANDS_MAX messages at most."""
    group = [frames.popleft()]
    count = len(group[0].messages)
    while frames and count + len(frames[0].messages) <= GROUP_COMMANDS_MAX:
        count += len(frames[0].messages)
        group.append(frames.popleft())
    return group
