"""A cluster that `up` joins, as far as no Ray is needed; `test_several_nodes` has a real one."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import joined_ray
from cluster.joined_ray import find_dashboard, is_here, join, joins, spread_warning
from loop.errors import Conflict, LoopError, Misconfigured, Unavailable
from store.settings import Settings

NOWHERE: dict[str, Any] = {"applications": {}}
SHARED = {"database_url": "postgresql://db/x", "tracking_uri": "http://mlflow:5001"}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: the dashboard says that nothing is deployed, and `head` is another machine."""
    monkeypatch.setattr(joined_ray, "serve_details", lambda url: NOWHERE)
    monkeypatch.setattr(joined_ray, "is_here", lambda host: host in ("127.0.0.1", "localhost"))
    monkeypatch.setattr(joined_ray, "_ask", lambda address: "10.0.0.7:8265")


def with_(settings: Settings, **changed: Any) -> Settings:
    return settings.model_copy(update=changed)


@pytest.mark.parametrize(
    ("address", "joined"),
    [("", False), ("local", False), ("auto", True), ("head:6379", True), ("ray://h:10001", True)],
)
def test_ray_address_decides_who_starts_ray(settings: Settings, address: str, joined: bool) -> None:
    assert joins(with_(settings, ray_address=address)) is joined


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("head:6379", "http://10.0.0.7:8265"),
        ("ray://head:10001", "http://head:8265"),
        ("https://ray.example.org/", "https://ray.example.org"),
    ],
)
def test_the_dashboard_is_asked_for_or_is_at_its_usual_port(
    settings: Settings, address: str, url: str
) -> None:
    assert find_dashboard(with_(settings, ray_address=address)) == url


def test_a_cluster_that_knows_of_no_dashboard_has_it_at_its_usual_port(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_ray, "_ask", lambda address: "")
    assert find_dashboard(with_(settings, ray_address="head:6379")) == "http://head:8265"


def test_a_dashboard_for_its_own_machine_alone_wants_a_tunnel(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_ray, "_ask", lambda address: "127.0.0.1:8265")
    with pytest.raises(Misconfigured) as error:
        find_dashboard(with_(settings, ray_address="head:6379"))
    assert "SECONDLOOK_DASHBOARD_URL" in error.value.hint


def test_a_cluster_elsewhere_has_its_api_at_its_head(settings: Settings) -> None:
    far = with_(settings, ray_address="head:6379", host="0.0.0.0", **SHARED)  # noqa: S104
    found = join(far)
    assert (found.api_url, found.dashboard_url) == ("http://head:8000", "http://10.0.0.7:8265")
    settled = found.settled(far)
    assert (settled.api_url, settled.dashboard_url) == (found.api_url, found.dashboard_url)
    assert found.environment()["SECONDLOOK_API_URL"] == "http://head:8000"


def test_a_cluster_here_has_its_api_where_the_settings_say(settings: Settings) -> None:
    found = join(with_(settings, ray_address="127.0.0.1:6379"))
    assert found.here
    assert found.api_url == "http://127.0.0.1:8000"


def test_which_cluster_auto_means_is_settled_when_it_is_joined(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"auto": "127.0.0.1:6379"}
    monkeypatch.setattr(joined_ray, "_gcs_address", lambda address: found.get(address, address))
    joined = join(with_(settings, ray_address="auto"))
    assert (joined.address, joined.here) == ("127.0.0.1:6379", True)
    assert joined.settled(settings).ray_address == "127.0.0.1:6379"
    assert joined.environment()["RAY_ADDRESS"] == "127.0.0.1:6379"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (SHARED, "SECONDLOOK_HOST"),
        ({"host": "0.0.0.0"}, "SECONDLOOK_DATABASE_URL and MLFLOW_TRACKING_URI"),  # noqa: S104
        (
            SHARED | {"tracking_uri": "sqlite:////x.db", "host": "0.0.0.0"},  # noqa: S104
            "MLFLOW_TRACKING_URI",
        ),
    ],
    ids=["loopback", "files", "mlflow"],
)
def test_a_cluster_elsewhere_wants_what_it_can_reach(
    settings: Settings, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        join(with_(settings, ray_address="head:6379", **changed))
    assert words in f"{error.value.message} {error.value.hint}"


def test_a_tunnel_to_the_api_is_believed(settings: Settings) -> None:
    far = with_(settings, ray_address="head:6379", api_at="http://127.0.0.1:9000", **SHARED)
    assert join(far).api_url == "http://127.0.0.1:9000"


def test_serve_that_listens_elsewhere_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"applications": {"second-look": {}}, "http_options": {"host": "x", "port": 1}}
    monkeypatch.setattr(joined_ray, "serve_details", lambda url: there)
    with pytest.raises(Conflict, match="x:1") as error:
        join(with_(settings, ray_address="127.0.0.1:6379"))
    assert "--undeploy" in error.value.hint


@pytest.mark.parametrize("address", ["http://", ":6379", "//", "[::1"])
def test_an_address_that_names_no_head_is_refused(settings: Settings, address: str) -> None:
    with pytest.raises(LoopError) as error:
        join(with_(settings, ray_address=address))
    assert "RAY_ADDRESS" in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize(
    ("addresses", "host", "warned"),
    [
        (["10.0.0.1", "10.0.0.2"], "127.0.0.1", True),
        (["10.0.0.1", "10.0.0.2"], "0.0.0.0", False),  # noqa: S104
        (["10.0.0.1", "10.0.0.1"], "127.0.0.1", False),
    ],
)
def test_replicas_on_other_machines_must_listen_for_the_head(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    host: str,
    warned: bool,
) -> None:
    nodes = [{"node_ip": each} for each in addresses]
    monkeypatch.setattr(joined_ray, "nodes_of", lambda url: nodes)
    assert bool(spread_warning(with_(settings, host=host), "http://head:8265")) is warned


def test_where_nobody_listens_ray_is_not_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(Unavailable, match=r"Nobody listens at 127\.0\.0\.1:9"):
        find_dashboard(with_(settings, ray_address="127.0.0.1:9"))


def test_loopback_and_own_addresses_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert is_here("127.0.0.1")
    assert is_here("localhost")
    assert not is_here("192.0.2.77")
