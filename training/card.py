"""The model card in English and Vietnamese, from the manifest alone: what a model is, learnt from, gets right, is not for. Pure.

Sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). Both languages stand side by side in each
sentence, so that no figure is in one and not in the other.
"""

from collections.abc import Mapping, Sequence

from nlp_service.bundle import Manifest
from nlp_service.console.words import number
from nlp_service.emergency import LEXICON_FILE
from nlp_service.linear import LINEAR_FILE
from nlp_service.models import Gates
from nlp_service.taxonomy import Taxonomy
from training.calibration import NEVER
from training.card_figures import rates, weak
from training.card_origin import compared, hashes, learnt, made, trained_on, version
from training.card_words import Say, count
from training.score_table import summary_table, summary_table_vi

ENGLISH_CARD = "README.md"

VIETNAMESE_CARD = "README.vi.md"


def cards(manifest: Manifest, taxonomy: Taxonomy, gates: Gates | None) -> dict[str, str]:
    """Text by file name; the same arguments give the same bytes.

    Args:
        gates: how it compared with the model that it is to follow; None if it was not compared.
    """
    return {
        ENGLISH_CARD: _card(manifest, taxonomy, gates, lambda english, _: english),
        VIETNAMESE_CARD: _card(manifest, taxonomy, gates, lambda _, vietnamese: vietnamese),
    }


def technical_summary(manifest: Manifest, gates: Gates | None) -> str:
    """The model in a few Vietnamese lines, for the technical file."""

    def say(_: str, vietnamese: str) -> str:
        return vietnamese

    lines = [
        *made(manifest, say),
        "",
        *trained_on(manifest, say),
        "",
        *rates(manifest, say),
        "",
        *compared(gates, say),
    ]
    listed = [f"- {name}: `{digest}`" for name, digest in hashes(manifest, say)]
    return "\n".join([*lines, "", "SHA-256:", "", *listed])


def _card(manifest: Manifest, taxonomy: Taxonomy, gates: Gates | None, say: Say) -> str:
    counts = [len(manifest.heads[head].labels) for head in ("category", "urgency", "petition_type")]
    names = {category.id: category.name for category in taxonomy.categories}
    parts: list[tuple[str, Sequence[str]]] = [
        (say("What it is for", "Dùng để làm gì"), _use(say)),
        (say("What it learnt from", "Học từ đâu"), learnt(manifest, say)),
        (say("How often it is right", "Đúng đến đâu"), rates(manifest, say)),
        (say("Where it is weak", "Yếu ở đâu"), weak(manifest, names, say)),
        (say("What a person does", "Người làm gì"), _oversight(manifest, say)),
        (say("Personal data", "Dữ liệu cá nhân"), _personal_data(manifest, say)),
        (say("When it is wrong", "Khi máy sai"), _redress(say)),
        (say("Version and how it was made", "Phiên bản và cách làm"), version(manifest, gates, say)),
        (say("All scores", "Mọi điểm số"), _scores(manifest, names, say)),
        (
            say("Hashes", "Mã băm"),
            ["| | SHA-256 |", "|---|---|", *(f"| {name} | `{digest}` |" for name, digest in hashes(manifest, say))],
        ),
    ]
    lines = [
        f"# {manifest.version}",
        "",
        say(f"[Tiếng Việt]({VIETNAMESE_CARD})", f"[English]({ENGLISH_CARD})"),
        "",
        say(
            f"Reads what a citizen wrote in Vietnamese and suggests what it is about ({counts[0]} categories), how urgent it is "
            f"({counts[1]} levels) and what kind of letter it is ({counts[2]} types). **It suggests; a person decides.** All figures "
            "were measured; a program writes them here from manifest.json.",
            f"Đọc đơn, phản ánh viết bằng tiếng Việt của người dân và gợi ý: việc gì ({counts[0]} lĩnh vực), khẩn đến đâu "
            f"({counts[1]} mức), là loại đơn gì ({counts[2]} loại). **Máy gợi ý, người quyết định.** Mọi con số đều đã đo; chương "
            "trình chép từ manifest.json sang đây.",
        ),
    ]
    for title, body in parts:
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _use(say: Say) -> list[str]:
    return [
        say(
            "For the clerks of an agency that receives petitions: which body should get one, which cannot wait, what an archive "
            "holds. Not for:",
            "Cho cán bộ tiếp nhận đơn của cơ quan nhà nước: đơn nên chuyển cho ai, đơn nào không thể chờ, kho đơn cũ có gì. Không "
            "dùng để:",
        ),
        "",
        say(
            "- Deciding anything with legal effect: type, refusal and transfer are a person's decision (AI Law 134/2025/QH15, "
            "Art. 27).",
            "- Quyết định điều gì có hệ quả pháp lý: xác định loại đơn, từ chối, chuyển đơn là việc của người có thẩm quyền (Luật "
            "Trí tuệ nhân tạo 134/2025/QH15, Điều 27).",
        ),
        say(
            "- Judging whether a petition is true, or anything about its writer or whoever it names.",
            "- Xét đơn đúng hay sai sự thật, hay đánh giá người viết, người bị nêu tên.",
        ),
        say(
            "- Emergency calls: it raises an alarm, it does not replace 112, 113, 114, 115.",
            "- Thay đường dây khẩn cấp: máy báo động cho người trực, không thay 112, 113, 114, 115.",
        ),
        say(
            "- Languages other than Vietnamese, scanned images.",
            "- Đọc tiếng khác ngoài tiếng Việt, ảnh chụp, bản quét.",
        ),
    ]


