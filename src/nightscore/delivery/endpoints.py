"""What a connection of messages is set to, read: a URL, a URI as Airflow writes one, or its JSON.

All of it is a secret: a URL of Slack is one by itself. None of it stands in a message, a record or an error.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from nightscore.common import Broken

WEB = ("http", "https")
SLACK = "https://hooks.slack.com/services"
YES = ("true", "1", "yes")


@dataclass(frozen=True, repr=False)
class Endpoint:
    """One connection: `kind` is the scheme of a URL, or what Airflow calls its type."""

    kind: str
    host: str
    port: int | None = None
    login: str = ""
    password: str = ""
    schema: str = ""  # in Airflow the scheme of a URL
    extra: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""  # what was written, where that is a URL

    def __repr__(self) -> str:
        return f"Endpoint({self.kind!r})"

    def says(self, option: str) -> bool:
        """Whether an option is on."""
        return str(self.extra.get(option, "")).lower() in YES

    def web_address(self) -> tuple[str, dict[str, str]]:
        """The URL without its account, and the header that stands for that.

        Raises:
            Broken: it is no URL of http or https.
        """
        url = self.url or self._made()
        parts = urlsplit(url)
        if parts.scheme not in WEB or not parts.hostname:
            raise Broken("is no URL of http or https")
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=host, fragment="").geturl(), self._authorization()

    def slack_address(self) -> str:
        """The URL of an incoming webhook: it is in the password, as Airflow has it, or it is the URL."""
        if self.kind in WEB and not self.password:
            return self.web_address()[0]
        if self.password.startswith(WEB):
            return self.password
        base = self.host if "://" in self.host else (f"https://{self.host}" if self.host else SLACK)
        return f"{base.rstrip('/')}/{self.password.lstrip('/')}"

    def _made(self) -> str:
        if self.kind not in (*WEB, "", "generic"):
            raise Broken("is no URL of http or https")
        scheme = self.schema if self.schema in WEB else ("http" if self.kind == "http" else "https")
        base = self.host if "://" in self.host else f"{scheme}://{self.host}"
        port = f":{self.port}" if self.port else ""
        path = str(self.extra.get("path", "") or ("" if self.schema in WEB else self.schema))
        return f"{base.rstrip('/')}{port}/{quote(path.lstrip('/'), safe='/?=&%')}"

    def _authorization(self) -> dict[str, str]:
        if self.login:
            account = b64encode(f"{self.login}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {account}"}
        return {"Authorization": f"Bearer {self.password}"} if self.password else {}


def parse_endpoint(text: str) -> Endpoint:
    """What a connection says.

    Raises:
        Broken: it is neither a URL nor JSON; nothing of it is quoted.
    """
    try:
        return _from_json(json.loads(text)) if text.lstrip().startswith("{") else _from_url(text.strip())
    except (ValueError, TypeError, AttributeError):
        raise Broken("is set to what is neither a URL nor Airflow's JSON") from None


def _from_json(said: Mapping[str, Any]) -> Endpoint:
    extra = said.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    port = int(said["port"]) if said.get("port") else None
    texts = {name: str(said.get(name) or "") for name in ("host", "login", "password", "schema")}
    return Endpoint(str(said.get("conn_type") or ""), port=port, extra=extra, **texts)


def _from_url(text: str) -> Endpoint:
    parts = urlsplit(text)
    if not parts.scheme or "://" not in text:
        raise ValueError
    account = unquote(parts.username or ""), unquote(parts.password or "")
    return Endpoint(
        parts.scheme.replace("-", "_"), unquote(parts.hostname or ""), parts.port, *account,
        unquote(parts.path.lstrip("/")), dict(parse_qsl(parts.query)), text if parts.scheme in WEB else "",
    )  # fmt: skip
