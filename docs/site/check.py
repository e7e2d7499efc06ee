"""Hold the built site to this: each link and anchor leads somewhere, and nothing is loaded from elsewhere.

python docs/site/check.py build/site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("script", "src"), ("img", "src"), ("source", "srcset"), ("link", "href"), ("iframe", "src")}
NO_LOAD = {"canonical", "next", "prev", "alternate"}


class Page(HTMLParser):
    """What a page links to, what it loads, and by which names it is linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and names."""
        has = dict(attrs)
        self.names |= {has[key] or "" for key in ("id", "name") if key in has}
        for key in ("href", "src", "srcset"):
            if value := has.get(key):
                self.links.append(value)
                if (tag, key) in LOADS and not set((has.get("rel") or "").split()) & NO_LOAD:
                    self.loads.append(value)


def wrong(site: Path) -> list[str]:
    """What is wrong, page by page."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name}: loads {link}" for link in page.loads if urlsplit(link).netloc]
        for link in page.links:
            at = urlsplit(link)
            if at.scheme or at.netloc or path.name == "404.html":  # its links begin at the site's root
                continue
            target = (path.parent / unquote(at.path)).resolve() if at.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name}: {link} is not there")
            elif at.fragment and target in pages and unquote(at.fragment) not in pages[target].names:
                found.append(f"{name}: {link} has no such heading")
    return sorted(set(found))


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    found = wrong(site)
    print("\n".join(found) or f"{sum(1 for _ in site.rglob('*.html'))} pages: every link leads somewhere")  # noqa: T201
    sys.exit(bool(found))