def _oversight(manifest: Manifest, say: Say) -> list[str]:
    limits = manifest.thresholds
    if limits.auto >= NEVER:
        routed = say(
            "- Nothing is routed automatically: the petitions to set thresholds gave no probability that is safe.",
            "- Không đơn nào được chuyển thẳng: khi chỉnh ngưỡng không có xác suất nào đủ an toàn.",
        )
    else:
        routed = say(
            f"- Goes on to a body by itself: what has a category with a probability of {limits.auto:.2f} or more and none of the "
            "reasons below",
            f"- Máy chuyển thẳng: đơn có lĩnh vực đạt xác suất từ {number(limits.auto, 2)} và không có lý do nào dưới đây",
        )
        if limits.auto_precision is not None:
            routed += say(
                f", where {100 * limits.auto_precision:g} % should be right (estimated on the petitions to set thresholds)",
                f"; mức công bố: {number(100 * limits.auto_precision)} % đúng (ước lượng trên đơn để chỉnh ngưỡng)",
            )
        routed += "."
    lines = [
        routed,
        say(
            "- A clerk picks among three candidates: where the model is less sure.",
            "- Cán bộ chọn trong ba gợi ý: khi máy chưa chắc.",
        ),
        say(
            f"- A person reads first: the three best categories together have less than {limits.suggest:.2f}; the category is "
            f"other; or it may be a complaint or denunciation (from {limits.legal_doubt:.2f}) and is not plainly one.",
            f"- Người đọc trước: ba lĩnh vực khả dĩ nhất cộng lại dưới {number(limits.suggest, 2)}; lĩnh vực là “khác”; hoặc có thể "
            f"là khiếu nại, tố cáo (từ {number(limits.legal_doubt, 2)}) mà chưa rõ.",
        ),
        say(
            f"- Emergencies, from a probability of {limits.emergency:.2f}"
            + (" or by a small reviewed lexicon" if LEXICON_FILE in manifest.files else "")
            + ", raise an alarm at once and are looked at.",
            f"- Đơn khẩn cấp, từ xác suất {number(limits.emergency, 2)}"
            + (" hoặc theo từ vựng khẩn cấp đã duyệt" if LEXICON_FILE in manifest.files else "")
            + ", được báo động ngay và có người xem.",
        ),
    ]
    lines += [
        say(
            f"- Beside the best {head} stand those from probability {sets.threshold:.4f}: the right one is among them for "
            f"{100 * sets.coverage:g} % of petitions like those that set the thresholds, on average, not for every one.",
            f"- Bên cạnh gợi ý đầu có các nhãn từ xác suất {number(sets.threshold, 4)}: {number(100 * sets.coverage)} % số đơn giống "
            "đơn để chỉnh ngưỡng có nhãn đúng trong đó, tính trung bình, không phải cho từng nhãn.",
        )
        for head, sets in manifest.prediction_sets.items()
    ]
    return [
        *lines,
        say(
            "- Every label can be corrected, also of what went on by itself; every decision is in the audit log with who made it. "
            "An administrator goes back to the model before with one command (`petitions models rollback`).",
            "- Nhãn nào cũng sửa được, kể cả của đơn đã chuyển thẳng; mọi quyết định có trong nhật ký kiểm tra, kèm người quyết "
            "định. Quản trị viên trở về mô hình trước bằng một lệnh (`petitions models rollback`).",
        ),
    ]


