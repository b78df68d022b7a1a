from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from PIL import Image

from loop.access import Permission, Person
from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox, Origin
from loop.errors import NotFound, Unavailable
from loop.events import Role
from loop.impact import Change, ClassChange, class_metrics, promoted
from loop.intake import NewImage
from loop.measuring import measure
from loop.predictions import Detection, ModelRef
from loop.promotions import Promotion
from loop.review import FirstAnswer, submit_first
from loop.snapshots import Labels, Manifest, SnapshotRecord
from store.image_codec import encode_png
from tests.loop.cases import ANA, BEN, SETTINGS, SURE, Clinic
from tests.loop.test_impact import model, promotion
from tests.loop.test_measuring import LENIENT
from tests.strategies import CLASSES
from ui.before_after import LONGEST_PX, Pair, gallery
from ui.guard import GUARDED, guard
from ui.impact import _PLACES, _Page, build_impact
from ui.impact_html import change_plot, change_table

OLD, NEW = model(1), model(2)
LATER = "9999"
MOVED = Box(20, 20, 44, 44)
VIEWER = Person("1", "ana@clinic", "Ana", ANA.pseudonym, frozenset({Role.REVIEWER}))
# Places of what `_Page.choose` answers: a message first.
MESSAGE, SUMMARY, PLOT, TABLE, CLASS_NOTE, AGAIN, TILES, CASE_NOTE, KIND, PICTURES = range(10)


class Registry:
    """One version, of the run ``cv``."""

    def __init__(self, champion: ModelRef | None = NEW) -> None:
        self.champion = champion
        self.tags = {"loop.snapshot_sha256": "5" * 64}
        self.down = False

    def find_alias(self, alias: str) -> ModelRef | None:
        assert alias == "champion"
        return self.champion

    def versions(self) -> list[Any]:
        if self.down:
            raise Unavailable("MLflow does not do it.")
        return [SimpleNamespace(ref=NEW, run_id="cv", tags=self.tags)]

    def classes_of(self, ref: ModelRef) -> ClassList:
        return CLASSES


class Tracking:
    def __init__(self, *folds: dict[str, float]) -> None:
        self.folds = folds

    def children(self, run_id: str) -> list[str]:
        assert run_id == "cv"
        return [str(place) for place in range(len(self.folds))]

    def run(self, run_id: str) -> Any:
        scores = {name: {"map50_95": value} for name, value in self.folds[int(run_id)].items()}
        return SimpleNamespace(metrics=class_metrics(scores, CLASSES))


class House(Clinic):
    """Version 2 is in service and replaced version 1, which saw `SURE` on each image."""

    def __init__(self) -> None:
        super().__init__()
        self.promote(promotion(2, 1, measured="1", at=LATER))
        self.registry = Registry()
        self.tracking = Tracking()
        self.now: dict[bytes, Sequence[Detection]] = {}
        self.served = NEW

    def promote(self, of: Promotion) -> None:
        self.database.tables.promotions[of.id] = of

    def settle(self, shade: int, box: Box, now: Box, by: Any = ANA) -> str:
        """A case that is settled as ``box``; version 2 sees ``now``. Returns its id."""
        data = encode_png(np.full((80, 100, 3), shade, np.uint8))
        self.now[data] = [Detection("n", now, 0, 0.9)]
        queued = self.queue(NewImage(data, "image/png", 100, 80), [SURE], OLD)
        final = FinalBox.from_detection("b", box, 0, queued.detections[0])
        submit_first(
            self.units, queued.review_id, FirstAnswer((final,)), actor=by, settings=LENIENT
        )
        return queued.review_id

    def measure(self) -> None:
        steps = measure(
            self.units,
            self.images,
            lambda data: (self.served, self.now[data]),
            "m2",
            actor=BEN,
            settings=SETTINGS,
        )
        for _ in steps:
            pass

    def api(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/detect"
        detections = [each.as_dict() | {"class_name": "cell"} for each in self.now[request.content]]
        return httpx.Response(200, json={"model": self.served.as_dict(), "detections": detections})

    @property
    def page(self) -> _Page:
        client = httpx.Client(base_url="http://api.test", transport=httpx.MockTransport(self.api))
        registry: Any = self.registry
        tracking: Any = self.tracking
        return _Page(self.units, self.images, tracking, registry, client, SETTINGS)

    def shown(self, person: Person = VIEWER, kind: Change = Change.FIXED) -> list[Any]:
        return self.page.choose(person, "m2", kind.value)


@pytest.fixture
def house() -> House:
    return House()


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data)), formats=["JPEG"]) for data in found]


def test_without_a_promoted_model_the_page_says_what_will_be_here(house: House) -> None:
    house.database.tables.promotions.clear()
    dropdown, _, summary, plot, *_ = house.page.show(VIEWER, None, "fixed")
    assert "No model was promoted yet" in summary
    assert not dropdown.visible
    assert not plot.visible


