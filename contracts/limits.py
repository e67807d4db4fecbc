"""The bounds that services share, by name, and the assertions that relate them.

A change of one number is checked against all numbers that depend on it when this module is
imported. Bounds that concern one adapter only stand beside their use.
"""

from typing import Final

SLOT_COUNT: Final = 16_384
"""Hash slots, as Redis Cluster counts them."""

PARTITION_COUNT_MAX: Final = 1_024

ID_LENGTH_MAX: Final = 64
"""Characters of an account id, transaction id or proxy id (ASCII, so also bytes)."""

AMOUNT_MINOR_MAX: Final = 2**63 - 1
"""Largest amount, overdraft limit and posted balance in minor units: what 64 bits hold signed."""

AMOUNT_TEXT_LENGTH_MAX: Final = 32
"""Characters of an amount at the API; 19 digits, a point and room for needless decimals."""

BODY_BYTES_MAX: Final = 4_096
"""A request body at the API; the largest valid one is under 600 bytes."""

COMMAND_BYTES_MAX: Final = 3 * (ID_LENGTH_MAX + 2) + 32
EVENT_BYTES_MAX: Final = COMMAND_BYTES_MAX + 32
RESULT_BYTES_MAX: Final = 64

COMMAND_FRAME_COMMANDS_MAX: Final = 512
"""Commands that a proxy puts into one frame."""

STEP_FRAME_STEPS_MAX: Final = 512
"""Steps that a writer puts into one frame."""

GROUP_COMMANDS_MAX: Final = 1_024
"""Commands and steps that a writer decides at once."""

WAITING_COMMANDS_MAX: Final = 512
"""Commands of one partition that may wait for locked accounts. What comes when there is no room
is dropped and sent again by who sent it."""

DUE_EVENTS_MAX: Final = 512
"""Events of one group that only the time causes: the rest of them come with the next group."""

UNFINISHED_TRANSFERS_MAX: Final = 16_384
"""Transfers that one party may have under way. What would start another is dropped, and comes
again."""

EVENT_FRAME_EVENTS_MAX: Final = 2_048
"""Events that a writer appends in one frame."""

FRAME_OVERHEAD_BYTES_MAX: Final = 192 * 1_024
"""Frame header and the list of sources: at most one per command, with an id and three numbers."""

FRAME_BYTES_MAX: Final = 1_024 * 1_024
"""Largest NATS message that anybody sends: the server's default `max_payload`."""

HELD_REQUESTS_MAX: Final = 4_096
"""Requests that one proxy process holds open at a time; beyond it answers 503."""

WAIT_MS_DEFAULT: Final = 10_000
"""How long a proxy holds a request before it answers 202."""

WAIT_MS_MAX: Final = 60_000

RESEND_AFTER_MS: Final = 1_000
"""A proxy sends an unanswered command again each time this has passed."""

ABSENCE_MS_MAX: Final = 10_000
"""When nobody has taken a partition's commands for so long, proxies refuse them at once. Servers of
a cluster that lost a stream's leader choose another within 9 s."""

TICK_MS: Final = 500
"""How often a writer lets time pass in a party that waits for others."""

RESEND_TICKS: Final = (2, 4)
"""A step is sent again when so many ticks passed without its answer,"""
RESEND_TICKS_MAX: Final = 8
"""and then each time so many have passed. A queue keeps it while nobody reads, so few get lost."""

PARTY_ANSWER_TICKS_MAX: Final = 10
"""After so many ticks without a try or vote the coordinator asks both sides to give up. Ticks, not
time: while there is no coordinator, nobody is late."""

HOLD_MS: Final = 30_000
"""How long a hold lasts unless it is captured or released before."""

COMMAND_AGE_MS_MAX: Final = 2 * WAIT_MS_MAX
"""A command queue forgets frames older than this: nobody holds a request for them any more."""

COMMAND_QUEUE_BYTES_MAX: Final = 128 * 1_024 * 1_024

PAGE_ENTRIES_DEFAULT: Final = 50
PAGE_ENTRIES_MAX: Final = 500

ENTRY_BYTES_MAX: Final = 3 * (ID_LENGTH_MAX + 2) + 128

CHANGE_BYTES_MAX: Final = 2 * (ID_LENGTH_MAX + 2) + 64

CHANGE_FRAME_CHANGES_MAX: Final = 2_048
"""Changes that a reader pushes in one frame."""

LISTENING_PROXIES_MAX: Final = 256
"""Proxies that may listen to one partition; who comes when there is no room is not heard."""

LISTEN_EVERY_MS: Final = 2_000
"""How often a proxy says that it listens. Each time it learns how far the readers are."""

LISTENS_UNTIL_MS: Final = 7_000
"""A reader forgets a proxy that it has not heard for so long."""

REPLAY_CHANGES_MAX: Final = 1_000
"""Changes of one account that are told again to who comes back; who missed more is told only how
the account stands."""

CHANGES_QUERY_ACCOUNTS_MAX: Final = 256
CHANGES_ANSWER_CHANGES_MAX: Final = 2_048
"""Changes of all accounts in one answer; the accounts that did not fit are asked for again."""

assert max(COMMAND_FRAME_COMMANDS_MAX, STEP_FRAME_STEPS_MAX) <= GROUP_COMMANDS_MAX
assert GROUP_COMMANDS_MAX + WAITING_COMMANDS_MAX + DUE_EVENTS_MAX <= EVENT_FRAME_EVENTS_MAX
assert STEP_FRAME_STEPS_MAX * COMMAND_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert max(RESEND_TICKS) < RESEND_TICKS_MAX < PARTY_ANSWER_TICKS_MAX
assert PARTY_ANSWER_TICKS_MAX * TICK_MS < HOLD_MS
assert COMMAND_FRAME_COMMANDS_MAX * COMMAND_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert EVENT_FRAME_EVENTS_MAX * EVENT_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert EVENT_FRAME_EVENTS_MAX * RESULT_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert PAGE_ENTRIES_MAX * ENTRY_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert RESEND_AFTER_MS < WAIT_MS_DEFAULT <= WAIT_MS_MAX <= COMMAND_AGE_MS_MAX
assert EVENT_FRAME_EVENTS_MAX * (ID_LENGTH_MAX + 30) <= FRAME_OVERHEAD_BYTES_MAX
assert PARTITION_COUNT_MAX <= SLOT_COUNT
assert CHANGE_FRAME_CHANGES_MAX * CHANGE_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX
assert LISTENING_PROXIES_MAX * (ID_LENGTH_MAX + 11) <= FRAME_OVERHEAD_BYTES_MAX
assert 3 * LISTEN_EVERY_MS < LISTENS_UNTIL_MS
assert REPLAY_CHANGES_MAX < CHANGES_ANSWER_CHANGES_MAX
assert (
    CHANGES_ANSWER_CHANGES_MAX * CHANGE_BYTES_MAX + CHANGES_QUERY_ACCOUNTS_MAX * CHANGE_BYTES_MAX
    <= FRAME_BYTES_MAX
)
