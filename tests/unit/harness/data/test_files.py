"""Files as people and their tools leave them: encodings, dialects, forms of JSON, packed files, shards."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import Dataset, HarnessError, SplitAbsent
from harness.data import sources
from harness.data.files import read_file
from harness.data.tables import EXTRA

pytestmark = pytest.mark.core

ROWS = [
    {"prompt": "Où est la clé ?", "chosen": "Elle est à côté.", "rejected": "Désolé."},
    {"prompt": "Two, or three?", "chosen": "Two;\nsure.", "rejected": 'He said "three".'},
]


def csv_of(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    quoted = [['"' + str(v).replace('"', '""') + '"' for v in row.values()] for row in rows]
    return "\r\n".join([delimiter.join(rows[0]), *map(delimiter.join, quoted)]) + "\r\n"


def jsonl_of(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("form", [jsonl_of, csv_of, json.dumps])
def test_every_encoding_gives_the_same_rows(tmp_path: Path, encoding: str, form: Any) -> None:
    name = {jsonl_of: "x.jsonl", csv_of: "x.csv"}.get(form, "x.json")
    (tmp_path / name).write_bytes(form(ROWS).encode(encoding))
    assert read_file(tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "元気ですか、はい元気ですありがとう"),
        ("gb18030", "你好吗今天天气怎么样我很好谢谢你"),
        ("cp1251", "Как дела? Хорошо, спасибо большое, а у вас как дела сегодня"),
        ("euc_kr", "안녕하세요 오늘 날씨가 어때요 좋아요 감사합니다"),
    ],
)
def test_encodings_of_other_scripts_are_recognised(tmp_path: Path, encoding: str, text: str) -> None:
    rows = [{"prompt": text, "chosen": text * 2, "rejected": "no"}] * 3
    (tmp_path / "x.csv").write_bytes(csv_of(rows).encode(encoding))
    assert read_file(tmp_path / "x.csv") == rows


def test_a_spoilt_byte_spoils_its_own_row_alone(tmp_path: Path) -> None:
    spoilt = jsonl_of(ROWS).encode() + b'{"prompt": "caf\xff"}\n'
    (tmp_path / "x.jsonl").write_bytes(spoilt)
    *whole, last = read_file(tmp_path / "x.jsonl")
    assert whole == ROWS
    with pytest.raises(UnicodeEncodeError):
        last["prompt"].encode()


# ---------------------------------------------------------------- CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "x.csv").write_text(csv_of(ROWS, delimiter), newline="")
    assert read_file(tmp_path / "x.csv") == ROWS


def test_commas_in_texts_do_not_mislead_a_semicolon_file(tmp_path: Path) -> None:
    lines = ["prompt;chosen;rejected;score", *[f"a, b, c, d, {n};x, y;z;4,5" for n in range(9)]]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    assert read_file(tmp_path / "x.csv")[0] == {
        "prompt": "a, b, c, d, 0", "chosen": "x, y", "rejected": "z", "score": "4,5"
    }  # fmt: skip


def test_excels_own_line_and_blanks_in_the_header(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sep=;\n prompt ;chosen\n\na;b\n;\n")
    assert read_file(tmp_path / "x.csv") == [{"prompt": "a", "chosen": "b"}]


def test_rows_of_another_width_are_marked(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,chosen\na,b, and c\nd\n")
    assert read_file(tmp_path / "x.csv") == [
        {"prompt": "a", "chosen": "b", EXTRA: [" and c"]},
        {"prompt": "d", "chosen": None},
    ]


def test_a_quotation_without_end_swallows_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('prompt,chosen\na,"b\nc,d\ne,f\n')
    with pytest.raises(HarnessError, match=r"x\.csv: a quotation mark is opened and never closed"):
        read_file(tmp_path / "x.csv")


def test_an_answer_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,chosen\na," + "b" * 200_000 + "\n")
    assert len(read_file(tmp_path / "x.csv")[0]["chosen"]) == 200_000


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.ndjson"])
@pytest.mark.parametrize(
    "text",
    [
        jsonl_of(ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps(ROWS)[:-1] + ", ]",
        "\n".join(json.dumps(row)[:-1] + ",}," for row in ROWS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        "\r\n".join(map(json.dumps, ROWS)),
        json.dumps({"version": 1, "data": ROWS}),
        json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
        json.dumps({name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]}),
    ],
)
def test_every_form_of_json_gives_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_file(tmp_path / name) == ROWS


def test_an_object_of_splits_gives_rows_with_a_split(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"train": ROWS, "test": ROWS[:1]}))
    assert [row["split"] for row in read_file(tmp_path / "x.json")] == ["train", "train", "test"]


def test_commas_inside_texts_stay(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": "x, ]", "b": "\\", }",},]')
    assert read_file(tmp_path / "x.json") == [{"a": "x, ]", "b": '", }'}]


def test_one_row_of_conversations_is_no_table_of_columns(tmp_path: Path) -> None:
    row = {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "a"}]}
    (tmp_path / "x.json").write_text(json.dumps(row))
    assert read_file(tmp_path / "x.json") == [row]


def test_a_broken_line_is_shown_short(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": "' + "long " * 1000)
    with pytest.raises(HarnessError, match=r"x\.jsonl, line 2: broken JSON") as caught:
        read_file(tmp_path / "x.jsonl")
    assert len(str(caught.value)) < len(str(tmp_path)) + 300
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(HarnessError, match=r"x\.json is not a readable JSON file"):
        read_file(tmp_path / "x.json")


# ---------------------------------------------------------------- packed


def zstd(data: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKERS = {
    "gz": (gzip.compress, "gzip"),
    "zst": (zstd, "zstd"),
    "bz2": (bz2.compress, "bzip2"),
    "xz": (lzma.compress, "xz"),
}


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files_are_read_and_damaged_ones_named(tmp_path: Path, ending: str) -> None:
    pack, kind = PACKERS[ending]
    many = [{"n": n, "text": f"{n * n} {n % 7}"} for n in range(500)]
    whole = pack(jsonl_of(many).encode())
    path = tmp_path / f"x.jsonl.{ending}"
    path.write_bytes(whole)
    assert read_file(path) == many
    (tmp_path / "unnamed.jsonl").write_bytes(whole)
    assert read_file(tmp_path / "unnamed.jsonl") == many
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:8], b"plain text", b"\x00" * 64):
        path.write_bytes(damaged)
        with pytest.raises(HarnessError, match=rf"x\.jsonl\.{ending} is not a whole {kind} file"):
            read_file(path)


def test_a_gzip_with_spoilt_blocks_is_named(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(jsonl_of([{"n": n, "text": str(n**5)} for n in range(500)]).encode()))
    whole[40:80] = b"\xff" * 40
    (tmp_path / "x.jsonl.gz").write_bytes(whole)
    with pytest.raises(HarnessError, match=r"x\.jsonl\.gz is not a whole gzip file"):
        read_file(tmp_path / "x.jsonl.gz")


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "x.json", "x.jsonl.gz", "x.arrow"])
def test_empty_files_and_pointers_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(HarnessError, match="is empty and holds no rows"):
        read_file(tmp_path / name)
    (tmp_path / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(HarnessError, match="is a pointer of Git LFS"):
        read_file(tmp_path / name)


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    for name, text in (("x.csv", "prompt,chosen,rejected\n"), ("x.jsonl", "\n \n"), ("x.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(HarnessError, match=rf"{name} holds no rows"):
            read_file(tmp_path / name)


# ---------------------------------------------------------------- folders


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet as table

    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_table(pyarrow.Table.from_pylist(rows), path)


MANY = [{"n": n} for n in range(24)]
HALVES = (MANY[:12], MANY[12:])


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
        ("train-1-of-2.parquet", "train-2-of-2.parquet"),
        ("data/train-00000-of-00002-6f3344faa23e9b0a.parquet", "data/train-00001-of-00002-0a1b2c3d4e5f6789.parquet"),
        ("main/train-00000-of-00002.parquet", "main/train-00001-of-00002.parquet"),
        ("train/0000.parquet", "train/0001.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet"),
        ("train_9.parquet", "train_10.parquet"),
        ("train.0.parquet", "train.1.parquet"),
    ],
)
def test_shards_are_joined_in_order(tmp_path: Path, names: tuple[str, str]) -> None:
    dataset = Dataset("quiz", "x/y", config="main")
    for name, rows in zip(names, HALVES, strict=True):
        parquet(tmp_path / "quiz" / name, rows)
    parquet(tmp_path / "quiz" / "data" / "test-00000-of-00001.parquet", [{"n": -1}])
    source = sources.FolderSource(tmp_path)
    assert source.rows(dataset, "pool") == MANY
    assert source.rows(dataset, "eval") == [{"n": -1}]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "quiz" / "data" / "train-00000-of-00003.parquet", MANY)
    parquet(tmp_path / "quiz" / "data" / "train-00002-of-00003.parquet", MANY)
    with pytest.raises(HarnessError, match=r"holds 2 of 3 shards of 'train': number 1 is missing"):
        sources.FolderSource(tmp_path).rows(Dataset("quiz", "x/y"), "pool")


def test_splits_that_are_there_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "quiz" / "data" / "train-00000-of-00001.parquet", MANY)
    with pytest.raises(SplitAbsent, match=r"quiz/test is missing .*known: train"):
        sources.FolderSource(tmp_path).rows(Dataset("quiz", "x/y"), "eval")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "x.parquet", MANY)
    whole = (tmp_path / "x.parquet").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-4] + b"????", b"PAR1" + whole[50:]):
        (tmp_path / "x.parquet").write_bytes(damaged)
        with pytest.raises(HarnessError, match=r"x\.parquet is not a readable Parquet file"):
            read_file(tmp_path / "x.parquet")


def test_one_shard_given_as_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00002.parquet", MANY)
    source = sources.open_source(str(tmp_path / "train-00000-of-00002.parquet"), Dataset("pairs", ""))
    assert "one of 2 shards" in source.announce()