def _personal_data(manifest: Manifest, say: Say) -> list[str]:
    parts = [of for of in manifest.trained_on.values() if isinstance(of, dict)]
    if not parts or any("real" not in of for of in parts):
        lines = [
            say(
                "- Whether real petitions are among those it learnt from was not recorded.",
                "- Không ghi lại có đơn thật trong số đơn để dạy hay không.",
            )
        ]
    elif real := sum(of["real"] for of in parts):
        lines = [
            say(
                f"- It learnt from {count(real, say)} real petitions, in which names, numbers and addresses were masked by rules; "
                "rules miss some.",
                f"- Đã học từ {count(real, say)} đơn thật; tên, số, địa chỉ trong đơn được che theo quy tắc trước khi học, quy tắc "
                "có thể sót.",
            )
        ]
        if LINEAR_FILE in manifest.files:
            lines.append(
                say(
                    f"- {LINEAR_FILE} holds words and pairs of words from them in clear: treat the directory as personal data.",
                    f"- {LINEAR_FILE} chứa từ và cặp từ của các đơn ấy ở dạng đọc được: bảo vệ thư mục này như dữ liệu cá nhân.",
                )
            )
    else:
        lines = [
            say(
                "- No petition was pulled from a desk or imported from a table: all were written to teach it, with invented persons "
                "and addresses (see the README of the data set).",
                "- Không có đơn nào lấy từ bàn tiếp nhận hay từ bảng khác: tất cả được viết ra để dạy, người và địa chỉ đều do "
                "người viết đặt ra (xem README của bộ đơn).",
            )
        ]
    return [
        *lines,
        say(
            "- It runs on the agency's own machine and sends no petition anywhere. Petition texts are in no log, metric or alert. "
            "Lists are masked; who opens a text is audited; `petitions forget` masks or deletes old petitions (Personal Data "
            "Protection Law 91/2025/QH15).",
            "- Chạy trên máy của cơ quan, không gửi đơn đi đâu. Nội dung đơn không nằm trong nhật ký, số đo, báo động. Danh sách "
            "được che; ai mở nội dung đều được ghi lại; `petitions forget` che hoặc xóa đơn cũ (Luật Bảo vệ dữ liệu cá nhân "
            "91/2025/QH15).",
        ),
    ]


def _redress(say: Say) -> list[str]:
    return [
        say(
            "A citizen who thinks that a petition went to the wrong place tells the agency that received it; a person there looks "
            "and corrects it. The correction re-routes the petition at once, is kept with its author, and can teach the next "
            "model. Whom to write to about the system: `docs/technical-file.md`.",
            "Người dân thấy đơn bị chuyển sai thì báo cơ quan đã nhận đơn; cán bộ ở đó xem và sửa. Sửa xong đơn được chuyển lại "
            "ngay, người sửa được ghi lại, và lần dạy sau máy học theo. Liên hệ về hệ thống: `docs/technical-file.md`.",
        )
    ]


def _scores(manifest: Manifest, names: Mapping[str, str], say: Say) -> list[str]:
    if not manifest.scores:
        return [say("Not measured yet.", "Chưa đo.")]
    return [
        say(
            "`petitions-train evaluate` on the exported int8 network; each rate with its count and 95 % interval (Wilson; F1: "
            "bootstrap).",
            "`petitions-train evaluate` trên mạng int8 đã xuất; mỗi tỷ lệ kèm số đơn và khoảng tin cậy 95 % (Wilson; F1: bootstrap).",
        ),
        "",
        say(summary_table(manifest.scores), summary_table_vi(manifest.scores, names)),
    ]
