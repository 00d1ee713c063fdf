"""What the outcome of a labelling run is called in Vietnamese: labels, places, bodies, reasons, errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nlp_service.console.words import ZONES
from nlp_service.errors import ErrorKind
from nlp_service.label_summary import UNKNOWN
from nlp_service.taxonomy import Taxonomy

REASONS = {
    "emergency": "Có dấu hiệu khẩn cấp: đọc ngay",
    "human": "Máy không đủ chắc: cần người đọc",
    "suggest": "Lĩnh vực chưa chắc: chọn trong các gợi ý",
    "outside": "Có thể ngoài thẩm quyền của tỉnh",
    "error": "Không đọc được: xem phần lỗi",
}
"""Why a person must look."""

ERRORS: dict[str, tuple[str, str]] = {
    ErrorKind.EMPTY_TEXT: ("Ô nội dung trống", "Nhập nội dung đơn vào ô, hoặc bỏ dòng này."),
    ErrorKind.TEXT_TOO_LONG: (
        "Nội dung quá dài",
        "Chia đơn thành nhiều dòng, hoặc tăng giới hạn (PETITIONS_MAX_CHARS).",
    ),
    ErrorKind.INVALID_REQUEST: ("Dòng không đọc được", "Mở tệp gốc, sửa dòng theo thông báo ở cột error rồi chạy lại."),
    ErrorKind.CLASSIFICATION_FAILED: ("Máy không đọc được đơn này", "Báo người quản trị kèm số dòng."),
}
"""What an error is, and what to do."""

OTHER_ERROR = ("Lỗi khác", "Xem thông báo ở cột error; nếu chưa rõ, báo người quản trị kèm số dòng.")

NO_PLACE, NO_BODY = "Chưa rõ xã, phường", "Chưa rõ đơn vị"


@dataclass(frozen=True)
class Names:
    """Names by id. An id that nothing names stands for itself."""

    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    bodies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, taxonomy: Taxonomy, bodies: Mapping[str, str]) -> "Names":
        """Of a taxonomy, in its order, and of the bodies that the routing table knows."""
        return cls({head: {label.id: label.name for label in of} for head, of in taxonomy.heads.items()}, bodies)

    def label(self, head: str, id: str) -> str:
        """Of a label of a head."""
        return self.labels.get(head, {}).get(id, id)

    def body(self, id: str) -> str:
        """Of a body."""
        return NO_BODY if id == UNKNOWN else self.bodies.get(id, id)

    def zone(self, decision: str) -> str:
        """Of auto, suggest, human."""
        return ZONES.get(decision, decision)

    def in_order(self, head: str, seen: Mapping[str, object]) -> list[str]:
        """The ids of a head as the taxonomy orders them, without those that were not seen; then unnamed ones."""
        known = [id for id in self.labels.get(head, {}) if id in seen]
        return known + sorted(set(seen) - set(known))


def error(kind: str) -> tuple[str, str]:
    """What an error of this kind is, and what to do."""
    return ERRORS.get(kind, OTHER_ERROR)
