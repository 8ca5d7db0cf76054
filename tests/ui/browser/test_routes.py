"""The addresses of tiles and exports, asked for as the canvas does, and as nobody should."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from fastapi import FastAPI
from starlette.testclient import TestClient

from mitosam.ui.browser.routes import MAX_TICKETS, Downloads, make_routes


@pytest.fixture
def downloads():
    return Downloads()


@pytest.fixture
def client(session, downloads):
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(make_routes(session, downloads))
    with TestClient(app) as client:
        yield client


def test_an_image_tile_is_its_grey_values(session, client):
    answer = client.get("/mitosam/image/1/0/0/0")
    pixels = np.frombuffer(answer.content, np.uint8).reshape(session.shape_zyx[1:])
    assert np.array_equal(pixels, session.image(1))
    assert len(client.get("/mitosam/image/1/1/0/0").content) == pixels.size / 4


def test_an_object_tile_is_its_ids(session, client):
    session.add(2, 5, 7, np.ones((3, 4), bool))
    answer = client.get("/mitosam/objects/2/0/0/0?version=3")
    ids = np.frombuffer(answer.content, "<u4").reshape(session.shape_zyx[1:])
    assert np.array_equal(ids, session.labels(2))
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", ["image", "objects"])
@pytest.mark.parametrize("place", ["4/0/0/0", "0/0/1/0", "0/40/0/0", "0/0/0/99999999999999999999"])
def test_what_is_not_in_the_volume_is_not_found(client, kind, place):
    assert client.get(f"/mitosam/{kind}/{place}").status_code == 404


@pytest.mark.parametrize("place", ["a/0/0/0", "-1/0/0/0", "0/0/../0", "0/0/0/1e3"])
def test_what_is_no_place_is_refused(client, place):
    assert client.get(f"/mitosam/image/{place}").status_code in (404, 422)


def test_an_export_is_taken_away_under_a_name_that_was_given_out(tmp_path, client, downloads):
    tifffile.imwrite(tmp_path / "labels.tif", np.eye(3, dtype=np.uint8))
    answer = client.get(downloads.offer(tmp_path / "labels.tif"))
    assert np.array_equal(tifffile.imread(io.BytesIO(answer.content)), np.eye(3))
    assert 'filename="labels.tif"' in answer.headers["content-disposition"]


def test_a_folder_is_packed(tmp_path, client, downloads):
    (tmp_path / "measured").mkdir()
    (tmp_path / "measured" / "table.csv").write_text("a,b")
    assert client.get(downloads.offer(tmp_path / "measured")).content[:2] == b"PK"


@pytest.mark.parametrize(
    "ticket", ["x", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "../image/0/0/0/0/../../x"]
)
def test_no_path_is_an_export(client, ticket):
    assert client.get(f"/mitosam/exports/{ticket}").status_code == 404


def test_only_so_many_exports_are_remembered_and_none_that_is_gone(tmp_path, downloads):
    path = tmp_path / "labels.json"
    path.write_text("{}")
    tickets = [downloads.offer(path).rpartition("/")[2] for _ in range(MAX_TICKETS + 1)]
    assert downloads.find(tickets[0]) is None
    assert downloads.find(tickets[-1]) == path
    path.unlink()
    assert downloads.find(tickets[-1]) is None
