from __future__ import annotations

import pytest

from cluster.job_place import Place, find_place
from cluster.running import note_running
from loop.errors import Unavailable
from store.settings import Settings

DASHBOARD = "http://127.0.0.1:8265"


def up(settings: Settings, ray_address: str = "127.0.0.1:6379") -> None:
    """As if this process were `secondlook up`."""
    note_running(settings, ray_address, DASHBOARD, "http://127.0.0.1:5001")


def test_what_is_up_here_runs_jobs_in_place(settings: Settings) -> None:
    up(settings)
    asked = settings.model_copy(update={"ray_address": "10.0.0.1:6379"})
    assert find_place(asked) == Place(DASHBOARD, here=True)


def test_a_cluster_whose_head_is_elsewhere_sees_no_disk_of_this_machine(
    settings: Settings,
) -> None:
    up(settings, "198.51.100.7:6379")
    assert find_place(settings) == Place(DASHBOARD, here=False)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_what_may_be_a_tunnel_sees_no_disk_of_this_machine(
    settings: Settings, address: str
) -> None:
    up(settings, address)
    assert find_place(settings) == Place(DASHBOARD, here=False)


def test_the_dashboard_that_the_settings_name_comes_first(settings: Settings) -> None:
    up(settings)
    named = settings.model_copy(update={"dashboard_at": "http://head:8265/"})
    assert find_place(named) == Place("http://head:8265", here=False)
    own = settings.model_copy(update={"dashboard_at": f"{DASHBOARD}/"})
    assert find_place(own) == Place(DASHBOARD, here=True)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.1:6379", "http://10.0.0.1:8265"),
        ("ray://head:10001", "http://head:8265"),
        ("http://head:8000", "http://head:8000"),
        ("[fd00::7]:6379", "http://[fd00::7]:8265"),
    ],
)
def test_a_ray_address_names_a_cluster_elsewhere(
    settings: Settings, address: str, url: str
) -> None:
    asked = settings.model_copy(update={"ray_address": address})
    assert find_place(asked) == Place(url, here=False)


@pytest.mark.parametrize("address", ["", "auto", "local", "[fd00::7:6379"])
def test_without_any_it_says_how_to_get_one(settings: Settings, address: str) -> None:
    asked = settings.model_copy(update={"ray_address": address})
    with pytest.raises(Unavailable, match="No Ray cluster") as caught:
        find_place(asked)
    assert "SECONDLOOK_DASHBOARD_URL" in caught.value.hint
