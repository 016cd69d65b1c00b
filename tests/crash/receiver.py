"""A receiver on loopback that counts span ids, and a backend that posts to it, for tests with several processes."""

from __future__ import annotations

import http.client
import os
from collections import Counter
from typing import TYPE_CHECKING

from otel_llm.contracts import Batch, Delivered, Retry
from tests.crash.kit import ids_in
from tests.fakes.http_server import HttpServer, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from otel_llm.contracts import Finding, Outcome
    from tests.fakes.http_server import Request


class Receiver:
    """Takes batches and remembers, request by request, which spans were in them."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, list[str]]] = []
        """(process id of the sender, span ids) of each request that was taken."""
        self.reply: Callable[[], Reply] = Reply
        self._server = HttpServer(answer=self._answer)

    def _answer(self, request: Request) -> Reply:
        reply = self.reply()
        if reply.status == 200:  # also when the answer is then cut off: the spans are ours
            self.requests.append((int(request.headers["x-process"]), ids_in(Batch(request.content, 0))))
        return reply

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def times(self) -> Counter[str]:
        """How often each span arrived."""
        return Counter(span_id for _, ids in self.requests for span_id in ids)

    def duplicates(self) -> int:
        """Arrivals beyond the first."""
        return sum(self.times.values()) - len(self.times)


class HttpBackend:
    """Posts batches with the standard library, a connection for each request."""

    name = "sink"

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request("POST", "/", body=batch.payload, headers={"x-process": str(os.getpid())})
            status = connection.getresponse().status
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            return Retry(str(error), "network")
        finally:
            connection.close()
        return Delivered(batch.span_count) if status == 200 else Retry(f"The server answered {status}.", "throttled")

    def check(self) -> Sequence[Finding]:
        return []

    def close(self) -> None:
        pass
