#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the winners of two tuning runs through the timings of both.

    scripts/compare_winners.py A.db B.db

For every problem that both caches tuned on the same class of device: whether the winner is the same, and
if not, how much slower each run measured the other's winner than its own. Prints what differs and a
summary; exit code 1 where fewer than 95 % of the problems agree (same winner, or within 1 % of time in
one of the runs).
"""
import sqlite3
import sys


def load(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    winners = {}
    for row in db.execute("select problem, device_class, layout, config, median_us from winners"
                          " where median_us > 0"):
        problem, device_class, layout, config, median = row
        winners[problem, device_class, layout] = (config, median)
    times = {}
    for problem, device_class, config, median, samples in db.execute(
            "select problem, device_class, config, median_us, n_samples from timings"
            " where state = 'timed' order by n_samples"):
        times[problem, device_class, config] = median  # the one of most samples stays
    return winners, times


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    (winners_a, times_a), (winners_b, times_b) = load(sys.argv[1]), load(sys.argv[2])
    common = sorted(winners_a.keys() & winners_b.keys())
    same = close = 0
    for key in common:
        (config_a, us_a), (config_b, us_b) = winners_a[key], winners_b[key]
        if config_a == config_b:
            same += 1
            continue
        problem, device_class, _ = key
        b_in_a = times_a.get((problem, device_class, config_b))
        a_in_b = times_b.get((problem, device_class, config_a))
        losses = [other / own - 1 for other, own in ((b_in_a, us_a), (a_in_b, us_b)) if other]
        loss = min(losses) if losses else float("inf")
        close += loss <= 0.01
        print(f"{problem}\n    {config_a}  {us_a:.2f} us\n    {config_b}  {us_b:.2f} us"
              f"\n    the other's winner is slower by {100 * loss:.2f} %")
    n = len(common)
    print(f"{n} problems in both: {same} with the same winner, {close} more within 1 % of time, "
          f"{n - same - close} apart")
    sys.exit(0 if n and same + close >= 0.95 * n else 1)


main()
