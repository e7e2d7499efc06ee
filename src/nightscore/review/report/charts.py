"""Charts as SVG: Vega-Lite drawings, rendered without a browser. The only module that imports vl_convert.

A chart holds no script, loads nothing, and takes its colours from CSS variables of the page that it
stands in (--now, --before, --ink, --muted, --line), so that one drawing serves light, dark and paper.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from nightscore.common import Broken

WIDE, HALF, PHONE = (
    1000,
    470,
    400,
)  # pixels of a chart across the page, of one of two beside each other, alone
STEEP = 25  # times the rows of the middle bin in the fullest one, from which shares need a logarithmic scale
LABEL_WIDTH = 170  # pixels
LEAST_LOSS = 1e-9  # of a candidate, on a logarithmic scale: nothing is drawn there
NOW, BEFORE, INK, MUTED = "var(--now)", "var(--before)", "var(--ink)", "var(--muted)"
SHORT = "format(datum.value, '~s')"  # 20k, and 0 as 0
LIGHT = {"now": "#2f6fd0", "before": "#8a94a3", "ink": "#1b2026", "muted": "#5f6b7a", "line": "#e1e5ea"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
CONFIG = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 11.5, "titleFontSize": 11.5,
        "titleFontWeight": "normal", "titlePadding": 8, "labelLimit": LABEL_WIDTH,
        "gridColor": "var(--line)", "domainColor": "var(--line)", "tickColor": "var(--line)",
    },
    "axisX": {"grid": False, "labelFlush": False},
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "text": {"color": "var(--ink)", "fontSize": 11.5},
}  # fmt: skip
UNPLACED = "slice(datum.label, 5)"  # removes what _placed put in front
Row = dict[str, Any]


def histogram(
    edges: Sequence[float],
    now: Sequence[int],
    before: Sequence[int] | None,
    column: str,
    width: int = WIDE,
) -> str:
    """The share of rows in each bin: of the day as bars, of the day before as a line."""
    sides = [_shares(now)] + ([_shares(before)] if before else [])
    floor = _floor(sides)
    x: Row = {"field": "from", "type": "quantitative", "title": column, "axis": {"tickCount": width // 80}}
    x["scale"] = {"zero": False, "nice": False}
    shared = {"x": x, "y": _share_axis(floor, max(map(max, sides)))}
    bars = [
        {"from": start, "to": end, "share": share, "floor": floor}
        for start, end, share in zip(edges, edges[1:], sides[0], strict=False)
        if share > floor
    ]
    ends = {"x": {**x, "bin": {"binned": True}}, "x2": {"field": "to"}, "y2": {"field": "floor"}}
    filled = {"type": "bar", "color": NOW, "opacity": 0.55, "binSpacing": 0.5}
    layers: list[Row] = [{"data": {"values": bars}, "mark": filled, "encoding": {**shared, **ends}}]
    if before:
        shares = [*sides[1], sides[1][-1]]  # the last step ends at the last edge
        steps = [{"from": e, "share": max(s, floor)} for e, s in zip(edges, shares, strict=True)]
        line = {"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 1.3}
        layers.append({"data": {"values": steps}, "mark": line, "encoding": shared})
    return _svg({"layer": layers, "width": width, "height": 290})


def by_value(names: Sequence[str], now: Sequence[int], before: Sequence[int] | None) -> str:
    """The rows that have each value, on the day and on the day before."""
    sides = [("now", now)] + ([("before", before)] if before else [])
    rows = [
        {"name": _placed(i, name), "side": side, "rows": count}
        for side, counts in sides
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    colour = {"domain": ["now", "before"], "range": [NOW, BEFORE]}
    encoding: Row = {
        "y": {"field": "name", "type": "nominal", "title": None, "axis": {"labelExpr": UNPLACED}},
        "yOffset": {"field": "side", "sort": ["now", "before"], "scale": {"paddingInner": 0.08}},
        "x": _amount("rows", max(max(counts) for _, counts in sides), {"labelExpr": SHORT, "tickMinStep": 1}),
    }
    colours: Row = {"color": {"field": "side", "type": "nominal", "scale": colour, "legend": None}}
    layers: list[Row] = [{"mark": {"type": "bar"}, "encoding": colours}, _written("rows", ",")]
    drawing: Row = {"data": {"values": rows}, "encoding": encoding, "layer": layers}
    size = {"width": HALF, "height": {"step": 15 if before else 22}}
    return _svg({**drawing, **size, "padding": _left(names)})


def over_runs(days: Sequence[str], amounts: Sequence[int], this: int, title: str) -> str:
    """A number of each run, the oldest first; run number `this` stands out. 0 is unknown, and left out."""
    runs = [_placed(i, day) for i, day in enumerate(days)]
    rows = [
        {"run": run, "amount": amount, "this": i == this}
        for i, (run, amount) in enumerate(zip(runs, amounts, strict=True))
        if amount
    ]
    labelled = runs[:: math.ceil(len(runs) / 6)]
    x: Row = {"field": "run", "type": "ordinal", "title": "scored day, in the order of the runs"}
    x |= {"axis": {"labelExpr": UNPLACED, "labelAngle": 0, "values": labelled}, "scale": {"domain": runs}}
    y: Row = {"field": "amount", "type": "quantitative", "title": title}
    y["axis"] = {"labelExpr": SHORT, "tickCount": 4, "tickMinStep": 1}
    point: Row = {"type": "point", "filled": True, "opacity": 1}
    pick: Row = {"transform": [{"filter": "datum.this"}]}
    amount = {"text": {"field": "amount", "type": "quantitative", "format": ","}}
    layers: list[Row] = [
        {"mark": {"type": "line", "color": BEFORE, "strokeWidth": 1.6}},
        {"mark": {**point, "color": BEFORE, "size": 28}},
        {"mark": {**point, "color": NOW, "size": 95}, **pick},
        {"mark": {"type": "text", "dy": -13}, "encoding": amount, **pick},
    ]
    drawing: Row = {"data": {"values": rows}, "encoding": {"x": x, "y": y}, "layer": layers}
    return _svg({**drawing, "width": HALF, "height": 240})


def pareto_chart(points: Sequence[Row], width: int = WIDE) -> Row:
    """Candidates by speed and by how far they are from the reference, for `render_svg` and `render_png`.

    A point has a name, `times` (as fast as the reference), `loss` (1 - rank correlation, or 1 - cosine
    similarity; above 0), a technique and a status. The line joins those that no other beats in both.
    """
    best: list[Row] = []
    for point in sorted(points, key=lambda candidate: (-candidate["times"], candidate["loss"])):
        if not best or point["loss"] < best[-1]["loss"]:
            best.append(point)
    worst = max((point["loss"] for point in points), default=0.0)
    x: Row = {"field": "times", "type": "quantitative", "title": "times as fast as the reference"}
    speeds = [point["times"] for point in points] or [1.0]
    ends = [0.8 * min(speeds), 1.6 * max(speeds)]  # the names stand to the right of their points
    x |= {"axis": {"grid": True}, "scale": {"type": "log", "nice": False, "domain": ends}}
    y: Row = {"field": "loss", "type": "quantitative", "title": "1 - rank correlation (or cosine), log scale"}
    y |= {"axis": {"format": "~e", "tickCount": 6}}
    y["scale"] = {"type": "log", "nice": False, "domain": [LEAST_LOSS / 3, max(worst, 1e-4) * 3]}
    colour = {
        "field": "technique",
        "type": "nominal",
        "scale": {"scheme": "tableau10"},
        "legend": {"orient": "bottom"},
    }
    shape = {"condition": {"test": "datum.status == 'taken'", "value": "diamond"}, "value": "circle"}
    size = {"condition": {"test": "datum.status == 'taken'", "value": 320}, "value": 110}
    hollow = {"condition": {"test": "datum.status == 'refused'", "value": 0.35}, "value": 1}
    names: Row = {"text": {"field": "name", "type": "nominal"}}
    layers: list[Row] = [
        {"data": {"values": best}, "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 3]}},
        {"mark": {"type": "point", "filled": True},
         "encoding": {"color": colour, "shape": shape, "size": size, "opacity": hollow}},
        {"mark": {"type": "text", "align": "left", "dx": 9, "dy": -5, "angle": -28, "color": INK},
         "encoding": names},
    ]  # fmt: skip
    drawing: Row = {"data": {"values": list(points)}, "encoding": {"x": x, "y": y}, "layer": layers}
    room = {"left": 4, "top": 46, "right": 30, "bottom": 4}  # for names that stand askew at the edges
    return {**drawing, "width": width, "height": 460, "padding": room}


def render_svg(drawing: Row) -> str:
    """A drawing as SVG, in the colours of the page that it stands in."""
    return _svg(drawing)


def render_png(drawing: Row) -> bytes:
    """A drawing as PNG, in the colours of a light page."""
    full = json.loads(_coloured(json.dumps(_full(drawing))))
    full["background"] = "white"
    png: bytes = _vl_convert().vegalite_to_png(full, scale=2, allowed_base_urls=[])
    return png


def _coloured(text: str) -> str:
    for name, colour in LIGHT.items():
        text = text.replace(f"var(--{name})", colour)
    return text


def _placed(place: int, name: str) -> str:
    """A name for an axis that sorts by its place and stands there once, though names may be equal."""
    return f"{place:04d} {name}"


def _share_axis(floor: float, most: float) -> Row:
    axis: Row = {"format": "~%", "tickCount": 5}
    if not floor:
        return {"field": "share", "type": "quantitative", "title": "share of rows", "axis": axis}
    top = 10.0 ** math.ceil(math.log10(most) - 1e-9)  # so that its label stands there
    axis["values"] = [10.0**power for power in range(-12, 1) if floor <= 10.0**power <= top]
    scale = {"type": "log", "domain": [floor, top], "nice": False}
    title = "share of rows, log scale"
    return {"field": "share", "type": "quantitative", "title": title, "axis": axis, "scale": scale}


def _amount(field: str, most: float, axis: Row) -> Row:
    """An axis from zero with room for the numbers behind the bars."""
    scale = {"domain": [0, (most or 1) * 1.16], "nice": False}
    axis = {"tickCount": 5, "grid": True, **axis}
    return {"field": field, "type": "quantitative", "title": field, "scale": scale, "axis": axis}


def _left(names: Sequence[str]) -> dict[str, float]:
    """Padding, with room on the left for a browser whose letters are wider than those measured here."""
    return {"left": 4 + 1.3 * min(max(map(len, names)), 26), "top": 4, "right": 4, "bottom": 4}


def _written(field: str, form: str) -> Row:
    mark = {"type": "text", "align": "left", "dx": 5, "baseline": "middle"}
    return {"mark": mark, "encoding": {"text": {"field": field, "type": "quantitative", "format": form}}}


def _shares(counts: Sequence[int]) -> list[float]:
    rows = sum(counts) or 1
    return [count / rows for count in counts]


def _floor(sides: Sequence[Sequence[float]]) -> float:
    """The lower end of a logarithmic scale of shares; 0 where a plain scale shows every bin well."""
    there = sorted(share for side in sides for share in side if share)
    if there[-1] < STEEP * there[len(there) // 2]:
        return 0.0
    return float(10.0 ** (math.ceil(math.log10(there[0]) - 1e-9) - 1))  # so that the emptiest is seen


def _svg(drawing: Row) -> str:
    return str(_vl_convert().vegalite_to_svg(_full(drawing), allowed_base_urls=[]))


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError as error:
        raise Broken(f'a report needs {error.name}: pip install "nightscore[report]"') from error
    return vl_convert


def _full(drawing: Row) -> Row:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "autosize": {"type": "fit" if isinstance(drawing["height"], int) else "fit-x", "contains": "padding"},
        "padding": 4,
        "config": CONFIG,
        **drawing,
    }
