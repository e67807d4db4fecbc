"""Messages of one subject over nats-py."""

from contextlib import suppress

import nats.errors
from nats.aio.subscription import Subscription


class NatsSubscription:
    """Port `Subscription`."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def end(self) -> None:
        """See the port. A connection that is gone brings nothing more anyway."""
        with suppress(nats.errors.Error):
            await self._subscription.unsubscribe()
