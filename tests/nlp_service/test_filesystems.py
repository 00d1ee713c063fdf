"""Files on this machine and elsewhere. Elsewhere is fsspec's file system of this machine, which is reached as S3 is."""

import pickle
from pathlib import Path

import pytest

from nlp_service.errors import ErrorKind, PetitionError
from nlp_service.filesystems import Stored, appearing, fetched, listed, place, put

SCHEMES = ("", "fsspec+file://")


def tree(tmp_path: Path) -> Path:
    for name in ("2019/a.csv", "2019/b.csv", "2020/a.csv", "2020/_tam.csv", ".an/c.csv", "c.csv"):
        file = tmp_path / "kho" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")
    return tmp_path / "kho"


def names(uri: str) -> list[str]:
    return [file.name for file in listed(place(uri))]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_a_file_a_directory_and_a_pattern_name(tmp_path: Path, scheme: str) -> None:
    root = tree(tmp_path)
    assert names(f"{scheme}{root}/c.csv") == ["c.csv"]
    assert names(f"{scheme}{root}") == ["2019/a.csv", "2019/b.csv", "2020/a.csv", "c.csv"]
    assert names(f"{scheme}{root}/20*/a.csv") == ["2019/a.csv", "2020/a.csv"]
    assert names(f"{scheme}{root}/*.csv") == ["c.csv"]


@pytest.mark.parametrize("missing", ["khac", "khac/*.csv", "*.xlsx"])
def test_nothing_there_is_said(tmp_path: Path, missing: str) -> None:
    with pytest.raises(PetitionError, match="check the path") as caught:
        listed(place(f"{tree(tmp_path)}/{missing}"))
    assert caught.value.kind is ErrorKind.INVALID_FILE


def test_a_scheme_that_nobody_knows_is_said() -> None:
    with pytest.raises(PetitionError, match="gopher://kho") as caught:
        place("gopher://kho/a.csv")
    assert caught.value.kind is ErrorKind.INVALID_FILE


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_is_fetched_on_another_node(tmp_path: Path, scheme: str) -> None:
    (file,) = listed(place(f"{scheme}{tree(tmp_path)}/c.csv"))
    sent: Stored = pickle.loads(pickle.dumps(file))  # noqa: S301
    with fetched(sent) as path:
        assert path.read_text(encoding="utf-8") == "c.csv"
        assert path.suffix == ".csv"
    assert path.exists() == (scheme == "")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, scheme: str) -> None:
    root = tree(tmp_path)
    (file,) = listed(place(f"{scheme}{root}/c.csv"))
    (root / "c.csv").write_text("changed", encoding="utf-8")
    with pytest.raises(PetitionError, match=r"c\.csv was changed"), fetched(file):
        pass


def test_an_error_names_the_file_and_not_its_copy(tmp_path: Path) -> None:
    (file,) = listed(place(f"fsspec+file://{tree(tmp_path)}/c.csv"))
    with pytest.raises(PetitionError) as caught, fetched(file) as path:
        raise PetitionError(ErrorKind.INVALID_FILE, f"{path} is not UTF-8")
    assert caught.value.message.endswith(f"{tmp_path}/kho/c.csv is not UTF-8")
    assert str(path.parent) not in caught.value.message


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, scheme: str) -> None:
    target = place(f"{scheme}{tmp_path}/ra.csv")
    with pytest.raises(RuntimeError), appearing(target) as temporary:
        with target.files.open_output_stream(temporary.path) as stream:
            stream.write(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "whole").write_bytes(b"whole")
    put(tmp_path / "whole", target)
    put(tmp_path / "whole", target)
    assert (tmp_path / "ra.csv").read_bytes() == b"whole"
