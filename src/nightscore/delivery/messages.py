"""One message to one target: an HTTP POST, or an e-mail. What goes wrong is said without the connection.

At most SECONDS; nothing is sent again here, no redirect is followed (it would take the message, and the
account, elsewhere), and an error names a status, never the address or what the server answered.
"""

import http.client
import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from html import escape
from typing import Any

from nightscore.common import Broken
from nightscore.delivery.connections import address_of
from nightscore.delivery.endpoints import Endpoint, parse_endpoint
from nightscore.delivery.figures import figures_html, figures_json, figures_text
from nightscore.job import Notify
from nightscore.store import HighlightResult

SECONDS = 10.0  # for one target to answer
USUAL_SENDER = "nightscore"


class Unsent(Exception):
    """A target did not take a message; why, for people."""


@dataclass(frozen=True)
class Message:
    """What is told: a subject of one line, a text below it to people, the same as JSON to a program.

    `key` is the same for the same message: a receiver can tell that it has it (`Idempotency-Key`).
    `highlights` are the day's numbers, a few rows of which are told; above the text where they are the news.
    """

    subject: str
    text: str
    document: Mapping[str, Any]
    key: str
    highlights: Sequence[HighlightResult] = ()
    highlights_first: bool = False

    def ordered(self, text: str, shown: str) -> list[str]:
        """The text and the highlights, as they are shown, in their order."""
        parts = [shown, text] if self.highlights_first else [text, shown]
        return [part for part in parts if part]

    def as_json(self) -> dict[str, Any]:
        """What a program gets."""
        return {**self.document, "highlights": figures_json(self.highlights)}


def send_message(target: Notify, message: Message) -> None:
    """Send a message: highlights as a table in a mail, in columns in Slack, as fields to a program.

    Raises:
        Unsent: it did not arrive, or nobody knows.
    """
    try:
        endpoint = parse_endpoint(address_of(target.connection, target.kind))
        if target.kind == "email":
            _send_mail(endpoint, target.to, message)
        elif target.kind == "slack":
            _post(endpoint.slack_address(), {}, {"text": _slack_text(message)}, message.key)
        else:
            url, headers = endpoint.web_address()
            _post(url, headers, message.as_json(), message.key)
    except Broken as error:
        said = str(error)
        raise Unsent(said if "connection" in said else f"connection {target.connection} {said}") from None
    except Exception as error:
        raise Unsent(_reason(error)) from None


def _slack_text(message: Message) -> str:
    """Highlights in a block of one font; a cell's own backtick does not end it."""
    shown = _escape(figures_text(message.highlights).replace("`", "'"))
    table = f"```\n{shown}\n```" if shown else ""
    return "\n".join([f"*{_escape(message.subject)}*", *message.ordered(_escape(message.text), table)])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: it is an error then, with its status."""
        return


def _post(url: str, headers: Mapping[str, str], document: Mapping[str, Any], key: str) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    usual = {"Content-Type": "application/json", "User-Agent": "nightscore", "Idempotency-Key": key}
    request = urllib.request.Request(url, body, {**usual, **headers}, method="POST")  # noqa: S310 - http(s) alone
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
        answer.read(1)


def _send_mail(endpoint: Endpoint, to: list[str], message: Message) -> None:
    """By the same options as Airflow's SMTP connection: TLS, unless disable_ssl; then STARTTLS."""
    if not endpoint.host:
        raise Broken("names no host")
    sender = str(endpoint.extra.get("from_email") or (endpoint.login if "@" in endpoint.login else ""))
    sender = sender or f"{USUAL_SENDER}@{socket.getfqdn()}"
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, sender, ", ".join(to)
    mail["Date"], mail["Message-ID"] = formatdate(), f"<{message.key}.{make_msgid(domain='nightscore')[1:]}"
    mail.set_content("\n\n".join(message.ordered(message.text, figures_text(message.highlights))))
    if message.highlights:
        mail.add_alternative(_html_text(message), subtype="html")
    with _open_server(endpoint) as server:
        if endpoint.login:
            server.login(endpoint.login, endpoint.password)
        if refused := server.send_message(mail):
            raise Broken(f"took it for {len(to) - len(refused)} of {len(to)} addresses")


def _html_text(message: Message) -> str:
    text = f'<p style="white-space:pre-line">{escape(message.text)}</p>'
    body = message.ordered(text, figures_html(message.highlights))
    return f"<html><body>{''.join(body)}</body></html>"


def _open_server(endpoint: Endpoint) -> smtplib.SMTP:
    secure = ssl.create_default_context(cafile=endpoint.extra.get("ca_file") or None)
    if endpoint.kind == "smtps" or not endpoint.says("disable_ssl"):
        return smtplib.SMTP_SSL(endpoint.host, endpoint.port or 465, timeout=SECONDS, context=secure)
    plain = endpoint.says("disable_tls")
    server = smtplib.SMTP(endpoint.host, endpoint.port or (25 if plain else 587), timeout=SECONDS)
    if not plain:
        server.starttls(context=secure)
    return server


def _escape(text: str) -> str:
    """Slack's own characters as text: a value in a message calls nobody, and links nowhere."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _reason(error: Exception) -> str:
    """What went wrong, without what a server says or an address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {http.client.responses.get(error.code, '')}".strip()
    if isinstance(error, smtplib.SMTPResponseException):
        return f"SMTP {error.smtp_code} ({type(error).__name__})"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return f"did not answer within {SECONDS:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