def test_the_newest_model_is_shown_until_another_is_chosen(house: House) -> None:
    house.promote(promotion(3, 2, measured="2", at=f"{LATER}9"))
    house.registry.champion = model(3)
    dropdown, *_ = house.page.show(VIEWER, None, "fixed")
    assert dropdown.value == "m3"
    assert [label for label, _ in dropdown.choices] == [
        "Version 3, promoted 99999 UTC (in service)",
        "Version 2, promoted 9999 UTC",
    ]
    dropdown, *_ = house.page.show(VIEWER, "m2", "fixed")
    assert dropdown.value == "m2"


def test_a_model_that_was_rolled_back_is_marked(house: House) -> None:
    house.registry.champion = OLD
    found = house.page.show(VIEWER, None, "fixed")
    assert found[0].choices[0][0].endswith("(rolled back)")
    assert "rolled back" in found[1 + SUMMARY]
    assert not found[1 + AGAIN].interactive


def test_a_promotion_that_is_not_there_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        house.page.choose(VIEWER, "m9", "fixed")


def test_scores_before_and_after_are_told_apart_by_sign_and_with_their_spread(
    house: House,
) -> None:
    house.tracking = Tracking({"rod": 0.4}, {"rod": 0.6, "cell": 0.1})
    found = house.shown()
    assert "mAP50-95 went from 0.500 to 0.500 (+0.000)" in found[SUMMARY]
    for text in ("rod", "0.250", "0.500", "+0.250", "0.500 ± 0.141"):
        assert text in found[TABLE]
    bar = json.loads(found[PLOT].value["plot"])["data"][0]
    assert (bar["y"], bar["x"]) == (["rod"], [0.25])
    assert bar["error_x"]["array"] == [pytest.approx(0.1414, abs=1e-4)]
    assert "over the 2 folds" in found[CLASS_NOTE]


def test_where_no_fold_is_recorded_this_is_said(house: House) -> None:
    found = house.shown()
    assert "no folds recorded" in found[TABLE]
    assert "No folds recorded" in found[CLASS_NOTE]


def test_without_mlflow_the_gold_scores_are_shown_all_the_same(house: House) -> None:
    house.registry.down = True
    found = house.shown()
    assert "MLflow does not do it." in found[SUMMARY]
    assert "+0.250" in found[TABLE]


def test_the_first_model_has_no_plot_of_changes(house: House) -> None:
    house.promote(promotion(2, None, measured="1", at=LATER))
    found = house.shown()
    assert not found[PLOT].visible
    assert "it replaced none" in found[SUMMARY]


def test_losses_and_gains_have_another_pattern_too() -> None:
    plot = change_plot([ClassChange("a", 0.5, 0.6, ()), ClassChange("b", 0.5, 0.4, (0.1, 0.2))])
    marker = plot.data[0].marker
    assert marker.color[0] != marker.color[1]
    assert marker.pattern.shape == ("", "/")
    assert plot.layout.xaxis.ticktext[len(plot.layout.xaxis.ticktext) // 2] == "0"
    assert change_plot([ClassChange("a", None, 0.6, ())]) is None


def test_class_names_are_text_and_never_markup() -> None:
    change = ClassChange("<script>alert(1)</script>", 0.5, 0.6, ())
    assert "<script" not in change_table([change])
    assert "<script" not in change_plot([change]).to_json()


def test_cases_are_counted_and_ones_own_corrections_stand_out(house: House) -> None:
    house.settle(10, MOVED, MOVED)
    house.settle(20, MOVED, MOVED, by=BEN)
    house.settle(30, SURE.box, MOVED)
    assert "press the button" in house.shown()[CASE_NOTE]
    house.measure()
    tiles = house.shown()[TILES]
    assert _tile(tiles, "Fixed") == "2"
    assert _tile(tiles, "Broken") == "1"
    assert _tile(tiles, "Your corrections") == "1"
    nobody = Person("2", "x", "X", "p-x", frozenset({Role.AUDITOR}))
    assert _tile(house.shown(nobody)[TILES], "Your corrections") == "0"


def test_how_many_images_the_model_may_have_been_trained_on_is_said(house: House) -> None:
    house.settle(10, MOVED, MOVED)
    house.measure()
    assert "how many of these is not known" in house.shown()[CASE_NOTE]
    manifest = Manifest(1, Labels.ADJUDICATED, ("cell",), (), (), {})
    record = SnapshotRecord("5" * 64, manifest, LATER, "eve")
    house.database.tables.snapshots[record.sha256] = record
    assert "at most 1 of these 1 were settled when its snapshot" in house.shown()[CASE_NOTE]


def test_pictures_are_in_the_page_itself_and_small(house: House) -> None:
    own = house.settle(10, MOVED, MOVED)
    others = house.settle(20, MOVED, MOVED, by=BEN)
    house.measure()
    html = house.shown()[PICTURES]
    before, after = pictures_in(html)[:2]
    assert before.size == after.size == (100, 80)
    assert before.tobytes() != after.tobytes()
    assert "file=" not in html
    assert 'alt="Earlier model: cell"' in html
    assert html.count("your answer") == 1
    assert html.index(own[:12]) < html.index(others[:12])  # one's own comes first


def test_other_changes_can_be_looked_at_and_none_is_said(house: House) -> None:
    case_id = house.settle(10, SURE.box, MOVED)
    house.measure()
    assert "None of these cases is fixed." in house.shown()[PICTURES]
    assert case_id[:12] in house.page.pictures(VIEWER, "m2", Change.BROKEN.value)
    assert case_id[:12] in house.shown(kind=Change.BROKEN)[PICTURES]


def test_no_more_pictures_are_sent_than_are_looked_at(house: House) -> None:
    for shade in range(15):
        house.settle(10 + shade, MOVED, MOVED)
    house.measure()
    html = house.shown()[PICTURES]
    assert len(pictures_in(html)) == 2 * 12
    assert "The first 12 of 15." in html


def test_a_large_image_is_scaled_down_and_its_boxes_with_it() -> None:
    data = encode_png(np.full((600, 1200, 3), 200, np.uint8))
    boxes = (Detection("d", Box(600, 300, 1000, 500), 1, 0.9),)
    html = gallery([Pair("k", "2026-01-02", False, data, boxes, (), ())], CLASSES)
    before, after = (np.asarray(picture).astype(int) for picture in pictures_in(html))
    assert before.shape == after.shape == (LONGEST_PX // 2, LONGEST_PX, 3)
    changed = np.argwhere(np.abs(before - after).max(axis=2) > 60)
    assert changed[:, 1].min() == pytest.approx(600 * 0.3, abs=3)
    assert changed[:, 1].max() == pytest.approx(1000 * 0.3, abs=3)
    assert changed[:, 0].max() == pytest.approx(500 * 0.3, abs=3)
    assert "your answer" not in html


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2)])
def test_odd_images_and_slivers_of_boxes_can_be_drawn(size: tuple[int, int]) -> None:
    width, height = size
    data = encode_png(np.zeros((height, width, 3), np.uint8))
    whole = Box(0, 0, width, height)
    sliver = Box(0, 0, 1e-3, 1e-3)
    found = (Detection("a", whole, 2, 0.5), Detection("b", sliver, 0, 0.4))
    truth = tuple(FinalBox(str(n), box, 0, Origin.ADDED) for n, box in enumerate((whole, sliver)))
    assert "<img" in gallery([Pair("k", "2026", True, data, found, found, truth)], CLASSES)


