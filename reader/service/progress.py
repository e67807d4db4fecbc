"""Waiting for a number that only rises, without polling."""

import asyncio


class Progress:
    """How far something has got, and who waits for it to get further."""

    def __init__(self, reached: int) -> None:
        self.reached = reached
        self._lowest = 0  # of the numbers waited for; anything while nobody waits
        self._waiting: dict[asyncio.Future[None], int] = {}

    def advance(self, number: int) -> None:
        """Wake everybody who waited for this number or a smaller one."""
        self.reached = number
        if not self._waiting or number < self._lowest:
            return
        for future in [future for future, wanted in self._waiting.items() if wanted <= number]:
            del self._waiting[future]
            if not future.done():
                future.set_result(None)
        self._lowest = min(self._waiting.values(), default=0)

    async def reach(self, number: int) -> None:
        """Return when the number is reached; the caller bounds the time."""
        if number <= self.reached:
            return
        future = asyncio.get_running_loop().create_future()
        self._lowest = min(self._lowest, number) if self._waiting else number
        self._waiting[future] = number
        try:
            await future
        finally:
            self._waiting.pop(future, None)
