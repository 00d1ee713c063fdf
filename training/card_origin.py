"""The model card's account of where a model comes from: petitions, encoder, code, run, comparison, hashes. Pure."""

from collections.abc import Mapping
from typing import Any

from nlp_service.bundle import Manifest
from nlp_service.console.words import number
from nlp_service.diacritics import DIACRITICS_FILE
from nlp_service.linear import LINEAR_FILE
from nlp_service.models import Gates
from training.card_words import Say, count, day, named, plain

_SIDES = {"train": ("to learn from", "để dạy"), "dev": ("to set thresholds", "để chỉnh ngưỡng")}


def learnt(manifest: Manifest, say: Say) -> list[str]:
    """Petitions and encoder."""
    encoder = manifest.encoder
    told = f"{encoder.get('name', '–')}. {encoder.get('note', '')}".strip()
    other = ", không phải PhoBERT của VinAI" if "not VinAI" in encoder.get("note", "") else ""
    lines = [
        *trained_on(manifest, say),
        "",
        say(
            f"The part that reads (encoder) was trained before, on other texts: {told}",
            f"Phần đọc chữ (bộ mã hóa) đã được dạy từ trước, bằng văn bản khác{other}. Nguyên văn: {told}",
        ),
    ]
    if kept := encoder.get("frozen_from"):
        lines.append(
            say(
                f"Encoder frozen from {kept}: only what stands on it was learnt anew from these petitions.",
                f"Bộ mã hóa giữ nguyên của {kept}: chỉ phần đặt trên nó được học lại từ các đơn này.",
            )
        )
    return lines


