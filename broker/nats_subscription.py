"""What nats-py sends late, and messages of one subject."""

from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription


async def all_sent(client: Client) -> None:
    """Return when the server has had all that was sent, subscriptions too.

    nats-py sends its ping ahead of what waits to be sent, so only the second one comes behind it.
    """
    await client.flush()
    await client.flush()


class NatsSubscription:
    """Port `Subscription`."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def end(self) -> None:
        """See the port. A connection that is gone brings nothing more anyway."""
        with suppress(nats.errors.Error):
            await self._subscription.unsubscribe()
