"""Who may do what: roles, their rights, and the one who asks."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from nlp_service.errors import ErrorKind, PetitionError


class Role(StrEnum):
    """What a key is for.

    intake: hands petitions in and reads back what became of its own, without raw text.
    officer: reads and handles the petitions of its own bodies and communes.
    reviewer: reads and handles all petitions.
    auditor: reads everything but raw text and senders; verifies the audit log.
    admin: all of it.
    """

    INTAKE = "intake"
    OFFICER = "officer"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Right(StrEnum):
    """One thing that a role may do."""

    CLASSIFY = "classify"
    SUBMIT = "submit"
    READ = "read"
    READ_RAW = "read_raw"
    HANDLE = "handle"
    AUDIT = "audit"
    OPERATE = "operate"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.INTAKE: frozenset({Right.CLASSIFY, Right.SUBMIT, Right.READ}),
    Role.OFFICER: frozenset({Right.CLASSIFY, Right.READ, Right.READ_RAW, Right.HANDLE}),
    Role.REVIEWER: frozenset({Right.CLASSIFY, Right.READ, Right.READ_RAW, Right.HANDLE}),
    Role.AUDITOR: frozenset({Right.READ, Right.AUDIT}),
    Role.ADMIN: frozenset(Right),
}


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        bodies: for an officer the bodies whose petitions it sees; empty: of every body in its communes.
        communes: for an officer the codes of its communes; empty: all.
    """

    name: str
    role: Role
    bodies: frozenset[str] = frozenset()
    communes: frozenset[str] = frozenset()

    def may(self, right: Right) -> bool:
        """Whether the role includes `right`."""
        return right in RIGHTS[self.role]

    def require(self, right: Right) -> None:
        """Raises PetitionError FORBIDDEN if the role lacks `right`."""
        if not self.may(right):
            allowed = ", ".join(role for role in Role if right in RIGHTS[role])
            raise PetitionError(
                ErrorKind.FORBIDDEN,
                f"a key of role '{self.role}' may not {right.value}; it takes: {allowed}",
                role=self.role,
            )


LOCAL = Principal("local", Role.ADMIN)
"""Whoever calls a service on loopback for which no key was made yet."""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, reached from nowhere else. A name other than localhost is not taken for one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
