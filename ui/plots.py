"""The look that all plots of the app share: Plotly figures, told apart by symbol and by colour."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's palette, which people with any colour vision can tell apart; its yellow is left
# out, it is lost on white. https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# Fillings of bars and areas, for when colours cannot be told apart.
PATTERNS = ("", "/", ".", "x", "\\", "-")
GAIN, LOSS = "#009E73", "#D55E00"

_FONT = "system-ui, sans-serif"
_TEXT, QUIET, _GRID = "#1f2933", "#52606d", "#d9dee4"
_FONT_PX, _TITLE_PX = 13, 14
# Room above the axes for a legend that lies there, and none where there is none.
_LEGEND_PX, _TOP_PX = 44, 16


def style(number: int) -> dict[str, str]:
    """Colour, symbol, dash and pattern of the series of that number; after 6 of them another mix
    of colour and symbol, so that 36 are told apart."""
    kinds, turn = len(COLOURS), number // len(COLOURS)
    return {
        "colour": COLOURS[number % kinds],
        "symbol": SYMBOLS[(number + turn) % len(SYMBOLS)],
        "dash": DASHES[(number + turn) % len(DASHES)],
        "pattern": PATTERNS[(number + turn) % len(PATTERNS)],
    }


def figure(
    *, height: int, x: str = "", y: str = "", legend: bool = False, hover: str = "closest"
) -> Any:
    """An empty figure. ``height`` is in pixels, its width is that of its place; ``x`` and ``y`` are
    the axes' titles."""
    axis = {
        "gridcolor": _GRID,
        "zerolinecolor": _GRID,
        "linecolor": _GRID,
        "automargin": True,
        "title_font_size": _FONT_PX,
        "title_standoff": 8,
        "tickfont_color": QUIET,
        "fixedrange": True,  # a wheel over a plot scrolls the page
    }
    return go.Figure(
        layout={
            "height": height,
            "autosize": True,
            "template": "none",
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "font": {"family": _FONT, "size": _FONT_PX, "color": _TEXT},
            "colorway": list(COLOURS),
            # Labels of axes make room for themselves, beyond these.
            "margin": {"l": 8, "r": 28, "t": _LEGEND_PX if legend else _TOP_PX, "b": 8},
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "traceorder": "normal",
            },
            "hovermode": hover,
            "hoverlabel": {"font_family": _FONT, "font_size": _FONT_PX},
            "bargap": 0.3,
            "xaxis": {**axis, "title_text": x},
            "yaxis": {**axis, "title_text": y},
        }
    )


def filling(number: int) -> dict[str, Any]:
    """The look of a bar of that number: a colour, and a pattern over it."""
    look = style(number)
    pattern = {"shape": look["pattern"], "fillmode": "overlay", "fgcolor": "white", "size": 7}
    return {"color": look["colour"], "pattern": {**pattern, "fgopacity": 0.6, "solidity": 0.25}}


def rows_height(rows: int, *, legend: bool = False, row_px: int = 34) -> int:
    """The height in pixels of a figure with so many horizontal bars or rows of points."""
    return 64 + row_px * max(rows, 1) + (_LEGEND_PX if legend else _TOP_PX)


def shortened(name: str, most: int = 20) -> str:
    """``name`` with its middle left out where it is longer: names often begin alike."""
    if len(name) <= most:
        return name
    start = most // 2
    return f"{name[:start].rstrip()}…{name[start + 1 - most :].lstrip()}"


def shorts(names: list[str]) -> list[str]:
    """For an axis: short, never markup, and each different from the others, since Plotly puts
    equal names into one row."""
    found = [shortened(name).replace("&", "&amp;").replace("<", "&lt;") for name in names]
    # A space that has no width, as often as it takes.
    return [name + "\u200b" * found[:place].count(name) for place, name in enumerate(found)]
