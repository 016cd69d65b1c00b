"""A dashboard on loopback, and what a browser makes of its pages."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from otel_llm.cli.dashboard.access import Access
from otel_llm.cli.dashboard.server import DashboardServer
from otel_llm.store.dashboard.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WITHOUT_END = frozenset({"br", "input", "link", "meta"})


@dataclass
class Node:
    """An element, or (tag "") a piece of text."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    data: str = ""

    @property
    def text(self) -> str:
        """All text in it."""
        return self.data + "".join(child.text for child in self.children)

    def all(self, tag: str | None = None, **attributes: str) -> list[Node]:
        """Every element in it of this tag and these attributes; `class_` is the whole class."""
        found = []
        for child in self.children:
            wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
            if child.tag and tag in {None, child.tag} and wanted.items() <= child.attributes.items():
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str | None = None, **attributes: str) -> Node:
        """The only such element."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]

    @property
    def number(self) -> Decimal | None:
        """The exact value of the first number in it; None where it says that there is none."""
        found = self.all("data")
        return Decimal(found[0].attributes["value"] or "") if found else None


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self._open[-1].children.append(node)
        if tag not in _WITHOUT_END:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> ends <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(Node("", data=data))


def tree_of(page: str) -> Node:
    """The page as a tree; fails where an element is not closed in its place."""
    parser = _Tree()
    parser.feed(page)
    parser.close()
    assert len(parser._open) == 1, [node.tag for node in parser._open]
    return parser.root


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def page(self) -> Node:
        """The body as a page."""
        return tree_of(self.body.decode())

    @property
    def text(self) -> str:
        """All its text, one space between words."""
        return " ".join(self.page.text.split())


@dataclass
class Browser:
    """Asks one server, with the cookie that it gave."""

    host: str
    port: int
    cookie: str | None = None

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """One request; keywords are headers."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        try:
            connection.request(method, path.partition("#")[0], body, {**sent, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def page(self, path: str) -> Node:
        """A page that must be there."""
        answer = self.ask(path)
        assert answer.status == 200, answer.text
        return answer.page


@contextmanager
def browsing(store: Path, *, host: str = "127.0.0.1", remote: bool = False, seconds: float = 30) -> Iterator[Browser]:
    """A browser that has been let in to a dashboard of `store` in this process."""
    access = Access(host, remote=remote)
    server = DashboardServer(host, 0, Pages(store, seconds=seconds), access)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Browser("127.0.0.1", server.port, access.cookie(server.port).partition(";")[0])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
