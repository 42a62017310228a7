"""A run in a bucket: whole after each save, gone on with by another worker, and never written into by an older one."""

from pathlib import Path

import pytest

from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.checkpoint import DamagedCheckpointError
from losstune.trainer.run.layout import LAST_FILE
from losstune.tuning.storage.bucket import Bucket, BucketError
from losstune.tuning.storage.bucket_run import BucketRun
from tests.trainer.samples import sample_config, sample_trainer, timeless

ID = "5f0c"


def trained(bucket: Bucket, attempt: int, epochs: int) -> list[dict[str, float]]:
    """Go on with the run, or begin it, for some epochs, each one saved; returns all of its records."""
    run = BucketRun(bucket, ID, attempt)
    trainer = sample_trainer(sample_config())
    try:
        if run.holds_run:
            records = run.restore(trainer).records
        else:
            run.start(trainer.config)
            records = []
        for _ in range(epochs):
            records.append(trainer.run_epoch())
            run.save(trainer, records[-1:])
    finally:
        run.close()
    return records


def test_another_worker_goes_on_as_if_nothing_had_happened(bucket: Bucket, tmp_path: Path) -> None:
    trained(bucket, 1, 2)
    assert timeless(trained(bucket, 2, 2)) == timeless(trained(bucket.below("whole"), 1, 4))
    openings = {one.key.partition("/")[0] for one in bucket.objects()} - {"whole"}
    assert openings == {f"000001-001-{ID}", f"000002-001-{ID}"}


def test_a_damaged_state_is_replaced_by_the_opening_before(bucket: Bucket) -> None:
    trained(bucket, 1, 2)
    trained(bucket, 2, 1)
    bucket.write(f"000002-001-{ID}/{LAST_FILE}", b"torn")
    bucket.write(f"000002-001-{ID}/best.pt", b"torn")
    run = BucketRun(bucket, ID, 3)
    restored = run.restore(sample_trainer(sample_config()))
    run.close()
    assert len(restored.records) == 2
    assert any(f"{bucket}/000002-001-{ID}/{LAST_FILE}" in text for text in restored.damage)
    bucket.write(f"000003-001-{ID}/{LAST_FILE}", b"torn")
    bucket.write(f"000001-001-{ID}/{LAST_FILE}", b"torn")
    run = BucketRun(bucket, ID, 4)
    with pytest.raises(DamagedCheckpointError):
        run.restore(sample_trainer(sample_config()))
    run.close()


def test_a_bucket_that_can_not_be_written_is_a_storage_that_can_not(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BucketError("s3://team/data: AWS Error ACCESS_DENIED")

    run = BucketRun(bucket, ID, 1)
    monkeypatch.setattr(Bucket, "send", fail)
    with pytest.raises(StorageError, match=r"^s3://team/data: AWS Error ACCESS_DENIED$"):
        run.start(sample_config())
    run.close()
