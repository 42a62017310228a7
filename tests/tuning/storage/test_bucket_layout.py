"""What a bucket holds of one run: which opening counts, and what another worker opens."""

from losstune.tuning.storage.bucket_layout import Opening, RunObjects, parse_opening, part_name


def test_openings_are_ordered_by_launch_then_by_number() -> None:
    names = ["000002-001-ab", "000010-002-ab", "000010-001-ab", "1000000-001-ab"]
    objects = RunObjects([f"{name}/last.pt" for name in names] + ["000011-001-ab/config.yaml", "x/last.pt"], "ab")
    assert list(map(str, objects.with_state)) == ["1000000-001-ab", "000010-002-ab", "000010-001-ab", "000002-001-ab"]
    assert objects.next(10) == Opening(10, 3, "ab")
    assert objects.next(12) == Opening(12, 1, "ab")
    assert objects.newest_attempt == 1_000_000
    assert parse_opening("seed-01") is None


def test_an_opening_has_a_name_that_reads_back() -> None:
    for opening in (Opening(2, 1, "5f0c"), Opening(1_000_000, 12, "ab")):
        assert parse_opening(str(opening)) == opening
    assert [parse_opening(name) for name in ("2-1-5f0c", "000002-001-xyz", "000002-001-", "trials")] == [None] * 4


def test_the_parts_of_a_history_are_in_the_order_of_their_epochs() -> None:
    opening = Opening(1, 1, "ab")
    epochs = (1_000_000, 10, 1, 999_999)
    keys = [f"{opening}/{part_name(epoch)}" for epoch in epochs] + [f"{opening}/last.pt", f"{opening}/history.jsonl"]
    assert RunObjects(keys, "ab").parts(opening) == [f"{opening}/{part_name(epoch)}" for epoch in sorted(epochs)]


def test_openings_of_another_study_are_not_seen() -> None:
    objects = RunObjects(["000009-001-cd/last.pt", "000002-001-ab/config.yaml"], "ab")
    assert objects.with_state == []
    assert objects.newest_attempt == 2
    assert objects.next(9) == Opening(9, 1, "ab")
