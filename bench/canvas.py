"""``python -m bench.canvas``: what one move of the pointer costs on the annotation canvas.

Headless Chromium with real pointer events on a page with the canvas alone: an image of
12 megapixels made there and then, and 300 boxes. A table for people, ``--json`` for machines.
For each gesture, in milliseconds of the page's clock, median and 95th percentile:

* handler: in the canvas's event handler
* paint: issuing the frame's drawing commands
* raster: waiting until they are drawn (software, where there is no GPU)
* work: the three together, what a move takes of the 16 ms between two frames
* handled: from the event's time stamp until its handler is done, with any wait in the queue
* frame: from the event's time stamp until the frame is painted

The browser hands a move over just before the next frame, and each is sent here right after one:
most of ``handled`` and ``frame`` is that wait, of one frame (16.7 ms), for the wheel of two.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from playwright.sync_api import Page, Route, sync_playwright
from rich.console import Console
from rich.table import Table

STATIC = Path(__file__).parents[1] / "ui" / "static"
PAGE = Path(__file__).with_name("canvas.html")
ORIGIN = "http://canvas.invalid"  # nothing is asked of the network: the files are handed over
CHROMIUM = "/usr/bin/chromium"

MOVES = 120
WARM_UP = 10
COLUMNS = {
    "handler": "handler",
    "paint": "paint",
    "raster": "raster",
    "work": "work",
    "handled": "handled",
    "painted": "frame",
}

Rows = dict[str, dict[str, dict[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.canvas", description=__doc__)
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    parser.add_argument("--ratio", type=float, default=1.0, help="Screen pixels a CSS pixel.")
    parser.add_argument("--chromium", default=CHROMIUM, help="The browser's executable.")
    arguments = parser.parse_args()
    with _page(arguments.chromium, arguments.ratio) as (page, version):
        rows = {name: _measured(page, gesture) for name, gesture in GESTURES.items()}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Chromium {version}"
    if arguments.json:
        print(json.dumps({"machine": machine, "ratio": arguments.ratio, "ms": rows}, indent=2))
        return
    Console(width=110).print(_table(rows, f"{machine}, ratio {arguments.ratio:g}"))


@contextmanager
def _page(chromium: str, ratio: float) -> Iterator[tuple[Page, str]]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, device_scale_factor=ratio
        )
        page = context.new_page()
        page.route(f"{ORIGIN}/**", _serve)
        page.goto(f"{ORIGIN}/")
        page.wait_for_function("window.ready")
        yield page, browser.version
        browser.close()


def _serve(route: Route) -> None:
    path = urlsplit(route.request.url).path
    file = PAGE if path == "/" else STATIC / path.removeprefix("/static/")
    if not file.is_file():
        route.fulfill(status=404)
        return
    kind = "text/javascript" if file.suffix == ".mjs" else mimetypes.guess_type(file)[0]
    route.fulfill(body=file.read_bytes(), content_type=kind)


def _hover(page: Page) -> None:
    _sweep(page)


def _drag(page: Page) -> None:
    x1, y1, x2, y2 = page.evaluate(
        """() => {
          editor.select(editor.boxes[0].id);
          canvas.centreOn(editor.selected);
          return canvas.screenBox(editor.selected);
        }"""
    )
    page.mouse.move((x1 + x2) / 2, (y1 + y2) / 2)
    page.mouse.down()
    _sweep(page, (x1 + x2) / 2, (y1 + y2) / 2)
    page.mouse.up()


def _pan(page: Page) -> None:
    page.evaluate("editor.select(null); canvas.fit(); canvas.zoomBy(2)")
    page.mouse.move(500, 400)
    page.mouse.down(button="middle")
    _sweep(page, 500, 400)
    page.mouse.up(button="middle")


def _zoom(page: Page) -> None:
    page.evaluate("canvas.fit()")
    page.mouse.move(500, 400)
    for index in range(MOVES + WARM_UP):
        page.mouse.wheel(0, -60 if index % 40 < 20 else 60)
        _next_frame(page)


def _sweep(page: Page, x: float = 560.0, y: float = 400.0) -> None:
    """A curve around a point, a step a frame."""
    for index in range(MOVES + WARM_UP):
        angle = index / 15
        page.mouse.move(x + 180 * np.sin(angle), y + 140 * np.sin(1.3 * angle))
        _next_frame(page)


def _next_frame(page: Page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")


GESTURES: dict[str, Callable[[Page], None]] = {
    "hover": _hover,
    "drag a box": _drag,
    "pan": _pan,
    "zoom": _zoom,
}


def _measured(page: Page, gesture: Callable[[Page], None]) -> dict[str, dict[str, float]]:
    page.evaluate("taken()")
    gesture(page)
    _next_frame(page)
    samples = page.evaluate("taken()")[WARM_UP:]
    return {
        label: {
            "median": float(np.median([sample[key] for sample in samples])),
            "p95": float(np.percentile([sample[key] for sample in samples], 95)),
        }
        for key, label in COLUMNS.items()
    }


def _table(rows: Rows, machine: str) -> Table:
    title = f"Milliseconds a pointer move, median / 95th percentile: {machine}"
    table = Table(title=title, title_justify="left")
    table.add_column("gesture")
    for label in COLUMNS.values():
        table.add_column(label, justify="right")
    for name, row in rows.items():
        cells = (f"{row[c]['median']:.1f} / {row[c]['p95']:.1f}" for c in COLUMNS.values())
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    main()