def test_names_of_classes_in_a_picture_are_text() -> None:
    data = encode_png(np.zeros((9, 9, 3), np.uint8))
    found = (Detection("a", Box(1, 1, 5, 5), 0, 0.5),)
    classes = ClassList(('"><script>',))
    assert "<script" not in gallery([Pair("k", "2026", True, data, found, (), ())], classes)


def test_past_cases_are_looked_at_over_http_with_progress(house: House) -> None:
    for shade in (10, 20):
        house.settle(shade, MOVED, MOVED)
    answers = list(house.page.look_again(VIEWER, "m2", "fixed"))
    assert all(len(answer) == 1 + _PLACES for answer in answers)
    assert "Looking at case 1 of 2" in answers[0][MESSAGE]
    assert "Looking at case 2 of 2" in answers[1][MESSAGE]
    assert answers[-1][MESSAGE] == ""
    assert _tile(answers[-1][TILES], "Fixed") == "2"
    event = house.database.events[-1]
    assert (event.type, event.actor.pseudonym) == ("impact.measured", ANA.pseudonym)


def test_another_model_in_service_is_a_message_on_the_page(house: House) -> None:
    house.settle(10, MOVED, MOVED)
    house.served = model(3)
    *_, last = house.page.look_again(VIEWER, "m2", "fixed")
    assert "Version 3 of detector is in service, and not 2." in last[MESSAGE]
    assert house.database.tables.impacts == {}


def test_a_model_that_is_out_of_service_cannot_be_looked_at_again(house: House) -> None:
    house.registry.champion = model(3)
    found = house.shown()
    assert not found[AGAIN].interactive
    assert "not any more" in found[CASE_NOTE]


def test_nothing_settled_before_is_said(house: House) -> None:
    house.measure()
    found = house.shown()
    assert "No case had been settled with an earlier model" in found[CASE_NOTE]
    assert found[TILES] == found[PICTURES] == ""


def test_every_handler_of_the_tab_asks_for_the_permission(house: House) -> None:
    registry: Any = house.registry
    tracking: Any = house.tracking
    with gr.Blocks() as page, gr.Tab("What changed"):
        build_impact(guard, house.units, house.images, tracking, registry, httpx.Client())
    handlers = [function for function in page.fns.values() if function.fn is not None]
    assert len(handlers) == 5
    for function in handlers:
        assert getattr(function.fn, GUARDED) is Permission.SEE_PROGRESS
        assert function.api_visibility == "private"


def test_promotions_are_listed_as_the_domain_orders_them(house: House) -> None:
    house.promote(promotion(3, 2, measured="0", at="1"))
    with house.units() as uow:
        order = [each.promotion.id for each in promoted(uow.promotions.list(), NEW)]
    assert [value for _, value in house.page.show(VIEWER, None, "fixed")[0].choices] == order


def _tile(html: str, name: str) -> str:
    found = re.search(rf'{name}</span><span class="slf-value">([^<]*)<', html)
    assert found is not None, f"no tile {name}"
    return found.group(1)