def trained_on(manifest: Manifest, say: Say) -> list[str]:
    """A table of its petitions; what the manifest does not say is called so."""
    lines = [
        say(
            "| petitions | count | of them real | received | from | SHA-256 begins |",
            "| đơn | số đơn | trong đó đơn thật | thời gian nhận | nguồn | SHA-256 bắt đầu |",
        ),
        "|---|---|---|---|---|---|",
    ]
    unknown = say("not recorded", "không ghi")
    for side, of in manifest.trained_on.items():
        if not isinstance(of, dict):
            continue
        sets = ", ".join(f"{part['name']} ({count(part['count'], say)})" for part in of.get("sets", ()))
        cells = [
            say(*_SIDES.get(side, (side, side))),
            count(of["count"], say) if "count" in of else unknown,
            count(of["real"], say) if "real" in of else unknown,
            _received(of, say, unknown),
            sets or unknown,
            f"`{of.get('sha256', '–')[:12]}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _received(of: Mapping[str, Any], say: Say, unknown: str) -> str:
    if days := of.get("period"):
        return say(f"{days[0]} to {days[1]}", f"{day(days[0], say)} đến {day(days[1], say)}")
    if of.get("real") == 0:
        return say("written by the project, no dates", "do dự án tự viết, không có ngày")
    return unknown


def version(manifest: Manifest, gates: Gates | None, say: Say) -> list[str]:
    """All that identifies it, and the commands that make it again."""
    parts = [
        *(
            [
                say(
                    f"- {LINEAR_FILE} adds its margins to the network's logits, times "
                    + ", ".join(f"{head} {weight:g}" for head, weight in manifest.linear.items())
                    + ".",
                    f"- {LINEAR_FILE} cộng điểm vào mạng, nhân với "
                    + ", ".join(f"{head} {plain(weight)}" for head, weight in manifest.linear.items())
                    + ".",
                )
            ]
            if manifest.linear
            else []
        ),
        *(
            [
                say(
                    "- Sentences typed without marks are read with marks that a trigram model of syllables restores.",
                    "- Câu gõ không dấu được đọc sau khi thêm dấu bằng mô hình bộ ba âm tiết.",
                )
            ]
            if DIACRITICS_FILE in manifest.files
            else []
        ),
    ]
    temperatures = {head: spec.temperature for head, spec in manifest.heads.items()}
    return [
        *made(manifest, say),
        say(
            f"- Segmenter {manifest.segmenter}, taxonomy {manifest.taxonomy_version}, windows of {manifest.window} positions "
            f"overlapping by {manifest.window_overlap}.",
            f"- Tách từ {manifest.segmenter}, bảng phân loại {manifest.taxonomy_version}, cửa sổ {manifest.window} vị trí chồng "
            f"nhau {manifest.window_overlap}.",
        ),
        say(
            f"- Temperatures: {', '.join(f'{head} {value:.2f}' for head, value in temperatures.items())}.",
            f"- Nhiệt độ: {', '.join(f'{head} {number(value, 2)}' for head, value in temperatures.items())}.",
        ),
        *parts,
        *compared(gates, say),
        "",
        say("To make it again from the same petitions:", "Làm lại từ cùng các đơn:")
        if manifest.provenance and manifest.provenance.run
        else say(
            "How it was made was not recorded. Models are made so:",
            "Không ghi lại đã làm thế nào. Mô hình được làm như sau:",
        ),
        "",
        "```console",
        *_commands(manifest, say),
        "```",
    ]


def made(manifest: Manifest, say: Say) -> list[str]:
    """Version, code and run."""
    known = manifest.provenance
    lines = [
        say(
            f"- Version {manifest.version}, made on {day(manifest.created, say)}.",
            f"- Phiên bản {manifest.version}, làm ngày {day(manifest.created, say)}.",
        )
    ]
    if known and known.recalibrated_from:
        lines.append(
            say(
                f"- Same weights as {known.recalibrated_from}; its thresholds were chosen anew.",
                f"- Cùng trọng số với {known.recalibrated_from}; chỉ chọn lại ngưỡng.",
            )
        )
    code = known.code if known else None
    if code is None:
        lines.append(say("- Code: not recorded.", "- Mã nguồn: không ghi."))
    elif code.commit is None:
        lines.append(
            say(
                f"- Code: petitions {code.version}, commit not known.",
                f"- Mã nguồn: petitions {code.version}, không rõ commit.",
            )
        )
    else:
        state = (
            say(", **with changes that are not committed**", ", **có sửa đổi chưa lưu vào kho mã**")
            if code.changed
            else ""
        )
        lines.append(
            say(
                f"- Code: petitions {code.version}, commit `{code.commit}`{state}.",
                f"- Mã nguồn: petitions {code.version}, commit `{code.commit}`{state}.",
            )
        )
    run = known.run if known else None
    if run is None:
        lines.append(say("- Run: not recorded.", "- Lần huấn luyện: không ghi."))
    else:
        unknown = say("not recorded", "không ghi")
        lines.append(
            say(
                f"- Run: `petitions-train {run.command}` from {run.encoder}, seed {run.seed}, {run.started or unknown} to "
                f"{run.ended or unknown}, config `{run.config_sha256}`.",
                f"- Lần huấn luyện: `petitions-train {run.command}` từ {run.encoder}, hạt giống {run.seed}, {run.started or unknown} "
                f"đến {run.ended or unknown}, cấu hình `{run.config_sha256}`.",
            )
        )
    return lines


def compared(gates: Gates | None, say: Say) -> list[str]:
    """How it did beside the model that it is to follow."""
    if gates is None:
        return [
            say(
                "- Not compared with the model before it (`petitions-train compare`).",
                "- Chưa so với mô hình trước (`petitions-train compare`).",
            )
        ]
    on = say("on a day not recorded", "ngày không ghi")
    if gates.at:
        on = f"{say('on', 'ngày')} {day(gates.at, say)}"
    if gates.passed:
        return [
            say(
                f"- Compared with {gates.against} {on}: no gate failed.",
                f"- So với {gates.against}, {on}: đạt mọi điều kiện.",
            )
        ]
    return [
        say(
            f"- Compared with {gates.against} {on}: **{len(gates.failures)} gates failed**:",
            f"- So với {gates.against}, {on}: **không đạt {len(gates.failures)} điều kiện** (nguyên văn tiếng Anh):",
        ),
        *(f"  - {failure}" for failure in gates.failures),
    ]


def _commands(manifest: Manifest, say: Say) -> list[str]:
    known = manifest.provenance
    config, file = say("CONFIG", "CẤU_HÌNH"), say("FILE", "TỆP")
    run, output = f"runs/{manifest.version}", f"models/{manifest.version}"
    if known and known.recalibrated_from:
        lines = [f"$ petitions-train calibrate models/{known.recalibrated_from} --output {output}"]
    elif known and known.run and known.run.command == "quick":
        lines = [f"$ petitions-train quick {config} --model models/{known.run.encoder} --run {run} --output {output}"]
    else:
        lines = [f"$ petitions-train fit {config} --run {run}", f"$ petitions-train export {run} {output}"]
    return [*lines, f"$ petitions-train evaluate {output} --real {file} --card"]


def hashes(manifest: Manifest, say: Say) -> list[tuple[str, str]]:
    """Of petitions and files, whole."""
    petitions = say("petitions", "đơn")
    sides = {side: of for side, of in manifest.trained_on.items() if isinstance(of, dict) and "sha256" in of}
    return [
        *((f"{petitions}: {say(*_SIDES.get(side, (side, side)))}", of["sha256"]) for side, of in sides.items()),
        *((f"{petitions}: {named(name, say)}", of["sha256"]) for name, of in manifest.scores.items() if "sha256" in of),
        *manifest.files.items(),
    ]
