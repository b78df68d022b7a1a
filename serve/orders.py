"""A replica follows what the database says is to be served."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from loop.errors import LoopError
from loop.ports import UnitsOfWork
from loop.serving_orders import ServingOrder

_log = structlog.get_logger(__name__)

# A read of one row: less than a millisecond of CPU (docs/decisions.md).
_LOOK_SECONDS = 0.25
# While the database does not answer.
_AGAIN_SECONDS = 2.0


class OrderFollower:
    """``obey`` is called with every new order, in one thread after the other; it must return at
    once and not raise. Where the database does not answer, what serves serves on."""

    def __init__(self, units: UnitsOfWork, obey: Callable[[ServingOrder], None]) -> None:
        self._units = units
        self._obey = obey
        self._followed = ""
        self._unreachable = False

    def start(self) -> None:
        """Follow the order there is, and every later one in a thread that ends with the process."""
        self.look()
        threading.Thread(target=self._follow, name="orders", daemon=True).start()

    def look(self) -> bool:
        """Follow a new order if there is one. Whether the database answered."""
        try:
            with self._units() as uow:
                order = uow.serving_orders.find()
            if order is not None and order.id != self._followed:
                self._followed = order.id
                self._obey(order)
        except Exception as error:  # of the database or of its content: this must go on
            if not self._unreachable:
                told = error.message if isinstance(error, LoopError) else repr(error)
                _log.warning("orders.not_read", error=told)
            self._unreachable = True
            return False
        if self._unreachable:
            self._unreachable = False
            _log.info("orders.read_again")
        return True

    def _follow(self) -> None:
        pause = threading.Event()
        while not pause.wait(_AGAIN_SECONDS if self._unreachable else _LOOK_SECONDS):
            self.look()
