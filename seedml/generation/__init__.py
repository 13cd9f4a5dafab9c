"""Grid -> shards: the step ``generate``, its Lightning module, data module and prediction writer."""
