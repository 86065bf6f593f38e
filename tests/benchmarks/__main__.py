"""`make bench`: every benchmark prints a ratio against a named baseline of the same run."""

import os
import sys
import warnings

# Before anything imports TensorFlow or Dask: their notes would stand between the figures.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("DASK_DATAFRAME__QUERY_PLANNING_WARNING", "False")
warnings.simplefilter("ignore")

from tests.benchmarks import gateway, point_in_time  # noqa: E402

BENCHMARKS = {"point_in_time": point_in_time.run, "gateway": gateway.run}

if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"there is no benchmark {unknown.pop()!r}. Name some of: {', '.join(BENCHMARKS)}.")
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
