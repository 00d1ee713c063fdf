"""Handing in, listing, reading and changing petitions over HTTP, on both databases, under keys of every role."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from nlp_service.api import create_app
from nlp_service.keys import create_key
from nlp_service.roles import Role
from nlp_service.settings import Settings
from nlp_service.store import audit, open_store, petitions, writing
from tests.nlp_service.offices import BRIBE, DOUBTFUL, FLOOD, POTHOLE, FixedClassifier, local_client

Headers = dict[str, str]
MakeKey = Callable[..., Headers]
JSON = {"Content-Type": "application/json"}
SENDER = {"name": "Lê Thị Bưởi", "phone": "0912345678"}


@pytest.fixture
def client(store_url: str) -> Iterator[TestClient]:
    with local_client(create_app(Settings(store=store_url), FixedClassifier())) as client:  # type: ignore[arg-type]
        yield client


@pytest.fixture
def store(store_url: str, client: TestClient) -> Iterator[Engine]:
    engine = open_store(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def key(store: Engine) -> MakeKey:
    def make(role: Role, bodies: tuple[str, ...] = (), communes: tuple[str, ...] = ()) -> Headers:
        with writing(store) as connection:
            name = f"{role}-{len(bodies)}-{'-'.join((*bodies, *communes))}"
            made = create_key(connection, name, role, datetime.now(UTC), bodies=bodies, communes=communes)
        return {"Authorization": f"Bearer {made}"}

    return make


def submit(
    client: TestClient, text: str = POTHOLE, headers: Headers | None = None, **fields: object
) -> dict[str, object]:
    answer = client.post("/v1/petitions", json={"text": text, **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, object] = answer.json()
    return body


def listed(client: TestClient, headers: Headers | None = None, **query: object) -> list[int]:
    answer = client.get("/v1/petitions", params=query, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [petition["id"] for petition in answer.json()["petitions"]]


def test_one_petition_in_and_read_back(client: TestClient) -> None:
    made = submit(client, external_id="PA-1", channel="portal", sender=SENDER, location={"lat": 19.8, "long": 105.7})
    read = client.get(f"/v1/petitions/{made['id']}").json()
    assert read["text"] == POTHOLE and not read["text_masked"]
    assert read["sender"] == SENDER and read["location"] == {"lat": 19.8, "long": 105.7}
    assert {name: read[name] for name in made} == made
    assert read["predictions"][0]["result"] == made["classification"]
    assert read["routings"][0]["result"]["trace"] and read["routings"][0]["rules_version"]
    assert [entry["action"] for entry in read["audit"]] == ["petition.received"]
    again = client.get(f"/v1/petitions/{made['id']}").json()
    assert [entry["action"] for entry in again["audit"]] == ["petition.received", "petition.read"]


def test_sent_again_is_200_and_the_same(client: TestClient) -> None:
    made = submit(client, external_id="PA-1")
    again = client.post("/v1/petitions", json={"text": POTHOLE, "external_id": "PA-1"})
    assert (again.status_code, again.json()) == (200, made)
    other = client.post("/v1/petitions", json={"text": FLOOD, "external_id": "PA-1"})
    assert (other.status_code, other.json()["error"]["kind"]) == (409, "conflict")


def test_many_in_order_and_a_bad_one_spoils_nothing(client: TestClient) -> None:
    rows: list[object] = [
        {"text": POTHOLE, "external_id": "1"},
        {"text": "  "},
        {"text": FLOOD, "received_at": "hôm qua"},
        {"text": 5},
        {"text": DOUBTFUL, "surprise": 1},
        {"text": FLOOD, "external_id": "2"},
        {"text": POTHOLE, "external_id": "1"},
        "petition",
    ]
    answer = client.post("/v1/petitions", json={"petitions": rows})
    assert answer.status_code == 200
    results = answer.json()["results"]
    kinds = [result["error"]["kind"] if result.get("error") else result["created"] for result in results]
    assert kinds == [
        True,
        "empty_text",
        "invalid_request",
        "invalid_request",
        "invalid_request",
        True,
        False,
        "invalid_request",
    ]
    assert "received_at" in results[2]["error"]["message"]
    assert len(listed(client)) == 2


def test_an_idempotency_key_answers_the_same_again(client: TestClient) -> None:
    body = {"petitions": [{"text": POTHOLE}, {"text": ""}]}
    first = client.post("/v1/petitions", json=body, headers={"Idempotency-Key": "k"})
    again = client.post("/v1/petitions", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    deep = client.post(
        "/v1/petitions", content='{"petitions":' + "[" * 300 + "]" * 300 + "}", headers={**JSON, "Idempotency-Key": "d"}
    )
    assert deep.status_code < 500
    other = client.post("/v1/petitions", json={"text": POTHOLE}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["error"]["kind"]) == (409, "conflict")
    one = client.post("/v1/petitions", json={"text": DOUBTFUL}, headers={"Idempotency-Key": "k2"})
    same = client.post("/v1/petitions", json={"text": DOUBTFUL}, headers={"Idempotency-Key": "k2"})
    assert (one.status_code, same.status_code, same.json()) == (201, 201, one.json())
    assert len(listed(client)) == 2


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"petitions": []}, {"petitions": {}}, {"text": POTHOLE, "received_at": "1066-10-14"},
        {"text": POTHOLE, "received_at": "2099-01-01"}, {"text": POTHOLE, "channel": "Cổng"}, {"text": POTHOLE, "external_id": ""},
        {"text": POTHOLE, "external_id": "a\0b"}, {"text": POTHOLE, "location": {"lat": 91}},
    ],
)  # fmt: skip
def test_bad_requests_are_told_in_the_one_shape(client: TestClient, body: object) -> None:
    answer = client.post("/v1/petitions", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert set(answer.json()["error"]) == {"kind", "message", "detail"}
    assert listed(client) == []


def test_a_text_loses_what_no_database_can_hold_and_nothing_else(client: TestClient) -> None:
    answer = client.post(
        "/v1/petitions", content=b'{"text": "M\\ud800\xe1\xba\xa5t \\u0000\xc4\x91i\xe1\xbb\x87n."}', headers=JSON
    )
    assert answer.status_code == 201, answer.text
    assert client.get(f"/v1/petitions/{answer.json()['id']}").json()["text"] == "Mất điện."


def test_a_time_without_zone_is_vietnam_s(client: TestClient) -> None:
    made = submit(client, received_at="2026-11-20T08:00:00")
    assert made["received_at"] in ("2026-11-20T01:00:00+00:00", "2026-11-20T01:00:00Z")


def test_emergencies_stand_first_and_pages_join_without_gap(client: TestClient) -> None:
    made = [submit(client, received_at=f"2026-11-{day:02}T08:00:00Z")["id"] for day in range(1, 8)]
    flood = submit(client, FLOOD, received_at="2026-10-01T08:00:00Z")["id"]
    expected = [flood, *reversed(made)]
    assert listed(client) == expected
    seen: list[int] = []
    cursor = None
    for _ in range(10):
        page = client.get("/v1/petitions", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [petition["id"] for petition in page["petitions"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == expected


def test_a_cursor_that_no_list_returned_is_refused(client: TestClient) -> None:
    odd = [
        [False, "2026-11-01T00:00:00+00:00", 10**30],
        [False, "0001-01-01T00:00:00+14:00", 1],
        [1, "2026-11-01T00:00:00Z", 1],
    ]
    packed = [base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=") for place in odd]
    for cursor in ("x", "W10", "bnVsbA", "é", "W3RydWUsICJhIiwgMV0", *packed):
        answer = client.get("/v1/petitions", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "invalid_request"), cursor


def test_filters(client: TestClient, store: Engine) -> None:
    pothole = submit(client, received_at="2026-11-01T08:00:00Z")
    flood = submit(client, FLOOD, received_at="2026-11-10T08:00:00Z")
    odd = submit(client, DOUBTFUL, received_at="2026-11-20T08:00:00Z")
    code = pothole["place"]["commune_code"]  # type: ignore[index]
    lead = pothole["routing"]["lead"]["id"]  # type: ignore[index]
    assert listed(client, commune=code) == [pothole["id"]]
    assert listed(client, category="disaster_fire_rescue") == [flood["id"]]
    assert listed(client, urgency="low") == [odd["id"]]
    assert pothole["id"] in listed(client, body=lead)
    assert listed(client, status="routed") == [pothole["id"]]
    assert listed(client, received_from="2026-11-10", received_to="2026-11-20T08:00:00Z") == [flood["id"]]
    for words in ("ổ gà", "O GA sua", "gà xe"):
        assert listed(client, q=words) == [pothole["id"]], words
    assert listed(client, q="100%") == listed(client, q="_") == []
    with writing(store) as connection:
        for petition, due in ((pothole, -1), (flood, 1), (odd, 100)):
            at = datetime.now(UTC) + timedelta(hours=due)
            connection.execute(update(petitions).where(petitions.c.id == petition["id"]).values(due_at=at))
    assert listed(client, due="overdue") == [pothole["id"]]
    assert listed(client, due="soon") == [flood["id"]]


def test_lists_mask_whoever_asks(client: TestClient) -> None:
    submit(client, "Tôi tên là Lê Thị Bưởi, số điện thoại 0912 345 678, báo ổ gà trước cổng.")
    (petition,) = client.get("/v1/petitions").json()["petitions"]
    assert "Bưởi" not in petition["excerpt"] and "345" not in petition["excerpt"] and "ổ gà" in petition["excerpt"]
    assert "text" not in petition


def test_a_number_cut_in_two_is_not_shown(client: TestClient) -> None:
    people = "; ".join(["bà Nguyễn Thị Hoa Mai"] * 15)
    for filling in range(60, 140, 7):
        submit(
            client,
            f"Chúng tôi gồm {people}; {'rất ' * (filling // 4)}bức xúc, điện thoại 0912 345 678. "
            + "Mong sớm sửa. " * 40,
        )
    for petition in client.get("/v1/petitions").json()["petitions"]:
        assert not re.search(r"\d", petition["excerpt"]), petition["excerpt"]


def test_who_reads_no_raw_text_reads_no_reasons_and_no_addresses(client: TestClient, key: MakeKey) -> None:
    made = submit(client, location={"lat": 19.8, "long": 105.7, "address": "số 12 ngõ 3 đường Lê Lai"})
    path = f"/v1/petitions/{made['id']}"
    client.patch(f"{path}/status", json={"status": "in_progress", "reason": "đã gọi bà Lê Thị Bưởi 0912345678"})
    auditor = client.get(path, headers=key(Role.AUDITOR)).json()
    reviewer = client.get(path, headers=key(Role.REVIEWER)).json()
    assert auditor["location"] == {"lat": 19.8, "long": 105.7}
    assert "Bưởi" not in auditor["decisions"][0]["reason"] and "0912" not in auditor["decisions"][0]["reason"]
    assert reviewer["location"]["address"] and "Bưởi" in reviewer["decisions"][0]["reason"]


def test_a_form_on_another_s_page_does_nothing(client: TestClient) -> None:
    form = {"service_code": "other", "description": POTHOLE, "address_string": "x"}
    crossed = client.post("/open311/v2/requests.json", data=form, headers={"Origin": "https://evil.example"})
    assert crossed.status_code == 403
    assert (
        client.post("/open311/v2/requests.json", data=form, headers={"Origin": "http://127.0.0.1"}).status_code == 201
    )


def test_guessing_keys_ends_soon(client: TestClient, key: MakeKey) -> None:
    good = key(Role.ADMIN)
    answers = [
        client.get("/v1/petitions", headers={"Authorization": f"Bearer pet_{number:08x}_x"}).status_code
        for number in range(70)
    ]
    assert answers[:60] == [401] * 60 and set(answers[60:]) == {429}
    assert client.get("/v1/petitions", headers=good).status_code == 200


def test_searching_texts_is_audited(client: TestClient, store: Engine) -> None:
    submit(client)
    listed(client, q="ổ gà")
    with store.connect() as connection:
        actions = connection.execute(select(audit.c.action).order_by(audit.c.seq)).scalars().all()
    assert actions == ["petition.received", "petitions.search"]


def test_status_moves_by_the_rules_and_is_recorded(client: TestClient) -> None:
    petition = submit(client)
    path = f"/v1/petitions/{petition['id']}"
    moved = client.patch(f"{path}/status", json={"status": "in_progress", "version": 1})
    assert (moved.status_code, moved.json()["version"]) == (200, 2)
    stale = client.patch(f"{path}/status", json={"status": "answered", "version": 1})
    assert (stale.status_code, stale.json()["error"]["detail"]["version"]) == (409, 2)
    backwards = client.patch(f"{path}/status", json={"status": "routed"})
    assert backwards.status_code == 409 and "answered" in backwards.json()["error"]["message"]
    silent = client.patch(f"{path}/status", json={"status": "rejected"})
    assert silent.status_code == 422 and "reason" in silent.json()["error"]["message"]
    assert client.patch(f"{path}/status", json={"status": "answered", "reason": "đã vá"}).status_code == 200
    decisions = client.get(path).json()["decisions"]
    assert [(d["old"], d["new"], d["reason"], d["actor"]) for d in decisions] == [
        ("routed", "in_progress", None, "local"), ("in_progress", "answered", "đã vá", "local")
    ]  # fmt: skip


def test_without_a_key_nothing_opens_once_there_is_one(client: TestClient, key: MakeKey) -> None:
    submit(client)
    key(Role.ADMIN)
    for method, path in (("GET", "/v1/petitions"), ("GET", "/v1/petitions/1"), ("POST", "/v1/petitions"), ("POST", "/v1/classify"),
                         ("POST", "/v1/classify/batch"), ("PATCH", "/v1/petitions/1/status"), ("GET", "/v1/audit/verify"),
                         ("GET", "/open311/v2/requests.json"), ("POST", "/open311/v2/requests.json")):  # fmt: skip
        answer = client.request(
            method, path, headers={"Authorization": "Bearer pet_00000000_wrong"}, json={"text": POTHOLE}
        )
        bare = client.request(method, path, json={"text": POTHOLE})
        expected = 403 if "open311" in path else 401
        assert (answer.status_code, bare.status_code) == (expected, expected), path
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_without_a_key_only_this_machine_is_let_in_by_its_own_name(client: TestClient) -> None:
    assert client.get("/v1/petitions").status_code == 200
    rebound = client.get("/v1/petitions", headers={"Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["error"]["kind"]) == (401, "unauthenticated")
    assert rebound.headers["WWW-Authenticate"] == "Bearer"
    outside = TestClient(client.app, base_url="http://127.0.0.1", client=("10.0.0.7", 50_000))
    assert (
        outside.get("/v1/petitions").status_code == outside.post("/v1/classify", json={"text": "a"}).status_code == 401
    )


def test_each_role_does_its_own_and_no_more(client: TestClient, key: MakeKey) -> None:
    keys = {role: key(role) for role in (Role.INTAKE, Role.REVIEWER, Role.AUDITOR, Role.ADMIN)}
    keys[Role.OFFICER] = key(Role.OFFICER, ("so_xay_dung",))
    petition = submit(client, headers=keys[Role.INTAKE], sender=SENDER)
    path = f"/v1/petitions/{petition['id']}"

    def status(role: Role, method: str, path: str, body: object = None) -> int:
        return client.request(method, path, headers=keys[role], json=body).status_code

    assert [role for role in Role if status(role, "POST", "/v1/petitions", {"text": DOUBTFUL}) == 201] == [
        Role.INTAKE,
        Role.ADMIN,
    ]
    assert [role for role in Role if status(role, "GET", "/v1/audit/verify") == 200] == [Role.AUDITOR, Role.ADMIN]
    assert [role for role in Role if status(role, "PATCH", f"{path}/status", {"status": "x"}) == 422] == [
        Role.OFFICER, Role.REVIEWER, Role.ADMIN
    ]  # fmt: skip
    raw = {role: client.get(path, headers=keys[role]).json() for role in (Role.INTAKE, Role.AUDITOR, Role.REVIEWER)}
    assert [raw[role]["text_masked"] for role in raw] == [True, True, False]
    assert [raw[role]["sender"] for role in raw] == [None, None, SENDER]
    assert client.get("/v1/petitions", params={"q": "gà"}, headers=keys[Role.AUDITOR]).status_code == 403


def test_an_officer_reads_nothing_outside_its_scope(client: TestClient, key: MakeKey) -> None:
    near = submit(client, "Đường xã Nga Thắng đầy ổ gà, mong sửa.")
    far = submit(client, "Đường xã Hoằng Giang đầy ổ gà, mong sửa.")
    nowhere = submit(client, "Đường đầy ổ gà, mong sửa.")
    bribe = submit(client, BRIBE)
    code = near["place"]["commune_code"]  # type: ignore[index]
    far_code = far["place"]["commune_code"]  # type: ignore[index]
    assert code and far_code and code != far_code
    commune = key(Role.OFFICER, communes=(code,))
    far_commune = key(Role.OFFICER, communes=(far_code,))
    chair = key(Role.OFFICER, bodies=("chu_tich_ubnd_xa",), communes=(far_code,))
    department = key(Role.OFFICER, bodies=("so_y_te",))
    inspectorate = key(Role.OFFICER, bodies=("thanh_tra_tinh",))
    assert listed(client, commune) == [near["id"]]
    assert listed(client, far_commune) == [far["id"]]
    assert listed(client, department) == []
    assert bribe["id"] not in listed(client, chair) + listed(client, far_commune)
    assert listed(client, inspectorate) == [bribe["id"]]
    everything = [petition["id"] for petition in (near, far, nowhere, bribe)]
    for headers, own in (
        (commune, {near["id"]}),
        (far_commune, {far["id"]}),
        (department, set()),
        (inspectorate, {bribe["id"]}),
    ):
        for petition_id in everything:
            expected = 200 if petition_id in own else 404
            assert client.get(f"/v1/petitions/{petition_id}", headers=headers).status_code == expected
            change = client.patch(
                f"/v1/petitions/{petition_id}/status", headers=headers, json={"status": "in_progress"}
            )
            assert change.status_code == expected, change.text
            assert client.get(f"/open311/v2/requests/{petition_id}.json", headers=headers).status_code == expected
        ids = ",".join(map(str, everything))
        shown = client.get("/open311/v2/requests.json", params={"service_request_id": ids}, headers=headers).json()
        assert {int(request["service_request_id"]) for request in shown} == own
        for query in (
            {"commune": far_code},
            {"category": "official_conduct"},
            {"q": "đường"},
            {"body": "thanh_tra_tinh"},
        ):
            assert set(listed(client, headers, **query)) <= own
    detail = client.get(f"/v1/petitions/{bribe['id']}", headers=inspectorate).json()
    assert detail["sender"] is None and detail["text"] == BRIBE


def test_a_system_that_hands_in_reads_its_own_alone(client: TestClient, store: Engine) -> None:
    with writing(store) as connection:
        portal, hotline = (
            {"Authorization": f"Bearer {create_key(connection, name, Role.INTAKE, datetime.now(UTC))}"}
            for name in ("portal", "hotline")
        )
    own = submit(client, POTHOLE, headers=portal)["id"]
    others = submit(client, FLOOD, headers=hotline)["id"]
    assert (listed(client, portal), listed(client, hotline)) == ([own], [others])
    assert client.get(f"/v1/petitions/{others}", headers=portal).status_code == 404
    assert client.get(f"/open311/v2/requests/{others}.json", headers=portal).status_code == 404


def test_the_audit_log_is_verified_over_http(client: TestClient, store: Engine) -> None:
    submit(client)
    verdict = client.get("/v1/audit/verify").json()
    assert (verdict["intact"], verdict["rows"]) == (True, 1)
    submit(client, FLOOD)
    assert client.get("/v1/audit/verify", params={"head": verdict["head"]}).json()["intact"]
    with writing(store) as connection:
        connection.execute(update(audit).where(audit.c.seq == 1).values(payload="{}"))
    broken = client.get("/v1/audit/verify").json()
    assert (broken["intact"], broken["broken_at"]) == (False, 1)
    with store.connect() as connection:
        assert len(connection.execute(select(audit.c.seq)).all()) == 2


def test_too_many_requests_are_told_when_to_come_back(store_url: str) -> None:
    with local_client(create_app(Settings(store=store_url, rate_per_minute=3), FixedClassifier())) as client:  # type: ignore[arg-type]
        assert [client.get("/v1/petitions").status_code for _ in range(3)] == [200] * 3
        refused = client.get("/v1/petitions")
    assert (refused.status_code, refused.json()["error"]["kind"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61


def test_ready_says_when_the_store_is_away(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    healthy = client.app.state.engine  # type: ignore[attr-defined]
    client.app.state.engine = open_store("postgresql://nobody@127.0.0.1:1/none")  # type: ignore[attr-defined]
    answer = client.get("/readyz")
    client.app.state.engine = healthy  # type: ignore[attr-defined]
    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "invalid_store")
