from __future__ import annotations

from bench.int8_map import summary


def test_the_change_is_the_score_in_int8_less_that_in_32_bit_floats() -> None:
    def score(map50: float, map50_95: float) -> dict[str, object]:
        return {
            "map50": map50,
            "map50_95": map50_95,
            "per_class": {"RBC": 0.5},
            "images": 146,
            "gold_sha256": "",
        }

    found = summary(
        {
            "champion": score(0.75, 0.5),
            "candidate": score(0.5, 0.25),
            "verdict": "refuse",
            "reasons": ["It is worse."],
            "gate": None,
        }
    )
    assert found["change"] == {"map50": -0.25, "map50_95": -0.25}
    assert found["scores"]["f32"]["map50"] == 0.75
    assert (found["images"], found["verdict"]) == (146, "refuse")
