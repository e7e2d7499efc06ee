"""`/nightscore` is `/nightscore/`: whoever types the address leaves the slash out."""

from nightscore.airflow.web import PREFIX, App, Message, Receive, Send


class Slash:
    """ASGI middleware: the page's address without its slash leads to the page, and keeps its query."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Redirect, or pass through."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or path != PREFIX or scope.get("method") not in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        query = scope.get("query_string", b"")  # relative, so that it holds behind a proxy with a path, too
        location = PREFIX.strip("/").encode() + b"/" + (b"?" + query if query else b"")
        headers = [(b"location", location), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
