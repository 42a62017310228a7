"""A bucket: what its address is, and whole objects under one prefix; against a store, in tests/integration."""

from pathlib import Path

import pyarrow as pa
import pytest

from losstune.trainer.base.errors import UserError
from losstune.tuning.storage.bucket import Bucket, BucketError, bucket_at


@pytest.mark.parametrize(
    "address", ["s3://", "s3:///a", "s3://a//b", "s3://key:secret@a/b", "s3://a/../b", "gs://a/b", "s3://a?b", "a"]
)
def test_addresses_that_are_no_bucket_s(address: str) -> None:
    with pytest.raises(UserError, match=r"^--storage: found .*; expected a folder, or s3://BUCKET/PREFIX$") as error:
        bucket_at(address)
    assert "secret" not in str(error.value)


def test_objects_are_written_listed_read_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    bucket.write("a/first", b"1")
    bucket.write("a/first", b"one")
    bucket.write("b", b"")
    (tmp_path / "large").write_bytes(bytes(9_000_000))
    bucket.below("a").send(tmp_path / "large", "second")
    assert [(one.key, one.size) for one in bucket.objects()] == [("a/first", 3), ("a/second", 9_000_000), ("b", 0)]
    assert bucket.names("") == ["a", "b"]
    assert bucket.read_many(["a/first", "b", "c"]) == {"a/first": b"one", "b": b""}
    assert (bucket.read("c"), bucket.find("c"), bucket.objects("c")) == (None, None, [])
    assert bucket.fetch("a/second", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(9_000_000)
    assert not bucket.fetch("c", tmp_path / "none")
    bucket.delete_all(last="b")
    assert bucket.objects() == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (OSError("When reading 'x': AWS Error NETWORK_CONNECTION during Get: timed out\nmore"), "AWS Error NETWORK"),
        (pa.ArrowInvalid("no such region"), "no such region"),
    ],
)
def test_what_a_store_says_is_one_line_with_the_object(
    said: Exception, shown: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise said

    monkeypatch.setattr(Bucket._store, "open_input_stream", fail)
    with pytest.raises(BucketError) as error:
        bucket.read("a/first")
    assert str(error.value).startswith(f"{bucket}/a/first: {shown}")
    assert "\n" not in str(error.value)
