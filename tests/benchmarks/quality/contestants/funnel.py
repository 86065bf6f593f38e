from tests.benchmarks.quality.contestants.contestant import Contestant
FUNNEL = Contestant("funnel", None, {}, {})
