"""The GeoReport v2 facade, with a client of another's making, and against the specification's words."""

from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient
from georeport import GeoReport

from nlp_service.api import create_app
from nlp_service.keys import create_key
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import writing
from tests.nlp_service.offices import POTHOLE, FixedClassifier, local_client

BASE = "/open311/v2"
FORM = {
    "service_code": "transport_infrastructure",
    "description": POTHOLE,
    "address_string": "Xã Nga Thắng",
    "lat": "19.99",
    "long": "105.9",
    "first_name": "Bưởi",
    "last_name": "Lê Thị",
    "phone": "0912345678",
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with local_client(create_app(Settings(), FixedClassifier())) as client:  # type: ignore[arg-type]
        yield client


def test_services_are_the_categories_in_both_formats(client: TestClient) -> None:
    listed = client.get(f"{BASE}/services.json").json()
    assert len(listed) == 21
    first = listed[0]
    assert set(first) >= {"service_code", "service_name", "description", "metadata", "type", "keywords", "group"}
    assert first["metadata"] is False and first["type"] == "realtime"
    answer = client.get(f"{BASE}/services.xml")
    assert answer.headers["content-type"].startswith("text/xml")
    root = ElementTree.fromstring(answer.content)
    assert root.tag == "services" and [node.tag for node in root] == ["service"] * 21
    assert root[0].findtext("service_name") == first["service_name"] and root[0].findtext("metadata") == "false"
    definition = client.get(f"{BASE}/services/{first['service_code']}.json").json()
    assert definition == {"service_code": first["service_code"], "attributes": []}


def test_a_request_in_and_followed(client: TestClient) -> None:
    made = client.post(f"{BASE}/requests.json", data=FORM)
    assert made.status_code == 201
    (receipt,) = made.json()
    assert isinstance(receipt["service_request_id"], str) and "112" in receipt["service_notice"]
    (request,) = client.get(f"{BASE}/requests/{receipt['service_request_id']}.json").json()
    assert request["status"] == "open" and request["service_code"] == "transport_infrastructure"
    assert request["agency_responsible"] and request["address"] == "Xã Nga Thắng"
    assert (request["lat"], request["long"]) == (19.99, 105.9)
    for name in ("requested_datetime", "updated_datetime", "expected_datetime"):
        assert datetime.fromisoformat(request[name]).tzinfo, name
    detail = client.get(f"/v1/petitions/{receipt['service_request_id']}").json()
    assert detail["channel"] == "open311" and detail["sender"]["name"] == "Lê Thị Bưởi"
    client.patch(f"/v1/petitions/{receipt['service_request_id']}/status", json={"status": "answered"})
    assert client.get(f"{BASE}/requests.json", params={"status": "open"}).json() == []
    (closed,) = client.get(f"{BASE}/requests.json", params={"status": "closed"}).json()
    assert closed["status"] == "closed" and closed["status_notes"] == "Đã trả lời"


def test_xml_in_the_specification_s_shape(client: TestClient) -> None:
    root = ElementTree.fromstring(client.post(f"{BASE}/requests.xml", data=FORM).content)
    assert root.tag == "service_requests" and root[0].tag == "request"
    number = root[0].findtext("service_request_id")
    listed = ElementTree.fromstring(client.get(f"{BASE}/requests.xml").content)
    assert [node.findtext("service_request_id") for node in listed] == [number]
    discovery = ElementTree.fromstring(client.get(f"{BASE}/discovery.xml").content)
    assert discovery.findtext("endpoints/endpoint/specification") == "http://wiki.open311.org/GeoReport_v2"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"service_code": None}, 400, "service_code"),
        ({"service_code": "nothing"}, 404, "nothing"),
        ({"description": " "}, 400, "description"),
        ({"address_string": None, "lat": None}, 400, "location"),
        ({"lat": "north"}, 400, "lat"),
        ({"lat": "95"}, 400, "lat"),
    ],
)
def test_errors_have_the_specification_s_shape(
    client: TestClient, change: dict[str, str | None], code: int, words: str
) -> None:
    form = {name: value for name, value in {**FORM, **change}.items() if value is not None}
    answer = client.post(f"{BASE}/requests.json", data=form)
    assert answer.status_code == code
    (error,) = answer.json()
    assert error["code"] == code and words in error["description"]
    root = ElementTree.fromstring(client.post(f"{BASE}/requests.xml", data=form).content)
    assert root.tag == "errors" and root[0].findtext("code") == str(code)


def test_unknown_requests_are_404_and_odd_ids_400(client: TestClient) -> None:
    assert client.get(f"{BASE}/requests/99.json").status_code == 404
    for odd in ("x", "-1", "1.5", "٣", "9" * 30):
        assert client.get(f"{BASE}/requests/{odd}.json").status_code == 400, odd
    assert client.get(f"{BASE}/requests.json", params={"start_date": "hôm qua"}).status_code == 400
    assert client.get(f"{BASE}/requests.json", params={"end_date": "0001-01-10T00:00:00Z"}).json() == []
    odd = client.post(f"{BASE}/requests.xml", data={**FORM, "service_code": "a\x0bb"})
    assert ElementTree.fromstring(odd.content)[0].findtext("code") == "404"


def test_descriptions_are_masked_and_keys_are_needed(client: TestClient) -> None:
    client.post(f"{BASE}/requests.json", data={**FORM, "description": POTHOLE + " Gọi tôi: 0912 345 678."})
    assert "345" not in client.get(f"{BASE}/requests.json").text
    with writing(client.app.state.engine) as connection:  # type: ignore[attr-defined]
        key = create_key(connection, "311", Role.INTAKE, datetime.now(UTC))
    refused = client.get(f"{BASE}/requests.json")
    assert refused.status_code == 403 and refused.json()[0]["code"] == 403
    assert client.post(f"{BASE}/requests.json", data=FORM).status_code == 403
    assert client.post(f"{BASE}/requests.json", data={**FORM, "api_key": key}).status_code == 201
    assert len(client.get(f"{BASE}/requests.json", params={"api_key": key}).json()) == 1  # its own


@pytest.mark.parametrize("output_format", ["json", "xml"])
def test_a_client_of_another_s_making_reads_it(running_service: str, output_format: str) -> None:
    client = GeoReport(f"{running_service}{BASE}/", output_format=output_format)
    services = client.get_service_list()
    assert len(services) == 21
    assert client.get_service_definition(services[0]["service_code"])["service_code"] == services[0]["service_code"]
    flood, pothole = client.get_service_requests()
    assert (flood["service_code"], pothole["service_code"]) == ("disaster_fire_rescue", "transport_infrastructure")
    one = client.get_service_request(pothole["service_request_id"])
    assert one["agency_responsible"] == pothole["agency_responsible"]
