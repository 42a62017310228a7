"""Objects in an S3 store, and a run that workers keep there and hand over."""

import os
import pickle
import socket
import threading
import uuid
from pathlib import Path

import boto3
import pytest
import torch

from losstune.trainer.base.errors import UserError
from losstune.trainer.data.resident import resident_data
from losstune.trainer.run.attempt import StorageError
from losstune.trainer.run.checkpoint import DamagedCheckpointError, load_checkpoint
from losstune.trainer.run.history import read_history
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE, LAST_FILE
from losstune.trainer.run.loop import Trainer
from losstune.trainer.run.run_dir import RunDirectory
from losstune.tuning.storage.bucket import Bucket, BucketError, bucket_at
from losstune.tuning.storage.bucket_run import BucketRun
from losstune.tuning.storage.failures import STORAGE_FAILURES
from losstune.tuning.storage.run_places import BucketPlace
from losstune.tuning.storage.study_files import BucketFiles
from tests.trainer.samples import sample_config, sample_pairs, timeless

ID, OTHER_ID = "0123456789abcdef", "fedcba9876543210"
RUN = "trials/mse-0000"
CONFIG = sample_config("mse", num_epochs=6, **{"model.hidden_dim": 4})
PAIRS = sample_pairs(rows=60)


@pytest.fixture
def bucket(bucket_uri: str) -> Bucket:
    """A part of a new bucket."""
    return bucket_at(f"{bucket_uri}/team/one")


def keys(bucket: Bucket) -> list[str]:
    """All keys of the bucket, by other means."""
    name, _, prefix = bucket.path.partition("/")
    found = boto3.client("s3").list_objects_v2(Bucket=name).get("Contents", [])
    return [one["Key"].removeprefix(f"{prefix}/") for one in found if not one["Key"].endswith("/")]


# Objects


def test_objects_are_written_read_listed_and_replaced(bucket: Bucket) -> None:
    assert bucket.read("a/b") is None
    assert bucket.find("a/b") is None
    assert bucket.objects() == []
    assert bucket.names("a") == []
    for key, content in {"a/b": b"1", "a/c/d": b"22", "ab": b"", "a/b2": b"x" * 100}.items():
        bucket.write(key, content)
    bucket.write("a/b", b"333")
    assert bucket.read("a/b") == b"333"
    assert bucket.read("ab") == b""
    assert [(one.key, one.size) for one in bucket.objects()] == [("a/b", 3), ("a/b2", 100), ("a/c/d", 2), ("ab", 0)]
    assert [one.key for one in bucket.objects("a")] == ["a/b", "a/b2", "a/c/d"]
    assert [one.key for one in bucket.below("a").objects()] == ["b", "b2", "c/d"]
    assert bucket.names("a") == ["b", "b2", "c"]
    assert bucket.read_many(["a/b", "none", "a/c/d"]) == {"a/b": b"333", "a/c/d": b"22"}
    found = bucket.find("a/c/d")
    assert found is not None
    assert found in bucket.objects()
    assert keys(bucket) == ["a/b", "a/b2", "a/c/d", "ab"]


