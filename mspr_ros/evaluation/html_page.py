"""Build a report as one HTML file that needs no network: styles, tables and pictures within.

Everything lies in one column on a phone, and in a grid where there is room.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure

from mspr_ros.evaluation.plots import STYLE

FIGURE_DPI = 190

_CSS = """
:root { --ink: #1c2530; --soft: #5b6673; --line: #dde2e8; --panel: #f6f8fa; --mark: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 44px 0 8px; padding-top: 12px;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 22px 0 6px; overflow-wrap: anywhere; }
p, li { max-width: 76ch; }
p { margin: 6px 0 12px; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 14px 0 4px; font-size: .92rem; }
a { color: var(--mark); text-decoration: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 12px;
  margin: 12px 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 12px; }
.card b { display: block; font-size: 1.35rem; line-height: 1.3; font-weight: 600; }
.card span { color: var(--soft); font-size: .85rem; line-height: 1.3; display: block; }
.table { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.text td { text-align: left; }
.text th { text-align: left; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr));
  gap: 20px 28px; align-items: start; }
figure { margin: 0; min-width: 0; }
figure > img { width: 100%; max-width: 560px; height: auto; display: block; }
figcaption { margin-top: 4px; overflow-wrap: anywhere; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr));
  gap: 18px 28px; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.tiles img { width: 100%; height: auto; display: block; border-radius: 3px; }
.tiles span { font-size: .75rem; line-height: 1.25; color: var(--soft); display: block; }
.note { background: #fff7e6; border-left: 3px solid #e69f00; padding: 6px 12px; margin: 8px 0;
  max-width: 80ch; overflow-wrap: anywhere; }
code { font-size: .88em; overflow-wrap: anywhere; }
@media (max-width: 480px) {
  main { padding: 16px 14px 48px; }
  .cards { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .card b { font-size: 1.15rem; }
}
"""


class Section:
    """A part of the page under a heading of its own.

    Args:
        key: Its anchor.
        title: Its heading.
    """

    def __init__(self, key: str, title: str) -> None:
        self.key, self.title = key, title
        self._parts: list[str] = []

    def text(self, text: str, kind: str = "") -> None:
        """Add a paragraph; `kind` is a style: `soft` or `note`."""
        self._parts.append(f'<p class="{kind}">{escape(text)}</p>')

    def heading(self, text: str) -> None:
        """Add a heading below the section's."""
        self._parts.append(f"<h3>{escape(text)}</h3>")

    def cards(self, cards: Sequence[tuple[str, str]]) -> None:
        """Add numbers to see at once: (value, what it is)."""
        inner = "".join(
            f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
            for value, what in cards
        )
        self._parts.append(f'<div class="cards">{inner}</div>')

    def table(self, rows: Sequence[Sequence[str]], kind: str = "") -> None:
        """Add a table whose first row is its head; it scrolls sideways where it is too wide.

        Args:
            rows: Cells, all rows of one length.
            kind: `text` to set the cells to the left.
        """
        head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows[1:]
        )
        self._parts.append(
            f'<div class="table {kind}"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def figures(self, figures: Sequence[tuple[Figure, str]]) -> None:
        """Add drawings, each with its caption."""
        inner = "".join(
            f'<figure><img alt="{escape(caption)}" src="{_uri(figure_png(figure), "png")}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
            for figure, caption in figures
        )
        self._parts.append(f'<div class="figures">{inner}</div>')

    def images(self, images: Sequence[tuple[str, Sequence[tuple[str, bytes]]]]) -> None:
        """Add images: a caption, and label and JPEG bytes of the tiles beside each other."""
        inner = ""
        for caption, tiles in images:
            pictures = "".join(
                f'<div><img alt="{escape(label)}" src="{_uri(data, "jpeg")}">'
                f"<span>{escape(label)}</span></div>"
                for label, data in tiles
            )
            inner += (
                f'<figure><div class="tiles">{pictures}</div>'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
        self._parts.append(f'<div class="images">{inner}</div>')

    def html(self) -> str:
        """Give the section as HTML."""
        inner = "\n".join(self._parts)
        return f'<section id="{self.key}"><h2>{escape(self.title)}</h2>\n{inner}\n</section>'


def page(title: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    """Put a page together.

    Args:
        title: Of the page.
        notes: Lines below it.
        sections: In their order; a list of links to them stands above.
    """
    links = "".join(f'<a href="#{one.key}">{escape(one.title)}</a>' for one in sections)
    lines = "<br>".join(escape(note) for note in notes)
    body = "\n".join(one.html() for one in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style></head>\n<body><main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{lines}</p>\n<nav>{links}</nav>\n'
        f"{body}\n</main></body></html>\n"
    )


def figure_png(figure: Figure) -> bytes:
    """Render a figure, sharp enough for a screen of double density."""
    buffer = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=FIGURE_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
