"""The model card's figures in words: how often a model is right, and where it is weak. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from nlp_service.bundle import Manifest
from nlp_service.console.figures import FEW, REAL, found
from training.card_words import Say, count, named, plain, share, shown_sets
from training.score_table import WORST_OF

_WORST = 3

_LEAST_CONFUSED = 3
"""Petitions that must have been confused in one way for it to be worth a line."""

_REGISTERS = {
    "formal_letter": ("formal letters", "đơn viết theo mẫu"),
    "short_letter": ("short letters", "thư ngắn"),
    "portal_report": ("portal reports", "phản ánh trên cổng"),
    "chat": ("chat messages", "tin nhắn"),
    "no_diacritics": ("messages typed without marks", "tin gõ không dấu"),
    "voter_minutes": ("voters' minutes", "biên bản tiếp xúc cử tri"),
    "phone_transcript": ("phone notes", "ghi chép điện thoại"),
    "meeting_note": ("meeting notes", "ghi chép cuộc họp"),
    "question": ("questions", "câu hỏi"),
    "long_multi_issue": ("long letters of several matters", "đơn dài nhiều nội dung"),
}

_VARIANTS = {
    "without_diacritics": ("typed without marks", "gõ không dấu"),
    "typing_slips": ("with typing slips", "gõ sai chính tả"),
    "capitals": ("in capitals", "viết hoa hết"),
}


def rates(manifest: Manifest, say: Say) -> list[str]:
    """How often it is right: sentences, then a table, real petitions first; or how to measure it."""
    shown = shown_sets(manifest.scores)
    if not shown:
        return [
            say(
                f"Not measured yet: `petitions-train evaluate models/{manifest.version} --real FILE --card`.",
                f"Chưa đo: `petitions-train evaluate models/{manifest.version} --real TỆP --card`.",
            )
        ]
    lines = _in_words(shown, say)
    if not any(name.startswith(REAL) for name, _ in shown):
        lines.append(
            say(
                "**It was not measured on real petitions**: expect less than what stands here.",
                "**Chưa đo trên đơn thật**: hãy chờ đợi ít hơn những con số ở đây.",
            )
        )
    if "own test" in manifest.scores:
        lines.append(
            say(
                "Own petitions and real ones stand apart: on own ones scores read higher than life, since the same people wrote the "
                "training petitions.",
                "Đơn tự viết và đơn thật để riêng: trên đơn tự viết điểm đẹp hơn thực tế, vì cùng những người đã viết đơn để dạy.",
            )
        )
    lines.append(
        say(
            "In brackets: what was counted, and between what the figure lies with 95 % confidence.",
            "Trong ngoặc: số đã đếm, và khoảng tin cậy 95 % của con số.",
        )
    )
    return [*lines, "", *_rates_table(shown, say)]


def _in_words(shown: Sequence[tuple[str, Mapping[str, Any]]], say: Say) -> list[str]:
    """The first set's category, and every set's emergencies, in sentences."""
    name, of = shown[0]
    first, three, auto = (
        found(of, path) for path in (("category", "top1"), ("category", "top3"), ("zones", "auto", "top1"))
    )
    lines = []
    if first and first["value"] is not None and three:
        lines.append(
            say(
                f"Of 100 petitions ({named(name, say)}), the right category comes first for {share(first, say)}, and is among the "
                f"three that a clerk sees for {share(three, say)}.",
                f"Trong 100 đơn ({named(name, say)}), {share(first, say)} đơn có lĩnh vực đúng ở gợi ý đầu, {share(three, say)} đơn "
                "có lĩnh vực đúng trong ba gợi ý mà cán bộ thấy.",
            )
        )
    if auto and auto["value"] is not None:
        lines.append(
            say(
                f"Of 100 that go on without a person's look, {share(auto, say)} are right.",
                f"Trong 100 đơn máy chuyển thẳng, {share(auto, say)} đơn đúng.",
            )
        )
    for name, of in shown:
        called = found(of, ("emergency", "recall"))
        if called and called["value"] is not None:
            lines.append(
                say(
                    f"Of 100 emergencies ({named(name, say)}), the alarm is raised for {share(called, say)}.",
                    f"Trong 100 đơn khẩn cấp ({named(name, say)}), {share(called, say)} đơn được báo động.",
                )
            )
    return lines


_TABLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("the right category comes first", "lĩnh vực đúng ở gợi ý đầu", ("category", "top1")),
    ("it is among the first three", "có trong ba gợi ý đầu", ("category", "top3")),
    (
        "for comparison: right by a plain count of words, taught with the same petitions",
        "để so sánh: cách đếm từ đơn giản, học cùng các đơn ấy, đúng",
        ("baseline", "category", "top1"),
    ),
    ("the urgency is right", "mức khẩn đúng", ("urgency", "accuracy")),
    ("the type of letter is right", "loại đơn đúng", ("petition_type", "accuracy")),
    ("go on without a person's look", "máy chuyển thẳng", ("zones", "auto", "share")),
    ("· of 100 of those: right", "· trong 100 đơn ấy: đúng", ("zones", "auto", "top1")),
    ("of 100 emergencies: alarm raised", "trong 100 đơn khẩn cấp: được báo động", ("emergency", "recall")),
    ("of 100 alarms: emergencies", "trong 100 báo động: đúng là khẩn cấp", ("emergency", "precision")),
)


def _rates_table(shown: Sequence[tuple[str, Mapping[str, Any]]], say: Say) -> list[str]:
    heads = [
        f"{named(name, say)}: {count(int(of.get('count', 0)), say)}"
        + (say(" (few: with care)", " (ít: chỉ để tham khảo)") if of.get("count", 0) < FEW else "")
        for name, of in shown
    ]
    lines = [f"| {say('of 100 petitions', 'trong 100 đơn')} | {' | '.join(heads)} |", "|---|" + "---|" * len(shown)]
    for english, vietnamese, path in _TABLE:
        rates = [found(of, path) for _, of in shown]
        cells = [share(rate, say) if rate and rate.get("value") is not None else "–" for rate in rates]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {say(english, vietnamese)} | {' | '.join(cells)} |")
    return lines


def weak(manifest: Manifest, names: Mapping[str, str], say: Say) -> list[str]:
    """Its worst categories, ways of writing and promises, by set. `names` are the categories' in Vietnamese."""
    lines = []
    for name, of in shown_sets(manifest.scores):
        told = [
            *_missed(of, say),
            *_worst_categories(of, names, say),
            *_confusions(of, names, say),
            *_worst_registers(of, say),
            *_spoilt(of, say),
            *_promises(of, say),
        ]
        if told:
            lines += [f"- **{named(name, say)}**", *(f"  - {line}." for line in told)]
    return [
        *lines,
        *([] if lines else [say("- Not measured yet.", "- Chưa đo.")]),
        say(
            "- A letter of several matters is read as one: split it. Very short texts give little to go by.",
            "- Đơn nhiều vụ việc được đọc như một đơn: hãy tách đơn. Đơn quá ngắn thì máy có ít căn cứ.",
        ),
    ]


