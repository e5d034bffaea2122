"""The order of the images."""

from __future__ import annotations

from training.data.dataset import StepSampler


def test_every_image_once_per_epoch_and_the_same_after_a_resume() -> None:
    batches = list(StepSampler(sizes=(10,), batch=4, start_sample=0, steps=5, seed=1))
    keys = [key for batch in batches for key in batch]
    assert sorted(index for index, epoch in keys if epoch == 0) == list(range(10))
    assert sorted(index for index, epoch in keys if epoch == 1) == list(range(10))
    assert [i for i, e in keys if e == 0] != [i for i, e in keys if e == 1]
    assert list(StepSampler((10,), 4, start_sample=12, steps=2, seed=1)) == batches[3:]


def test_processes_share_each_batch() -> None:
    whole = list(StepSampler((10,), 4, 0, 5, seed=1))
    shares = [list(StepSampler((10,), 4, 0, 5, seed=1, process=process, processes=2)) for process in range(2)]
    for step, batch in enumerate(whole):
        assert len(shares[0][step]) == len(shares[1][step]) == 2
        assert sorted(shares[0][step] + shares[1][step]) == sorted(batch)


def test_draws_repeat_in_turn() -> None:
    endless = [key for batch in StepSampler((10,), 4, 0, 10, seed=1) for key in batch]
    repeated = [key for batch in StepSampler((10,), 4, 0, 10, seed=1, draws=2) for key in batch]
    assert {epoch for _, epoch in endless} == {0, 1, 2, 3}
    assert repeated == [(index, epoch % 2) for index, epoch in endless]


def test_data_sets_come_by_their_shares_whatever_their_sizes() -> None:
    def sampler(start: int, steps: int) -> StepSampler:
        return StepSampler((10, 500, 40), 50, start, steps, seed=1, shares=(0.25, 0.125, 0.625))

    keys = [key for batch in sampler(0, 40) for key in batch]
    parts = [[key for key in keys if low <= key[0] < high] for low, high in ((0, 10), (10, 510), (510, 550))]
    assert [len(part) for part in parts] == [500, 250, 1250]
    for part, size in zip(parts, (10, 500, 40), strict=True):  # each goes through its own epochs
        assert [epoch for _, epoch in part] == [number // size for number in range(len(part))]
        assert len(set(part)) == len(part)
    assert keys[:50] != sorted(keys[:50])  # in turn, not one after the other
    assert [key for batch in sampler(1050, 3) for key in batch] == keys[1050:1200]


def test_the_smallest_share_still_comes() -> None:
    keys = [key for batch in StepSampler((10, 10), 100, 0, 10, seed=0, shares=(0.99999, 0.00001)) for key in batch]
    assert sum(index >= 10 for index, _ in keys) == 1
