"""Which petition somebody means by its number, or by the code that it has elsewhere."""

import re

from sqlalchemy import Engine, select

from nlp_service.casework import scope
from nlp_service.roles import Principal, Right
from nlp_service.store import petitions, snapshot

_NUMBER = re.compile(r"#?([0-9]{1,18})")
_LONGEST_CODE = 200
_MOST = 20


def look_up(engine: Engine, principal: Principal, typed: str) -> list[int]:
    """Ids of the petitions in the principal's scope that `typed` ("1234", "#1234", an external id) names, nearly always
    one or none.

    Raises:
        PetitionError: FORBIDDEN.
    """
    principal.require(Right.READ)
    code = typed.strip()
    number = _NUMBER.fullmatch(code)
    named = [int(number[1])] if number else []
    if not code or len(code) > _LONGEST_CODE or "\0" in code:
        return []
    with snapshot(engine) as connection:
        # The ids alone first: they stand in the index of external ids, and nothing else need be read.
        coded = select(petitions.c.id).where(petitions.c.external_id == code).limit(_MOST)
        named += connection.execute(coded).scalars()
        seen = select(petitions.c.id).where(petitions.c.id.in_(named), *scope(principal)).order_by(petitions.c.id)
        return list(connection.execute(seen).scalars())