def _missed(of: Mapping[str, Any], say: Say) -> list[str]:
    called = found(of, ("emergency", "recall"))
    if not called or called["hits"] == called["count"]:
        return []
    missed = f"{count(called['count'] - called['hits'], say)}/{count(called['count'], say)}"
    return [say(f"Emergencies without an alarm: {missed}", f"Đơn khẩn cấp bị bỏ sót: {missed}")]


def _worst_categories(of: Mapping[str, Any], names: Mapping[str, str], say: Say) -> list[str]:
    classes = found(of, ("category", "classes")) or {}
    judged = {label: row for label, row in classes.items() if row["count"] >= WORST_OF}
    if len(judged) < 2:
        return []
    worst = sorted(judged, key=lambda label: (judged[label]["recall"], label))[:_WORST]
    told = [
        f"{say(f'`{label}`', names.get(label, label))} {round(row['recall'] * row['count'])}/{row['count']}"
        for label in worst
        for row in (judged[label],)
    ]
    return [
        say(
            f"Categories found least, of those with {WORST_OF} petitions or more: {'; '.join(told)}",
            f"Lĩnh vực nhận ra kém nhất, trong số có từ {WORST_OF} đơn: {'; '.join(told)}",
        )
    ]


def _confusions(of: Mapping[str, Any], names: Mapping[str, str], say: Say) -> list[str]:
    labels, matrix = found(of, ("category", "labels")) or [], found(of, ("category", "confusion")) or []
    cells = [
        (count, labels[i], labels[j], sum(row))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count >= _LEAST_CONFUSED
    ]
    told = [
        say(
            f"`{right}` as `{read}` {count}/{total}",
            f"{names.get(right, right)} → {names.get(read, read)} {count}/{total}",
        )
        for count, right, read, total in sorted(cells, key=lambda cell: (-cell[0], cell[1:]))[:_WORST]
    ]
    return [say(f"Most often misread: {'; '.join(told)}", f"Hay đọc nhầm nhất: {'; '.join(told)}")] if told else []


def _worst_registers(of: Mapping[str, Any], say: Say) -> list[str]:
    registers = of.get("registers") or {}
    judged = {name: rate for name, rate in registers.items() if rate["count"] >= WORST_OF}
    worst = sorted(judged, key=lambda name: (judged[name]["value"], name))[:_WORST]
    told = [f"{say(*_REGISTERS.get(name, (name, name)))} {share(judged[name], say)}" for name in worst]
    return (
        [
            say(
                f"Ways of writing that it reads worst, right of 100: {'; '.join(told)}",
                f"Lối viết đọc kém nhất, số đúng trong 100: {'; '.join(told)}",
            )
        ]
        if told
        else []
    )


def _spoilt(of: Mapping[str, Any], say: Say) -> list[str]:
    rates = {name: found(of, ("variants", name)) for name in _VARIANTS}
    told = [
        f"{say(*_VARIANTS[name])} {share(rate, say)}"
        for name, rate in rates.items()
        if rate and rate["value"] is not None
    ]
    if not told:
        return []
    return [
        say(
            f"Right of 100 when the same petitions are changed: {'; '.join(told)}",
            f"Số đúng trong 100 khi đổi cách gõ chính các đơn ấy: {'; '.join(told)}",
        )
    ]


def _promises(of: Mapping[str, Any], say: Say) -> list[str]:
    """What the model states of itself and did not keep in this set."""
    told = []
    for part, path, english, vietnamese in (
        (
            "curve",
            ("zones", "auto", "top1"),
            "Right of 100 that go on by themselves",
            "Đúng trong 100 đơn máy chuyển thẳng",
        ),
        (
            "prediction_sets",
            ("prediction_sets", "coverage"),
            "Right category among the possible ones, of 100",
            "Có lĩnh vực đúng trong tập còn có thể, trong 100 đơn",
        ),
    ):
        stated, rate = found(of, (part, "stated")), found(of, path)
        if stated is None or not rate or rate["value"] is None or rate["value"] >= stated:
            continue
        less = rate["interval"][1] < stated
        told.append(
            say(
                f"{english}: stated {100 * stated:g}, seen {share(rate, say)}, "
                + ("**less than stated**" if less else "which may be chance"),
                f"{vietnamese}: công bố {plain(100 * stated)}, thấy {share(rate, say)}, "
                + ("**thấp hơn mức công bố**" if less else "có thể do ngẫu nhiên"),
            )
        )
    return told
