"""Check that each internal link of built pages leads to a page and a place that exist."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Keep what an element links to, and the name that it can be linked by."""
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name")}
        self.links += [attrs[key] for key in ("href", "src") if attrs.get(key)]

    def dead_links(self, pages):
        """Return the internal links that lead nowhere."""
        return [link for link in self.links if not self.leads_somewhere(link, pages)]

    def leads_somewhere(self, link, pages):
        """Return whether a link is external, or its file and its anchor exist."""
        if urlsplit(link).scheme or link.startswith("//"):
            return True
        file, anchor = urldefrag(link)
        target = (self.path.parent / unquote(urlsplit(file).path)).resolve() if file else self.path
        if target not in pages:
            return target.exists()
        return not anchor or anchor in pages[target].anchors


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    files = [path for path in root.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in files}
    dead = [
        f"{p.path}: {link} does not exist" for p in pages.values() for link in p.dead_links(pages)
    ]
    print("\n".join(dead) or f"internal links of {len(pages)} pages exist")
    sys.exit(bool(dead) or not pages)
