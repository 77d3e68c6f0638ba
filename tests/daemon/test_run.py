import gc

from dripd.daemon.run import COLLECT_AFTER


def test_a_batch_in_flight_brings_no_collection() -> None:
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        gc.collect()
        collections = gc.get_stats()[0]["collections"]
        steps = [{"attrs": {}, "vars": {}, "tags": [n]} for n in range(2 * 500)]
        since = gc.get_stats()[0]["collections"] - collections
    finally:
        gc.set_threshold(*before)

    assert (1_000, 0) == (len(steps), since)
