"""What a worker loads before it has a trial: Ray imports this module in each one that it starts."""

from losstune.trainer.base.loading import loaded_for_good

with loaded_for_good():
    import losstune.tuning.execute.worker  # noqa: F401