def test_large_files_go_and_come_in_pieces(bucket: Bucket, tmp_path: Path) -> None:
    content = os.urandom(11_000_000)
    (tmp_path / "a").write_bytes(content)
    bucket.send(tmp_path / "a", "large")
    assert bucket.fetch("large", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    assert not bucket.fetch("none", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_all_is_deleted_and_one_at_the_end(bucket: Bucket) -> None:
    for key in ("x/study.yaml", "x/trials/a/0/h", "x/trials/b/0/h", "x/confirm/1/plan", "y/study.yaml"):
        bucket.write(key, b"1")
    bucket.below("x").delete_all(last="study.yaml")
    assert keys(bucket) == ["y/study.yaml"]
    bucket.below("x").delete_all(last="study.yaml")
    assert keys(bucket) == ["y/study.yaml"]


def test_a_bucket_travels_with_its_endpoint_which_a_machine_may_replace(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str
) -> None:
    bucket.write("a", b"1")
    travelled = pickle.dumps(bucket)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert pickle.loads(travelled).read("a") == b"1"
    far = Bucket(bucket.path, "http://127.0.0.1:1", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    assert far.read("a") == b"1"


def test_a_store_that_is_gone_or_refuses_is_a_storage_failure(bucket: Bucket) -> None:
    nobody = Bucket("nobucket-here/x", bucket.endpoint, "")
    with pytest.raises(BucketError, match=r"^s3://nobucket-here/x/a: AWS Error NO_SUCH_BUCKET") as error:
        nobody.write("a", b"1")
    assert isinstance(error.value, STORAGE_FAILURES)
    assert isinstance(error.value, UserError)


def test_a_store_that_answers_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    monkeypatch.setattr("losstune.tuning.storage.bucket._TIMEOUT_SECONDS", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(50)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(BucketError, match=r"^s3://a/b/c: AWS Error NETWORK_CONNECTION"):
            Bucket("a/b").read("c")


# A run


def new_run(bucket: Bucket, attempt: int, study_id: str = ID) -> BucketRun:
    return BucketRun(bucket.below(RUN), study_id, attempt)


def new_trainer() -> Trainer:
    return Trainer(CONFIG, resident_data(PAIRS, CONFIG, torch.device("cpu")))


def opened(bucket: Bucket, attempt: int, study_id: str = ID) -> tuple[BucketRun, Trainer]:
    """As a worker does it: go on from what is there, else begin."""
    run, trainer = new_run(bucket, attempt, study_id), new_trainer()
    if run.holds_run:
        run.restore(trainer)
    else:
        run.start(CONFIG)
    return run, trainer


def train(run: BucketRun, trainer: Trainer, epochs: int) -> None:
    for _ in range(epochs):
        run.save(trainer, [trainer.run_epoch()])


def copied(bucket: Bucket, folder: Path, study_id: str = ID) -> BucketFiles:
    """The study as a command sees it."""
    files = BucketFiles(folder, bucket, study_id)
    files.update()
    return files


def history(bucket: Bucket, folder: Path, study_id: str = ID) -> list[dict[str, float]]:
    files = copied(bucket, folder / uuid.uuid4().hex, study_id)
    return timeless(read_history(files.folder / RUN / HISTORY_FILE))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in a folder, undisturbed."""
    folder = RunDirectory(tmp_path_factory.mktemp("calm"))
    trainer = new_trainer()
    folder.start(CONFIG)
    while trainer.end is None:
        folder.save(trainer, [trainer.run_epoch()])
    return folder.path


def check_whole(bucket: Bucket, calm: Path, folder: Path) -> None:
    """History, best model and last state are those of the undisturbed run."""
    files = copied(bucket, folder)
    run = files.folder / RUN
    assert timeless(read_history(run / HISTORY_FILE)) == timeless(read_history(calm / HISTORY_FILE))
    assert (run / "config.yaml").read_bytes() == (calm / "config.yaml").read_bytes()
    with files.borrowed(run / BEST_FILE) as best:
        found, expected = load_checkpoint(best), load_checkpoint(calm / BEST_FILE)
    assert (found["epoch"], found["value"]) == (expected["epoch"], expected["value"])
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in expected["model"].items())
    assert not (run / BEST_FILE).exists()


def test_a_run_is_kept_in_order_and_in_parts(bucket: Bucket, calm: Path, tmp_path: Path) -> None:
    run, trainer = opened(bucket, 1)
    own = f"{RUN}/000001-001-{ID}"
    assert keys(bucket) == [f"{own}/config.yaml"]
    run.save(trainer, [trainer.run_epoch() for _ in range(3)])
    run.save(trainer, [trainer.run_epoch()])
    assert {f"{own}/{name}" for name in ("history-000001.jsonl", "history-000004.jsonl", "last.pt", "best.pt")} < {
        *keys(bucket)
    }
    train(run, trainer, 2)
    run.close()
    assert trainer.end == "epochs"
    check_whole(bucket, calm, tmp_path)


@pytest.mark.parametrize("epochs", [1, 4, 6])
@pytest.mark.parametrize("attempt", [1, 2], ids=["in the same launch", "in the next"])
def test_another_worker_goes_on(bucket: Bucket, calm: Path, tmp_path: Path, epochs: int, attempt: int) -> None:
    train(*opened(bucket, 1), epochs)
    run, trainer = opened(bucket, attempt)
    assert trainer.epoch == epochs
    train(run, trainer, 6 - epochs)
    check_whole(bucket, calm, tmp_path)
    own = f"{RUN}/{attempt:06d}-{3 - attempt:03d}-{ID}"
    assert f"{own}/history-000001.jsonl" in keys(bucket)


def test_a_worker_of_a_dead_launch_changes_nothing(bucket: Bucket, calm: Path, tmp_path: Path) -> None:
    zombie, old = opened(bucket, 1)
    train(zombie, old, 2)
    run, trainer = opened(bucket, 2)
    before = history(bucket, tmp_path)
    train(zombie, old, 4)
    assert history(bucket, tmp_path) == before
    assert len(before) == 2
    again, continued = opened(bucket, 3)
    assert continued.epoch == 2
    train(again, continued, 4)
    train(run, trainer, 1)
    check_whole(bucket, calm, tmp_path / "copy")


def test_an_opening_counts_once_its_state_is_there(bucket: Bucket, tmp_path: Path) -> None:
    """Every object that a worker sends when it takes a run over, taken away from the end: it has not taken over yet."""
    train(*opened(bucket, 1), 3)
    opened(bucket, 2)
    own = f"{RUN}/000002-001-{ID}"
    for name in ("last.pt", "best.pt", "history-000001.jsonl", "config.yaml"):
        boto3.client("s3").delete_object(Bucket=bucket.path.partition("/")[0], Key=f"team/one/{own}/{name}")
        run, trainer = new_run(bucket, 1), new_trainer()
        assert run.holds_run
        run.restore(trainer)
        assert trainer.epoch == 3
        assert len(history(bucket, tmp_path)) == 3


def test_epochs_after_the_last_state_are_trained_again(bucket: Bucket, calm: Path, tmp_path: Path) -> None:
    run, trainer = opened(bucket, 1)
    train(run, trainer, 2)
    state = bucket.read(f"{RUN}/000001-001-{ID}/last.pt")
    train(run, trainer, 1)
    assert state is not None
    bucket.write(f"{RUN}/000001-001-{ID}/last.pt", state)
    again, restored = opened(bucket, 2)
    assert restored.epoch == 2
    train(again, restored, 4)
    check_whole(bucket, calm, tmp_path)


def damage(bucket: Bucket, attempt: int, name: str) -> str:
    key = f"{RUN}/{attempt:06d}-001-{ID}/{name}"
    content = bucket.read(key)
    assert content is not None
    bucket.write(key, content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    return f"{bucket}/{key}"


def test_a_damaged_state_is_replaced_by_the_opening_before(bucket: Bucket, calm: Path, tmp_path: Path) -> None:
    train(*opened(bucket, 1), 2)
    train(*opened(bucket, 2), 1)
    where = damage(bucket, 2, "last.pt")
    run, trainer = new_run(bucket, 3), new_trainer()
    restored = run.restore(trainer)
    assert trainer.epoch == 2
    assert restored.damage == [f"checkpoint {where}: damaged, its content does not match its SHA-256"]
    train(run, trainer, 4)
    check_whole(bucket, calm, tmp_path)


def test_without_a_whole_state_a_run_begins_anew(bucket: Bucket, calm: Path, tmp_path: Path) -> None:
    train(*opened(bucket, 1), 2)
    where = damage(bucket, 1, "last.pt")
    run = new_run(bucket, 1)
    with pytest.raises(DamagedCheckpointError) as error:
        run.restore(new_trainer())
    assert str(error.value) == f"checkpoint {where}: damaged, its content does not match its SHA-256"
    trainer = new_trainer()
    run.start(CONFIG)
    train(run, trainer, 6)
    check_whole(bucket, calm, tmp_path)


def test_what_a_worker_of_a_deleted_study_writes_is_not_the_next_one_s(bucket: Bucket, tmp_path: Path) -> None:
    zombie, old = opened(bucket, 7)
    bucket.delete_all(last="study.yaml")
    train(zombie, old, 2)
    assert history_of_nothing(bucket, tmp_path)
    assert not new_run(bucket, 1, OTHER_ID).holds_run


def history_of_nothing(bucket: Bucket, folder: Path) -> bool:
    return not (copied(bucket, folder, OTHER_ID).folder / RUN).exists()


def test_a_store_that_is_gone_stops_a_worker_with_nothing_lost(
    bucket: Bucket, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = opened(bucket, 1)
    train(run, trainer, 2)
    gone = Bucket(bucket.path, "http://127.0.0.1:1", "")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_own", gone)
        with pytest.raises(StorageError, match=rf"^{bucket}/history-000003.jsonl: AWS Error NETWORK_CONNECTION"):
            train(run, trainer, 1)
        with pytest.raises(StorageError):
            new_run(gone, 1)
    again, restored = opened(bucket, 1)
    train(again, restored, 4)
    check_whole(bucket, calm, tmp_path)


def test_nothing_is_left_on_the_worker(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run, trainer = opened(bucket, 1)
    train(run, trainer, 1)
    assert [path.name.startswith("losstune-") for path in tmp_path.iterdir()] == [True]
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_s_text_is_kept(bucket: Bucket) -> None:
    BucketPlace(bucket.below(RUN), ID).keep_error("Traceback …")
    assert bucket.read(f"{RUN}/error.txt") == "Traceback …".encode()


# The driver's copy


def test_the_copy_follows_what_is_kept(bucket: Bucket, tmp_path: Path) -> None:
    run, trainer = opened(bucket, 1)
    files = copied(bucket, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for epochs in range(1, 4):
        train(run, trainer, 1)
        files.update()
        assert len(read_history(tmp_path / RUN / HISTORY_FILE)) == epochs
    again, restored = opened(bucket, 2)
    train(again, restored, 2)
    files.update_run(tmp_path / RUN)
    records = read_history(tmp_path / RUN / HISTORY_FILE)
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5]
    assert files.newest_attempt() == 2
    assert not (tmp_path / RUN / LAST_FILE).exists()


def test_unchanged_objects_are_not_fetched_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = opened(bucket, 1)
    train(run, trainer, 2)
    bucket.write("confirm/1/results.json", b"1")
    bucket.write("study.yaml", b"1")
    files, fetched = copied(bucket, tmp_path), []
    monkeypatch.setattr(Bucket, "read", lambda self, key: fetched.append(key))
    files.update()
    assert fetched == ["study.yaml"]


def test_what_the_driver_writes_is_in_the_bucket_and_in_the_copy(bucket: Bucket, tmp_path: Path) -> None:
    files = BucketFiles(tmp_path, bucket, ID)
    (tmp_path / "confirm").mkdir()
    files.write(tmp_path / "confirm" / "plan.yaml", b"one")
    assert bucket.read("confirm/plan.yaml") == (tmp_path / "confirm" / "plan.yaml").read_bytes() == b"one"
    assert files.where(tmp_path / "confirm" / "plan.yaml") == f"{bucket}/confirm/plan.yaml"
    assert files.where(tmp_path) == str(bucket)
    bucket.write("confirm/plan.yaml", b"two")
    files.keep(tmp_path / "confirm" / "plan.yaml")
    assert (tmp_path / "confirm" / "plan.yaml").read_bytes() == b"two"
    files.keep(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_two_workers_that_open_a_run_at_once_both_keep_a_whole_one(bucket: Bucket, tmp_path: Path) -> None:
    train(*opened(bucket, 1), 2)
    both = [new_run(bucket, 2) for _ in range(2)]

    def go_on(run: BucketRun) -> None:
        trainer = new_trainer()
        run.restore(trainer)
        train(run, trainer, 4)

    threads = [threading.Thread(target=go_on, args=(run,)) for run in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["epoch"] for record in history(bucket, tmp_path)] == [1, 2, 3, 4, 5, 6]
